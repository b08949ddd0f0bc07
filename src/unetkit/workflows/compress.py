"""``compress``: a smaller model, stage by stage, measured against the one it was made from, behind a gate."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from unetkit.errors import UsageError, nearest
from unetkit.records.files import disk_error, write_text
from unetkit.records.plan import NetworkPlan
from unetkit.records.progress import Progress, Quiet
from unetkit.records.saved import Saved
from unetkit.workflows.compressed import Compressed, Size, as_html, as_markdown, still_good
from unetkit.workflows.model_folder import trained_folder
from unetkit.workflows.run_folder import LOCK, held

if TYPE_CHECKING:
    from unetkit.workflows.stages import Chain, Stage
    from unetkit.workflows.train import TrainedRun

ASKED, JSON, TABLE, PAGE = "asked.json", "compress.json", "compress.md", "compress.html"
HALF = 0.5
"""Share of the channels that goes where no stage is asked for."""


class CompressSettings(TypedDict, total=False):
    """What may be asked of a compression; everything is optional.

    Args:
        distill: The network to teach: a name as ``train(network=…)`` takes it, or a file with a plan.
        teachers: More models to learn from, beside the one that is compressed; of an ensemble, each network.
        target: What one tile or the weights may cost, such as ``onnx cpu <20ms`` or ``size<4MB``: in place of
            a share, the stages that lose least for what they save are cut until it is met; with ``int8``, by
            the network in eight bits.
        int8: Count in eight bits at last: ``ptq``, calibrated, or ``qat``, trained in eight bits from there.
        all_integer: Whether nothing at all may stay in floating point then.
        importance: Which channels go first: a name of ``compression.importance.IMPORTANCES``.
        rounds: In how many rounds the share is cut, each followed by training.
        minutes: Time budget for all trainings together; 0 for the plan's own length of each.
        changes: Dotted key to a value of the plan, for every training.
        device: ``auto``, ``cpu``, ``cuda`` …
    """

    distill: str | Path | None
    teachers: Sequence[str | Path]
    target: str | None
    int8: str | None
    all_integer: bool
    importance: str
    rounds: int
    minutes: float
    changes: Mapping[str, str] | None
    device: str


@dataclass(frozen=True)
class _Asked:
    """``CompressSettings`` with every gap filled in."""

    prune: float | None
    max_loss: float = 0.0
    distill: str | Path | None = None
    teachers: Sequence[str | Path] = ()
    target: str | None = None
    int8: str | None = None
    all_integer: bool = False
    importance: str = "l1"
    rounds: int = 1
    minutes: float = 0.0
    changes: Mapping[str, str] | None = field(default_factory=dict)
    device: str = "auto"

    def stages(self) -> tuple[Stage, ...]:
        """What is done, one after the other; a wrong word is refused here, before anything is read."""
        from unetkit.workflows.distilling import Distilling
        from unetkit.workflows.pruning import Pruning
        from unetkit.workflows.quantizing import Quantizing
        from unetkit.workflows.targeting import Targeting

        if not (self.max_loss >= 0 and 0 <= self.minutes < math.inf):
            raise UsageError(
                f"a loss and minutes of 0 or more were expected, got {self.max_loss:g} and {self.minutes:g}",
                cure="correct --max-loss or --minutes",
            )
        if self.teachers and self.distill is None:
            raise UsageError(
                "more teachers were named, and there is nobody to teach",
                cure="name the network that learns with --distill, or leave --teacher out",
            )
        stages: list[Stage] = []
        if self.distill is not None:
            stages.append(Distilling(str(self.distill)))
        if self.target is not None:
            if self.prune is not None:
                raise UsageError(
                    "a share and a target were asked for, and either decides what is cut",
                    cure="leave --prune or --target out",
                )
            int8 = self.int8 is not None
            stages.append(Targeting(self.target, self.importance, self.rounds, int8=int8))
        elif self.prune is not None or not (stages or self.int8):
            share = HALF if self.prune is None else self.prune
            stages.append(Pruning(share, self.importance, self.rounds))
        elif (self.importance, self.rounds) != ("l1", 1):
            raise UsageError(
                "an importance and rounds say how channels are cut, and none are to be",
                cure="add --prune or --target, or leave --importance and --rounds out",
            )
        if self.all_integer and self.int8 is None:
            raise UsageError(
                "nothing was to stay in floating point, and eight bits were not asked for",
                cure="add --int8 ptq or --int8 qat, or leave --all-integer out",
            )
        if self.int8 is not None:
            stages.append(Quantizing(self.int8, self.all_integer))
        return tuple(stages)


class CompressPreview(Saved):
    """What ``compress`` would make.

    Args:
        out: Where.
        network: The plan of the smaller network.
        before: The model that is there.
        after: The smaller one; its weights' bytes are counted, not written.
    """

    out: Path
    network: NetworkPlan
    before: Size
    after: Size


def compress(
    model: str | Path,
    source: str | Path,
    out: str | Path,
    *,
    prune: float | None = None,
    max_loss: float = 0.5,
    progress: Progress | None = None,
    **settings: Unpack[CompressSettings],
) -> Compressed:
    """Make a smaller model of a model, and publish it only if it is still good.

    The stages that are asked for follow one another: another network is taught what the model knows, then
    channels are cut out, then the rest counts in eight bits. The held-out cases are those that the model's
    plan holds out. Until the gate is passed everything lies in ``<out>.work``; the same call goes on where it
    was stopped.

    Args:
        model: A model folder, or a run that holds one.
        source: The data set.
        out: Folder of the smaller model's run, made when the gate is passed; must not exist.
        prune: Share of the channels of every stage that goes, above 0 and below 1; None: half of them where
            no other stage is asked for, else none.
        max_loss: Points of Dice (hundredths) that each class may lose on the held-out cases.
        progress: Who watches.
        settings: See ``CompressSettings``.

    Returns:
        Sizes, speed and scores before and after.

    Raises:
        UsageError: A setting is wrong, there is no such model, nothing of it can be cut, or another command
            is at work there.
        DataError: The data set is refused, or no case of it is held out.
        GateError: A class lost more, or no widths meet the target; nothing is in ``out``.
        PreemptedError: It was asked to stop; what was done is kept.

    Reference:
        Hinton, Vinyals and Dean, 2015; Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017.
    """
    from unetkit.compression.parity import raise_if_lost
    from unetkit.workflows.before_after import before_and_after
    from unetkit.workflows.report import report
    from unetkit.workflows.stages import Chain
    from unetkit.workflows.targeting import Targeting

    asked, target, watch = _asked(prune, max_loss, settings), Path(out), progress or Quiet()
    stages = asked.stages()
    place = trained_folder(model)
    _refuse_taken(target)
    teachers = _teachers(place, asked)
    _refuse_early(place, stages)
    wanted = _wanted(place, teachers, stages, asked)
    work = _work_folder(target)
    minutes = asked.minutes / max(1, sum(stage.trainings for stage in stages))
    chain = Chain(place, Path(source), work, watch, teachers, minutes, asked.changes, asked.device)
    with held(work):
        _keep_what_fits(work, wanted)
        last = _worked(chain, stages)
        found, pictures = before_and_after(
            chain,
            last,
            folder=target,
            max_loss=max_loss,
            stages=tuple(stage.words for stage in stages),
            asked=wanted,
            runtime=next((stage.runtime for stage in stages if isinstance(stage, Targeting)), ""),
        )
        write_text(work / JSON, found.to_json())
        write_text(work / TABLE, as_markdown(found))
        write_text(work / PAGE, as_html(found, pictures))
        raise_if_lost(found.changes, max_loss, where=work, kept=still_good(found))
        _publish(work, last.folder, target)
    _remove(work)
    report(target)  # once more: it tells where the model lies, and with what to predict
    return found


def preview(
    model: str | Path,
    out: str | Path,
    *,
    prune: float | None = None,
    max_loss: float = 0.5,
    **settings: Unpack[CompressSettings],
) -> CompressPreview:
    """Say what ``compress`` would make of a model, and write nothing.

    Args:
        model: A model folder, or a run that holds one.
        out: Where the smaller model would go.
        prune: Share of the channels of every stage that goes, as for ``compress``.
        max_loss: As for ``compress``.
        settings: As for ``compress``; of a target there is no preview.

    Raises:
        UsageError: As ``compress``, as far as no data is needed to say so.
    """
    from unetkit.networks.store import read_plan
    from unetkit.workflows.before_after import size_of

    asked = _asked(prune, max_loss, settings)
    stages = asked.stages()
    place = trained_folder(model)
    _refuse_taken(Path(out))
    _teachers(place, asked)
    plan = read_plan(place)
    before = size_of(plan, (place / "weights.safetensors").stat().st_size)
    tile = {"inference": plan.inference}
    for stage in stages:
        plan = stage.planned(plan)
    after = size_of(plan.model_copy(update=tile), 0)
    width = 4 if plan.network.quantization == "none" else 1
    after = after.model_copy(update={"weights_bytes": width * after.parameters})
    return CompressPreview(out=Path(out), network=plan.network, before=before, after=after)


def _asked(prune: float | None, max_loss: float, settings: CompressSettings) -> _Asked:
    for name in settings:
        if name not in (known := CompressSettings.__optional_keys__):
            raise UsageError(f"compress has no setting '{name}'", cure=nearest(name, known))
    return _Asked(prune, max_loss, **settings)


def _teachers(place: Path, asked: _Asked) -> tuple[Path, ...]:
    """Who teaches in every training: the model itself first, nobody where there is no student.

    In an ensemble that was named beside one of its networks, that network is not counted twice.
    """
    from unetkit.networks.store import read_seal
    from unetkit.workflows.teaching import teacher_folders

    if asked.distill is None:
        return ()
    named = [teacher_folders(name) for name in asked.teachers]
    own = read_seal(place).weights_sha256 if any(len(folders) > 1 for folders in named) else ""
    others = [
        one
        for folders in named
        for one in folders
        if len(folders) == 1 or read_seal(one).weights_sha256 != own
    ]
    return (place, *others)


def _refuse_taken(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            "there is something here already", cure="name a folder that does not exist yet", where=out
        )


def _wanted(place: Path, teachers: Sequence[Path], stages: Sequence[Stage], asked: _Asked) -> dict[str, Any]:
    """What decides on the smaller model: where anything of it differs, work that lies there is of no use."""
    from unetkit.networks.store import describe

    return {
        "model": describe(place).seal.weights_sha256,
        "teachers": [describe(each).seal.weights_sha256 for each in teachers],
        "stages": [{"stage": type(stage).__name__, **stage.asked} for stage in stages],
        "minutes": asked.minutes,
        "changes": dict(asked.changes or {}),
    }


def _refuse_early(place: Path, stages: Sequence[Stage]) -> None:
    """Refuse what a later stage would refuse, before the trainings of the earlier ones.

    What is cut decides on widths alone, which no refusal depends on.
    """
    from unetkit.networks.store import read_plan
    from unetkit.workflows.deployed import engine
    from unetkit.workflows.distilling import Distilling
    from unetkit.workflows.quantizing import Quantizing

    plan = read_plan(place)
    for stage in stages:
        if isinstance(stage, Distilling | Quantizing):
            plan = stage.planned(plan)
        if isinstance(stage, Quantizing):
            engine()


def _work_folder(out: Path) -> Path:
    """Where everything lies until the gate is passed."""
    work = out.with_name(f"{out.name}.work")
    if work.is_dir() and not (work / ASKED).is_file() and any(path.name != LOCK for path in work.iterdir()):
        raise UsageError(
            "this folder is needed for what is not published yet, and something else is in it",
            cure="move it away, or name another --out",
            where=work,
        )
    return work


def _keep_what_fits(work: Path, wanted: Mapping[str, Any]) -> None:
    """Remove what a call that asked for something else has left there."""
    text, note = json.dumps(wanted, indent=1, sort_keys=True) + "\n", work / ASKED
    if note.is_file() and note.read_text(encoding="utf-8") != text:
        for path in work.iterdir():
            if path.name not in (LOCK, ASKED):
                _remove(path)
    write_text(note, text)


def _remove(path: Path) -> None:
    try:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError as wrong:
        raise disk_error(wrong, path) from wrong


def _worked(chain: Chain, stages: Sequence[Stage]) -> TrainedRun:
    """Every stage on what the one before has made."""
    model, run = chain.first, None
    for stage in stages:
        if (made := stage.work(chain, model)) is not None:
            run, model = made, made.run.model
    assert run is not None  # a stage that has nothing to do refuses where no other one does anything
    return run


def _publish(work: Path, run: Path, out: Path) -> None:
    """Put the last run, with what was measured, into its place at once."""
    try:
        for name in (JSON, TABLE, PAGE):
            (work / name).rename(run / name)
        run.rename(out)  # an empty folder gives way
    except OSError as wrong:
        raise disk_error(wrong, out) from wrong
