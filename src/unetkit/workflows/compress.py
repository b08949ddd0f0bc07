"""``compress``: fewer channels, trained on, measured against the model it was made from, behind a gate."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from unetkit.errors import DataError, PreemptedError, UsageError, nearest
from unetkit.records.files import disk_error, write_text
from unetkit.records.plan import NetworkPlan, Plan
from unetkit.records.progress import Progress, Quiet
from unetkit.records.run import Run
from unetkit.records.saved import Saved
from unetkit.records.split import SplitFile
from unetkit.workflows.compressed import Compressed, Size, as_html, as_markdown
from unetkit.workflows.model_folder import trained_folder

if TYPE_CHECKING:
    from unetkit.networks.unet import UNet
    from unetkit.workflows.train import TrainedRun

ASKED, JSON, TABLE, PAGE = "asked.json", "compress.json", "compress.md", "compress.html"


class CompressSettings(TypedDict, total=False):
    """What may be asked of a compression; everything is optional.

    Args:
        importance: Which channels go first: a name of ``compression.importance.IMPORTANCES``.
        rounds: In how many rounds the share is cut, each followed by training.
        minutes: Time budget for training after cutting, over all rounds; 0 for the plan's own length.
        changes: Dotted key to a value of the plan, for training after cutting.
        device: ``auto``, ``cpu``, ``cuda`` …
    """

    importance: str
    rounds: int
    minutes: float
    changes: Mapping[str, str] | None
    device: str


@dataclass(frozen=True)
class _Asked:
    prune: float
    max_loss: float = 0.0
    importance: str = "l1"
    rounds: int = 1
    minutes: float = 0.0
    changes: Mapping[str, str] | None = field(default_factory=dict)
    device: str = "auto"


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
    prune: float = 0.5,
    max_loss: float = 0.5,
    progress: Progress | None = None,
    **settings: Unpack[CompressSettings],
) -> Compressed:
    """Cut channels out of a model, train what is left, and publish it only if it is still good.

    The held-out cases are those that the model's plan holds out. Until the gate is passed everything lies in
    ``<out>.work``; the same call goes on where it was stopped.

    Args:
        model: A model folder, or a run that holds one.
        source: The data set.
        out: Folder of the smaller model's run, made when the gate is passed; must not exist.
        prune: Share of the channels of every stage that goes, above 0 and below 1.
        max_loss: Points of Dice (hundredths) that each class may lose on the held-out cases.
        progress: Who watches.
        settings: See ``CompressSettings``.

    Returns:
        Sizes, speed and scores before and after.

    Raises:
        UsageError: A setting is wrong, there is no such model, or nothing of it can be cut.
        DataError: The data set is refused, or no case of it is held out.
        GateError: A class lost more; nothing is in ``out``.
        PreemptedError: It was asked to stop; what was done is kept.

    Reference:
        Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017 (arXiv:1608.08710).
    """
    from unetkit.compression.parity import raise_if_lost

    for name in settings:
        if name not in (known := CompressSettings.__optional_keys__):
            raise UsageError(f"compress has no setting '{name}'", cure=nearest(name, known))
    asked, target, watch = _Asked(prune, max_loss, **settings), Path(out), progress or Quiet()
    _check(asked)
    place = trained_folder(model)
    _refuse_taken(target)
    work = _work_folder(place, target, asked)
    last = _rounds(place, Path(source), work, asked, progress=watch)
    found, pictures = _measured(place, Path(source), target, last, asked, progress=watch)
    write_text(work / JSON, found.to_json())
    write_text(work / TABLE, as_markdown(found))
    write_text(work / PAGE, as_html(found, pictures))
    raise_if_lost(found.changes, max_loss, where=work)
    _publish(work, last.folder, target)
    return found


def preview(model: str | Path, out: str | Path, *, prune: float = 0.5) -> CompressPreview:
    """Say what ``compress`` would make of a model, and write nothing.

    Args:
        model: A model folder, or a run that holds one.
        out: Where the smaller model would go.
        prune: Share of the channels of every stage that goes.

    Raises:
        UsageError: The share is none, there is no such model, or nothing of it can be cut.
    """
    from unetkit.compression.prune import narrowed
    from unetkit.networks.store import load_model

    _check(_Asked(prune))
    place = trained_folder(model)
    _refuse_taken(Path(out))
    network, plan = load_model(place)
    smaller = narrowed(network, prune)
    before = _size(plan, (place / "weights.safetensors").stat().st_size)
    after = _size(plan.model_copy(update={"network": smaller}), 0)
    after = after.model_copy(update={"weights_bytes": 4 * after.parameters})
    return CompressPreview(out=Path(out), network=smaller, before=before, after=after)


def _check(asked: _Asked) -> None:
    """Refuse what cannot be done before anything is read."""
    from unetkit.compression.importance import IMPORTANCES
    from unetkit.lookup import pick

    if not 0 < asked.prune < 1:
        raise UsageError(
            f"a share of channels above 0 and below 1 was expected, got {asked.prune:g}",
            cure="say --prune 0.5 to cut half of them",
        )
    if not (asked.max_loss >= 0 and asked.rounds >= 1 and asked.minutes >= 0):
        raise UsageError(
            "a loss and minutes of 0 or more and 1 round or more were expected, got "
            f"{asked.max_loss:g}, {asked.minutes:g} and {asked.rounds}",
            cure="correct --max-loss, --minutes or --rounds",
        )
    pick("importance", IMPORTANCES, asked.importance)


def _refuse_taken(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            "there is something here already", cure="name a folder that does not exist yet", where=out
        )


def _work_folder(place: Path, out: Path, asked: _Asked) -> Path:
    """Where everything lies until the gate is passed; what another call has left there is removed."""
    from unetkit.networks.store import describe

    work = out.with_name(f"{out.name}.work")
    wanted = {
        "model": describe(place).seal.weights_sha256,
        "prune": asked.prune,
        "importance": asked.importance,
        "rounds": asked.rounds,
        "minutes": asked.minutes,
        "changes": dict(asked.changes or {}),
    }
    text = json.dumps(wanted, indent=1, sort_keys=True) + "\n"
    note = work / ASKED
    if work.exists() and not note.is_file():
        raise UsageError(
            "this folder is needed for what is not published yet, and something else is in it",
            cure="move it away, or name another --out",
            where=work,
        )
    if note.is_file() and note.read_text(encoding="utf-8") != text:
        shutil.rmtree(work)
    write_text(note, text)
    return work


def _rounds(place: Path, source: Path, work: Path, asked: _Asked, *, progress: Progress) -> TrainedRun:
    """Cut and train, as often as was asked for; a round that is finished already is kept."""
    from unetkit.workflows.train import train

    run: TrainedRun | None = None
    for number in range(1, asked.rounds + 1):
        start = work / f"start-{number}"
        if not (start / "model.json").is_file():
            share = 1 - (1 - asked.prune) ** (number / asked.rounds)  # of the first network
            _cut(place, place if run is None else run.run.model, start, share, asked.importance)
            progress.say(f"{share:.0%} of the channels cut, the least by {asked.importance}")
        plan = Plan.from_json((start / "plan.json").read_bytes(), where=start / "plan.json")
        progress.say(f"round {number}/{asked.rounds}: widths {list(plan.network.widths)}")
        try:
            run = train(
                source,
                work / f"run-{number}",
                progress=progress,
                plan=plan,
                init=start,
                minutes=asked.minutes / asked.rounds,
                changes=asked.changes,
                device=asked.device,
                resume=True,
            )
        except PreemptedError as stopped:
            raise type(stopped)(
                stopped.problem, cure="run the same command again to go on", where=work
            ) from stopped
    assert run is not None  # there is at least one round
    return run


def _cut(first: Path, now: Path, start: Path, share: float, importance: str) -> None:
    """Write the pruned model from which a round begins; the share is of the first model's channels."""
    from unetkit.compression.prune import cut_to, narrowed
    from unetkit.networks.store import load_model, save_model

    network, plan = load_model(now)
    goal = narrowed(network if now == first else load_model(first)[0], share)
    small = cut_to(network, goal, by=importance)
    save_model(start, small, _smaller_plan(plan, small, share, importance))


