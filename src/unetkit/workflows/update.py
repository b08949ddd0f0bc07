"""``update``: a model goes on learning from new data, and is measured on what it knew and on what is new."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from unetkit.errors import UsageError, nearest
from unetkit.networks.store import describe
from unetkit.records.files import write_text
from unetkit.records.kept import UpdateFile
from unetkit.records.plan import Plan
from unetkit.records.progress import Progress, Quiet
from unetkit.records.run import Run
from unetkit.records.scores import Scores
from unetkit.training.signals import Preemptible
from unetkit.workflows.growing import grown, joined, lacks_names, named_ids
from unetkit.workflows.model_folder import trained_folder
from unetkit.workflows.run_folder import RunLog, open_run
from unetkit.workflows.train import TrainedRun, Wishes, reopen

if TYPE_CHECKING:
    from unetkit.data.inspect import Inspection
    from unetkit.learning.exemplars import Candidate
    from unetkit.records.plan import DataPlan
    from unetkit.workflows.fitting import Trained
    from unetkit.workflows.readying import Accept, Ready

METHODS = {
    "replay": "a share of every batch comes from a memory of old cases (needs --memory)",
    "ewc": "weights that matter to what was learned are pulled back (needs --memory, looked at once)",
    "lwf": "the old model's answers on the new images are a second target (needs no old image)",
    "frozen": "the encoder stays as it is, what comes behind it learns (needs no old image)",
    "adabn": "nothing is trained: batch norms take the statistics of the new images (needs no old image)",
    "interpolate": "fine-tuning, then weights between old and new, chosen on both (needs --memory)",
    "finetune": "nothing is done against forgetting",
}
"""How forgetting is held off; published comparisons find replay alone good enough to rely on."""


class UpdateSettings(TypedDict, total=False):
    """What may be asked of an update beyond model, data and method; everything is optional.

    Args:
        minutes: Time budget for checks, preparation and training together; the model's own plan's when 0.
        memory_gb: Memory budget, GB; the plan's own when 0.
        changes: Dotted key to a value, as ``--set`` takes them.
        fold: Which part of the new data is held out.
        device: ``auto``, ``cpu``, ``cuda`` …
        seed: Of every random number.
        resume: Go on with the update in the folder.
        overwrite: Replace the run in the folder.
        cache: Folder for prepared samples.
    """

    minutes: float
    memory_gb: float
    changes: Mapping[str, str] | None
    fold: tuple[int, int] | None
    device: str
    seed: int | None
    resume: bool
    overwrite: bool
    cache: str | Path | None


@dataclass(frozen=True)
class Updated:
    """A finished update.

    Args:
        trained: The run: a model like any other.
        kept: What it kept and gained.
    """

    trained: TrainedRun
    kept: UpdateFile


def update(
    model: str | Path,
    source: str | Path,
    out: str | Path,
    *,
    method: str = "replay",
    memory: str | Path | None = None,
    golden: Sequence[str | Path] = (),
    progress: Progress | None = None,
    **settings: Unpack[UpdateSettings],
) -> Updated:
    """Train a model on new data without forgetting, and measure what was kept.

    The model's own plan is used: classes, normalisation, network. Where the new data brings new classes the
    head grows by them, the old ones stay, and what a label calls background may be any class that its data
    set does not name (``learning.unbiased``).

    Args:
        model: A model folder, or a run that holds one; it is not changed.
        source: The new data.
        out: Folder of the new run.
        method: A name of ``METHODS``.
        memory: Old data: a data set, or the memory (or run) of an earlier update.
        golden: Data sets that the model must not get worse on, never trained on.
        progress: Who watches.
        settings: See ``UpdateSettings``.

    Raises:
        UsageError: The method is unknown or lacks the old data, or the folder holds a run already.
        DataError: The new or old data has other channels or classes, or a golden set is in the memory.
        ResourceError: Disk, memory or the device does not suffice.
        PreemptedError: The update was asked to stop and saved its state.
    """
    started, watch = time.monotonic(), progress or Quiet()
    folder, target = trained_folder(model), Path(out)
    own = describe(folder)
    sets = tuple(Path(each) for each in golden)
    old_data = None if memory is None else Path(memory)
    refuse_words(method, old_data, sets, target)
    if method == "adabn":
        _refuse_unmatchable(folder)
    wishes = _wishes(folder, _planned_for(Run(target), own.plan, method, settings), settings)
    with (
        Preemptible(target, cure="run the same command with --resume to go on") as preemptible,
        open_run(target, resume=wishes.resume, overwrite=wishes.overwrite) as run,
    ):
        if wishes.resume and run.update.is_file() and (finished := reopen(run)) is not None:
            watch.say(f"{run.folder} is finished already; nothing was left to do")
            return Updated(finished, UpdateFile.from_json(run.update.read_bytes(), where=run.update))
        with RunLog(run, Path(source), *(() if old_data is None else (old_data,)), *sets):
            from unetkit.learning.exemplars import MEMORY
            from unetkit.workflows.forgetting import golden_sets, measure_update, refuse_remembered
            from unetkit.workflows.report import report

            known = golden_sets(sets, own.plan.data, progress=watch)
            done = wishes.resume and (run.memory / MEMORY).is_file()
            old = () if done else _old(method, old_data, own.plan, folder, watch)
            accept = partial(_accept, own.plan.data, Path(source), method, old)
            ready = _readied(Path(source), run, wishes, (folder, old), accept, progress=watch)
            refuse_remembered(known, run)
            preemptible.check()
            trained = _learned(ready, wishes, method, started=started, progress=watch)
            preemptible.check()
            trained, alpha, tried = _settled(trained, method, folder, old, progress=watch)
            scores = _finished(trained, own.plan, folder, method, progress=watch)
            file = UpdateFile(
                method=method,
                model=str(folder),
                model_sha256=own.seal.weights_sha256,
                data=str(source),
                alpha=alpha,
                tried=tried,
                **measure_update(trained, folder, scores, known, device=wishes.device, progress=watch),
            )
            write_text(run.update, file.to_json())
            report(run.folder)  # once more: with the matrix
    finished = reopen(run)
    assert finished is not None  # it was finished just now
    return Updated(finished, file)


def _learned(ready: Ready, wishes: Wishes, method: str, *, started: float, progress: Progress) -> Trained:
    """The network after the update: trained, or matched to the new images where nothing is trained."""
    from unetkit.workflows.fitting import match_network, train_network

    if method == "adabn":
        return match_network(ready, wishes, progress=progress)
    return train_network(ready, wishes, started=started, progress=progress)


def planned(own: Plan, method: str) -> Plan:
    """The plan of an update: the model's own, with what holds off forgetting.

    Args:
        own: The model's plan.
        method: A name of ``METHODS``.

    Example:
        >>> from unetkit.records.plan import EXAMPLE
        >>> planned(Plan.model_validate(EXAMPLE), "lwf").objective.wrappers[0].name
        'lwf'
    """
    from unetkit.networks.prune import kept_stages
    from unetkit.training.objective import WRAPPERS

    wrappers = [{"name": method}] if method in WRAPPERS else []
    changes = {"objective.wrappers": json.dumps(wrappers), "training.pretrained": "none"}
    if method == "frozen":
        stages = len(kept_stages(own.network).widths)
        changes |= {"training.freeze_blocks": str(stages), "training.unfreeze_share": "0"}
    elif own.reasons.get("training.freeze_blocks") == _reason("frozen"):
        changes["training.freeze_blocks"] = "0"  # that was for the update before alone
    if own.inference.fit_cases and method != "adabn":
        changes |= {"inference.minimum_pixels": "[]", "inference.largest_only": "[]"}
    return own.with_values(changes, reason=_reason(method))


def _reason(method: str) -> str:
    return f"For an update: {METHODS[method]}."


def _planned_for(run: Run, own: Plan, method: str, settings: UpdateSettings) -> Plan:
    """The plan of an update; of one that goes on, with new classes of its data and what was set by hand."""
    from unetkit.workflows.asked import set_by_hand

    plan = planned(own, method)
    if not (settings.get("resume") and run.plan.is_file()):
        return plan
    begun = Plan.from_json(run.plan.read_bytes(), where=run.plan)
    grew = begun.data != own.data or any(term.name == "unbiased" for term in begun.objective.wrappers)
    return (grown(plan, begun.data, method) if grew else plan).with_values(set_by_hand(begun))


def _wishes(folder: Path, plan: Plan, settings: UpdateSettings) -> Wishes:
    for name in settings:
        if name not in UpdateSettings.__optional_keys__:
            raise UsageError(
                f"update has no setting '{name}'", cure=nearest(name, UpdateSettings.__optional_keys__)
            )
    return Wishes.of({**settings, "plan": plan, "init": folder})


def refuse_words(method: str, memory: Path | None, golden: Sequence[Path], out: Path) -> None:
    """Refuse an update that could not be, before anything is read.

    Args:
        method: A name of ``METHODS``.
        memory: Old data.
        golden: Golden sets.
        out: Folder of the new run.

    Raises:
        UsageError: The words contradict one another, or name what does not exist.
    """
    if method not in METHODS:
        raise UsageError(f"there is no method '{method}' to update with", cure=nearest(method, METHODS))
    if memory is None and method in ("replay", "interpolate"):
        raise UsageError(
            f"'{method}' needs old data, and none was named",
            cure="name it with --memory, or choose --method lwf if old images may not be kept",
        )
    for each in (memory, *golden):
        if each is not None and not each.exists():
            raise UsageError("there is no such data", cure="correct the path", where=each)
    if memory is not None and any(each.resolve() == memory.resolve() for each in golden):
        raise UsageError(
            "what the model is shown again cannot tell what it has forgotten",
            cure="name cases with --golden that are not in --memory",
            where=memory,
        )
    if memory is not None and memory.resolve().is_relative_to(out.resolve()):
        raise UsageError(
            "the old data lies in the folder of the new run", cure="name another --out", where=memory
        )


def _refuse_unmatchable(model: Path) -> None:
    """Refuse a model whose norms keep no statistics, before any new image is read."""
    from unetkit.learning.adabn import refuse_without_statistics
    from unetkit.networks.store import load_model

    refuse_without_statistics(load_model(model)[0])


def _old(
    method: str, memory: Path | None, plan: Plan, model: Path, progress: Progress
) -> tuple[Candidate, ...]:
    """Old cases, where the method asks for them."""
    from unetkit.workflows.remembering import IMPORTANCE, old_cases

    if memory is None:
        return ()
    if method in ("lwf", "finetune", "frozen", "adabn") or (
        method == "ewc" and (model / IMPORTANCE).is_file()
    ):
        progress.say(f"--memory is not looked at: '{method}' needs no old case here")
        return ()
    return old_cases(memory, plan.data, progress=progress)


def _readied(
    source: Path,
    run: Run,
    wishes: Wishes,
    past: tuple[Path, Sequence[Candidate]],
    accept: Accept,
    *,
    progress: Progress,
) -> Ready:
    """Ready the new data, and keep what is needed of the old."""
    from unetkit.workflows.readying import make_ready
    from unetkit.workflows.remembering import domain_of, of_training, remember, weigh

    model, old = past
    ready = make_ready(source, run, wishes, progress=progress, accept=accept)
    names = {term.name for term in ready.plan.objective.wrappers}
    if "replay" in names:
        domain, taken = domain_of(source), {each.domain for each in old}
        while domain in taken:
            domain += "-new"
        remember(ready, model, old, of_training(ready, domain=domain), progress=progress)
    if "ewc" in names:
        weigh(ready, model, old, device=wishes.device, progress=progress)
    return ready


def _accept(
    own: DataPlan,
    source: Path,
    method: str,
    old: Sequence[Candidate],
    inspection: Inspection,
    plan: Plan | None,
) -> Plan | None:
    """Refuse new data that the model cannot go on with; the plan grows where labels tell of other classes."""
    assert inspection.data is not None  # refused otherwise
    data = joined(own, inspection.data, where=source)
    blind = method == "replay" and lacks_names((each.named for each in old), data)
    if inspection.catalog.names and method != "adabn":  # stated: what is not among them was not looked for
        blind |= lacks_names([named_ids(data, inspection.data)], data)
    return grown(plan, data, method) if plan is not None and (blind or data != own) else plan


def _settled(
    trained: Trained, method: str, model: Path, old: Sequence[Candidate], *, progress: Progress
) -> tuple[Trained, float | None, dict[str, float]]:
    """Between the old and the new weights, where the method says so: the place that was best on both."""
    if method != "interpolate":
        return trained, None, {}
    from torch import nn

    from unetkit.learning.interpolate import best_alpha
    from unetkit.networks.store import load_model
    from unetkit.workflows.fitting import spread, validation

    ready, count = trained.ready, trained.ready.plan.training.validate_cases or 16
    sides = (tuple(each.case for each in old), ready.held_out)
    looks = [
        validation(ready, trained.network, trained.device, trained.layout, cases=spread(side, count))
        for side in sides
    ]

    def judge(network: nn.Module) -> float:
        found = [look(network).get("dice") for look in looks if look is not None]
        values = [value for value in found if value is not None]
        return sum(values) / max(len(values), 1)

    network, _ = load_model(model)
    alpha, tried = best_alpha(trained.network, network.state_dict(), judge)
    progress.say(f"interpolate: α {alpha:g} was best on old and new cases ({tried[alpha]:.4f})")
    return trained, alpha, {f"{place:g}": round(value, 6) for place, value in tried.items()}


def _finished(trained: Trained, own: Plan, model: Path, method: str, *, progress: Progress) -> Scores | None:
    """Fit object sizes, save, measure and report as a training does."""
    from unetkit.learning.penalty import accumulated, read_importance, save_importance
    from unetkit.workflows.measuring import finish
    from unetkit.workflows.object_sizes import fit_object_sizes
    from unetkit.workflows.remembering import IMPORTANCE, importance

    trained = fit_object_sizes(trained, progress=progress)
    ready = trained.ready
    ready = dataclasses.replace(ready, plan=_gentler(ready.plan, own))
    run = ready.run
    if method == "ewc":
        newer = importance(ready, trained.network, ready.trained_on)
        save_importance(run.model / IMPORTANCE, accumulated(read_importance(run.importance), newer))
    return finish(dataclasses.replace(trained, ready=ready), progress=progress)


def _gentler(plan: Plan, own: Plan) -> Plan:
    """Objects stay that either the new training cases or those of the old model would let stay."""
    if not plan.inference.fit_cases:
        return plan
    changes: dict[str, str] = {}
    new, old = plan.inference.minimum_pixels, own.inference.minimum_pixels
    least = [*map(min, new, old), *new[len(old) :]] if new and old else []
    if list(new) != least:
        changes["inference.minimum_pixels"] = json.dumps(least)
    alone, before = plan.inference.largest_only, own.inference.largest_only
    both = [*map(min, alone, before), *alone[len(before) :]] if alone and before else []
    if list(alone) != both:
        changes["inference.largest_only"] = json.dumps(both)
    reason = "What both the old model and the new training cases tell; else every object stays."
    return plan.with_values(changes, reason=reason) if changes else plan
