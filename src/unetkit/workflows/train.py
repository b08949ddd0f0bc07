"""``train``: the whole road, from a folder of labelled images to a model, its scores and a report."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np

from unetkit.errors import UsageError, nearest
from unetkit.records.plan import Plan
from unetkit.records.prediction import Prediction
from unetkit.records.progress import Progress, Quiet
from unetkit.records.run import Run
from unetkit.records.saved import Saved
from unetkit.records.scores import Scores
from unetkit.records.split import SplitFile
from unetkit.training.signals import Preemptible
from unetkit.workflows.run_folder import RunLog, next_folder, open_run, refuse_taken

if TYPE_CHECKING:
    from unetkit.workflows.model import Model


class PlanSettings(TypedDict, total=False):
    """What may be asked of a plan; everything is optional.

    Args:
        minutes: Time budget for checks, planning, preparation and training together, 0 for none.
        memory_gb: Memory budget, 0 for none.
        changes: Dotted key to a value, as ``--set`` takes them.
        fold: Which part is held out: its number (from 0) and how many parts there are.
        device: ``auto``, ``cpu``, ``cuda`` …
        seed: Of every random number.
        network: Name of a preset, a backbone or parts, such as ``unetpp`` or ``residual+attention``.
    """

    minutes: float
    memory_gb: float
    changes: Mapping[str, str] | None
    fold: tuple[int, int] | None
    device: str
    seed: int | None
    network: str | None


class TrainSettings(PlanSettings, total=False):
    """What may be asked of a training beyond what may be asked of a plan; everything is optional.

    Args:
        plan: A plan to train with instead of making one.
        resume: Go on with the run in the folder; only ``minutes`` and ``training.…`` may change.
        overwrite: Replace the run in the folder.
        init: A model, or a run that holds one, whose weights to start from.
        cache: Folder for prepared samples, kept and shared; inside the run and removed at its end when None.
        teachers: Models to learn from, where the plan's objective has the wrapper ``distill``; images
            without a label take part then.
        previous: The first stage of a cascade, of which this run is the second (``data.cascade=full``): a
            cross-validation that was trained with ``data.cascade=low``.
    """

    plan: str | Path | Plan | None
    resume: bool
    overwrite: bool
    init: str | Path | None
    cache: str | Path | None
    teachers: Sequence[str | Path]
    previous: str | Path | None


@dataclass(frozen=True)
class Wishes:
    """``TrainSettings`` with every gap filled in."""

    minutes: float = 0.0
    memory_gb: float = 0.0
    plan: str | Path | Plan | None = None
    changes: Mapping[str, str] | None = field(default_factory=dict)
    fold: tuple[int, int] | None = None
    device: str = "auto"
    seed: int | None = None
    network: str | None = None
    resume: bool = False
    overwrite: bool = False
    init: str | Path | None = None
    cache: str | Path | None = None
    teachers: Sequence[str | Path] = ()
    previous: str | Path | None = None

    @staticmethod
    def of(settings: Mapping[str, Any], *, verb: str = "train") -> Wishes:
        """Fill the gaps.

        Args:
            settings: By name.
            verb: ``train``, or ``plan``, which takes fewer.

        Raises:
            UsageError: A name is unknown, or the fold is none.
        """
        known = (TrainSettings if verb == "train" else PlanSettings).__optional_keys__
        for name in settings:
            if name not in known:
                raise UsageError(f"{verb} has no setting '{name}'", cure=nearest(name, known))
        wishes = Wishes(**settings)
        if wishes.fold is not None and not (wishes.fold[1] >= 2 and 0 <= wishes.fold[0] < wishes.fold[1]):
            raise UsageError(
                f"there is no fold {wishes.fold[0]}/{wishes.fold[1]}",
                cure="say k/n with k from 0 to n - 1 and n of 2 or more, such as 0/5",
            )
        return wishes

    def every_change(self) -> dict[str, str]:
        """``changes`` and the settings that are plan values too."""
        said = dict(self.changes or {})
        if self.fold is not None:
            said |= {"training.fold": str(self.fold[0]), "training.folds": str(self.fold[1])}
        if self.seed is not None:
            said |= {"training.seed": str(self.seed)}
        if self.previous is not None:
            said |= {"data.cascade": "full"}
        return said


class TrainPreview(Saved):
    """What ``train`` would do.

    Args:
        out: The run's folder.
        plan: The plan.
        train: Training cases.
        held_out: Held-out cases.
        split: How they were split.
        files: What would be written.
        memory_gb: Memory of a training step, GB, roughly.
        resumed: Whether it would go on with the run in the folder; the plan and the split are the run's then.
        steps_done: Steps of that run that are done and saved.
        steps_left: Steps that are left; None where a time budget decides.
        minutes_left: Minutes of the time budget that are left; None where a number of steps decides.
        finished: Whether nothing is left to do.
    """

    out: Path
    plan: Plan
    train: int
    held_out: int
    split: str
    files: tuple[str, ...]
    memory_gb: float
    resumed: bool = False
    steps_done: int = 0
    steps_left: int | None = None
    minutes_left: float | None = None
    finished: bool = False


@dataclass(frozen=True)
class TrainedRun:
    """A finished run.

    Args:
        run: Its folder.
        plan: The model's plan: what was trained, with what was fitted after the last step.
        scores: How good it is on held-out cases; None when none were held out.
    """

    run: Run
    plan: Plan
    scores: Scores | None

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.run.folder

    @property
    def report(self) -> Path:
        """The html report."""
        return self.run.report

    @cached_property
    def model(self) -> Model:
        """The trained model."""
        from unetkit.workflows.model import load

        return load(self.run.model)

    def predict(
        self, source: str | Path | np.ndarray, *, tta: bool = False, probabilities: bool = False
    ) -> Prediction:
        """Predict one image with the trained model; see ``Model.predict``."""
        return self.model.predict(source, tta=tta, probabilities=probabilities)

    def facts(self) -> dict[str, Any]:
        """The result as JSON values."""
        rows = self.scores.summary if self.scores else {}
        return {
            "run": str(self.folder),
            "model": str(self.run.model),
            "report": str(self.report),
            "dice": {name: row["dice"].mean for name, row in rows.items() if "dice" in row},
            "cases": len(self.scores.cases) if self.scores else 0,
            "split": self.scores.split if self.scores else None,
        }


def train(
    source: str | Path,
    out: str | Path | None = None,
    *,
    progress: Progress | None = None,
    **settings: Unpack[TrainSettings],
) -> TrainedRun:
    """Check, split, plan, prepare, train, measure, report.

    Args:
        source: The data set: a folder or a CSV.
        out: The run's folder; ``runs/<name>-<n>`` when None.
        progress: Who watches.
        settings: See ``TrainSettings``.

    Returns:
        The run, with its scores; it can predict.

    Raises:
        UsageError: A setting is wrong, or the folder holds a run already.
        DataError: The data set is refused.
        ResourceError: Disk, memory or the device does not suffice.
        PreemptedError: The run was asked to stop and saved its state.
    """
    started = time.monotonic()
    wishes = Wishes.of(settings)
    watch = progress or Quiet()
    target = Path(out) if out is not None else next_folder(Path(source))
    cure = "run the same command with --resume to go on"
    if wishes.overwrite:
        cure = "run the same command again, with --resume in place of --overwrite if training had begun"
    with (
        Preemptible(target, cure=cure) as preemptible,
        open_run(target, resume=wishes.resume, overwrite=wishes.overwrite) as run,
    ):
        if wishes.resume and (finished := reopen(run)) is not None:
            _refuse_more(finished, wishes)
            watch.say(f"{run.folder} is finished already; nothing was left to do")
            return finished
        with RunLog(run, Path(source)):
            from unetkit.workflows.fitting import train_network
            from unetkit.workflows.measuring import finish
            from unetkit.workflows.object_sizes import fit_object_sizes
            from unetkit.workflows.readying import is_started, make_ready

            if wishes.resume and not is_started(run):
                watch.say(f"no training has begun in {run.folder}: this is its start")
            ready = make_ready(Path(source), run, wishes, progress=watch)
            preemptible.check()
            trained = train_network(ready, wishes, started=started, progress=watch)
            preemptible.check()
            trained = fit_object_sizes(trained, progress=watch)
            scores = finish(trained, progress=watch)
    return TrainedRun(run, trained.ready.plan, scores)


def _refuse_more(finished: TrainedRun, wishes: Wishes) -> None:
    """A schedule that has run out cannot be prolonged."""
    from unetkit.workflows.asked import resumed_plan

    own = Plan.from_json(finished.run.plan.read_bytes(), where=finished.run.plan)
    if resumed_plan(own, wishes, where=finished.folder) != own:
        raise UsageError(
            "this run is finished, its schedule cannot be changed any more",
            cure="train anew (--overwrite, or another folder), or leave the changes out",
            where=finished.folder,
        )


def preview(
    source: str | Path,
    out: str | Path | None = None,
    *,
    progress: Progress | None = None,
    **settings: Unpack[TrainSettings],
) -> TrainPreview:
    """Say what ``train`` would do, and write nothing.

    Args:
        source: The data set.
        out: The run's folder.
        progress: Who watches.
        settings: See ``TrainSettings``.

    Raises:
        UsageError: A setting is wrong, or the folder holds a run already.
        DataError: The data set is refused.
    """
    from unetkit.workflows.cascading import asked_previous
    from unetkit.workflows.readying import fitted, is_started, look, look_again, step_gigabytes
    from unetkit.workflows.run_folder import OURS

    wishes = Wishes.of(settings)
    watch = progress or Quiet()
    target = Path(out) if out is not None else next_folder(Path(source))
    run = Run(target)
    refuse_taken(run, resume=wishes.resume, overwrite=wishes.overwrite)
    where: dict[str, Any] = {}
    if not (wishes.resume and is_started(run)):
        seen = look(Path(source), wishes, progress=watch)
        asked_previous(wishes, seen.plan, seen.split, seen.digests)
        plan, sides = fitted(seen.plan, wishes, progress=watch, step=False), seen.split
    elif (finished := reopen(run)) is not None:
        _refuse_more(finished, wishes)
        file = SplitFile.from_json(run.split.read_bytes(), where=run.split)
        plan, sides, where = finished.plan, file, {**_left(run, finished.plan), "finished": True}
    else:
        again = look_again(Path(source), run, wishes, progress=watch)
        plan, sides, where = again.plan, again.split, _left(run, again.plan)
    return TrainPreview(
        out=target,
        plan=plan,
        train=len(sides.train),
        held_out=len(sides.held_out),
        split=sides.how,
        files=tuple(name for name in OURS if name != "log.txt"),
        memory_gb=round(step_gigabytes(plan), 2),
        **where,
    )


def _left(run: Run, plan: Plan) -> dict[str, Any]:
    """How far a run is, by its newest resume point, as values of ``TrainPreview``."""
    from unetkit.training.checkpoint import read

    found = read(run.checkpoints, "last")
    numbers = {"step": 0, "seconds": 0.0} if found is None else found.numbers
    left: dict[str, Any] = {"resumed": True, "steps_done": numbers["step"]}
    if plan.training.steps:
        return {**left, "steps_left": max(0, plan.training.steps - numbers["step"])}
    return {**left, "minutes_left": round(max(0.0, plan.training.minutes - numbers["seconds"] / 60), 2)}


def reopen(run: Run) -> TrainedRun | None:
    """A run that has finished, None when it has not.

    Args:
        run: The run.
    """
    if not (
        run.manifest.is_file() and (run.model / "weights.safetensors").is_file() and run.report.is_file()
    ):
        return None
    scores = run.model / "scores.json"
    fitted = run.model / "plan.json"
    return TrainedRun(
        run,
        Plan.from_json(fitted.read_bytes(), where=fitted),
        Scores.from_json(scores.read_bytes(), where=scores) if scores.is_file() else None,
    )