def _smaller_plan(plan: Plan, small: UNet, share: float, importance: str) -> Plan:
    reason = f"{share:.0%} of the channels were cut, the least by {importance}."
    keys = [key for key in ("widths", "decoder_widths") if getattr(small.plan, key)]
    reasons = {**plan.reasons, **{f"network.{key}": reason for key in keys}}
    return plan.model_copy(update={"network": small.plan, "reasons": reasons})


def _measured(
    place: Path, source: Path, target: Path, last: TrainedRun, asked: _Asked, *, progress: Progress
) -> tuple[Compressed, str]:
    """The same held-out cases through both models, and pictures of those that lost most."""
    from unetkit.compression.parity import changes, lost, seconds_per_tile, worst_changed
    from unetkit.workflows.changed_cases import changed_cases
    from unetkit.workflows.evaluate import score_model
    from unetkit.workflows.model import load
    from unetkit.workflows.readying import look_again
    from unetkit.workflows.train import Wishes

    if last.scores is None:
        raise DataError(
            "no case is held out, so that nothing tells what was lost",
            cure="add labelled cases, or another group of them",
            where=source,
        )
    again = look_again(source, last.run, Wishes(), progress=progress)
    by_id = {case.id: case for case in again.inspection.catalog.cases}
    cases = [by_id[id] for id in again.split.held_out]
    model, smaller = load(place, device=asked.device), load(last.run.model, device=asked.device)
    split = _relation(place, last.run, progress)
    before = score_model(model, cases, split=split, progress=progress)
    found = changes(before, last.scores)
    shape = (len(model.plan.data.channels), *model.plan.inference.tile_size)
    seconds = seconds_per_tile([each.sole.runtime for each in (model, smaller)], shape)
    sizes = [
        _size(
            each.plan.model_copy(update={"inference": model.plan.inference}),
            (each.folder / "weights.safetensors").stat().st_size,
            seconds=time,
        )
        for each, time in zip((model, smaller), seconds, strict=True)
    ]
    made = Compressed(
        model=str(place),
        source=str(source),
        folder=str(target),
        prune=asked.prune,
        importance=asked.importance,
        rounds=asked.rounds,
        max_loss=asked.max_loss,
        passed=not lost(found, asked.max_loss),
        device=model.device,
        split=split,
        before=sizes[0],
        after=sizes[1],
        changes=found,
        worst=worst_changed(before, last.scores),
    )
    return made, changed_cases(model, smaller, cases, made.worst)


def _relation(place: Path, run: Run, progress: Progress) -> str:
    """What the held-out cases are to the model that was there, told by the split its run has kept."""
    kept = Run(place.parent).split
    if not kept.is_file():
        progress.say("warning: the model's run is not there, so that what it was trained on is not known")
        return "unknown"
    theirs = SplitFile.from_json(kept.read_bytes(), where=kept)
    ours = SplitFile.from_json(run.split.read_bytes(), where=run.split)
    held_out = {ours.digests.get(id) for id in ours.held_out}
    if held_out & {theirs.digests.get(id) for id in theirs.train}:
        progress.say(
            "warning: the model was trained on cases that are held out now, and the smaller one began from "
            "it: the scores flatter both"
        )
        return "training"
    return "held-out"


def _size(plan: Plan, weights_bytes: int, *, seconds: float | None = None) -> Size:
    from unetkit.planning.count import count

    counted = count(
        plan.network,
        rank=plan.data.rank,
        in_channels=len(plan.data.channels),
        classes=len(plan.data.classes),
        patch=plan.inference.tile_size,
    )
    return Size(
        widths=plan.network.widths,
        decoder_widths=plan.network.decoder_widths,
        parameters=counted.parameters,
        multiply_adds=counted.multiply_adds,
        weights_bytes=weights_bytes,
        seconds_per_tile=seconds,
    )


def _publish(work: Path, run: Path, out: Path) -> None:
    """Put the last run, with what was measured, into its place at once."""
    try:
        for name in (JSON, TABLE, PAGE):
            (work / name).rename(run / name)
        run.rename(out)  # an empty folder gives way
        shutil.rmtree(work)
    except OSError as wrong:
        raise disk_error(wrong, out) from wrong
