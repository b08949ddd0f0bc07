"""The model that was there and the one made from it on the same held-out cases, and those on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unetkit.compression.parity import changes, lost, seconds_per_tile, worst_changed, worst_loss
from unetkit.errors import DataError
from unetkit.metrics.score import MEAN
from unetkit.networks.store import load_model
from unetkit.planning.count import count_tile, living_bytes
from unetkit.records.plan import Plan
from unetkit.records.progress import Quiet
from unetkit.records.run import Run
from unetkit.records.scores import Scores
from unetkit.records.split import SplitFile
from unetkit.workflows.changed_cases import changed_cases
from unetkit.workflows.compressed import Compressed, Size, Step
from unetkit.workflows.deployed import Deployed, deployed
from unetkit.workflows.evaluate import score_model
from unetkit.workflows.model import Model, load
from unetkit.workflows.quantizing import stored_bytes
from unetkit.workflows.readying import look_again
from unetkit.workflows.seen import read_seen
from unetkit.workflows.stages import Chain
from unetkit.workflows.targeting import SEARCH, Search
from unetkit.workflows.train import TrainedRun, Wishes


def before_and_after(
    chain: Chain,
    last: TrainedRun,
    *,
    folder: Path,
    max_loss: float,
    stages: tuple[str, ...],
    asked: dict[str, Any],
    runtime: str = "",
) -> tuple[Compressed, str]:
    """Score the model that was there on the cases that the smaller one was scored on, and time both.

    Args:
        chain: What was done.
        last: The training that made the smaller model.
        folder: Where that will lie.
        max_loss: Points of Dice that each class may lose.
        stages: What was done, in words.
        asked: What was asked for.
        runtime: Where a network in eight bits is to run; empty: the first engine that is installed.

    Returns:
        What was found, and pictures of the cases that lost most, as html.

    Raises:
        DataError: No case is held out.
    """
    if last.scores is None:
        raise DataError(
            "no case is held out, so that nothing tells what was lost",
            cure="add labelled cases, or another group of them",
            where=chain.source,
        )
    again = look_again(chain.source, last.run, Wishes(), progress=Quiet())
    by_id = {case.id: case for case in again.inspection.catalog.cases}
    cases = [by_id[id] for id in again.split.held_out]
    models = [load(place, device=chain.device) for place in _places(chain)]
    split = _relation(chain, last.run)
    before = score_model(models[0], cases, split=split, progress=chain.progress)
    steps, after, device = _steps(chain, models, before), last.scores, models[0].device
    sizes = [steps[0].size, steps[-1].size]
    if last.plan.network.quantization != "none":  # the engine's own answers, time and size, not torch's
        both = deployed(chain, last.folder, last.run.model, runtime=runtime)
        models[-1], device = both.after, both.after.device
        after = score_model(both.after, cases, split=split, progress=chain.progress)
        sizes = _in_engine(both, sizes)
    found, note = changes(before, after), chain.folder / SEARCH
    search = Search.from_json(note.read_bytes(), where=note) if note.is_file() else None
    made = Compressed(
        model=str(chain.first),
        source=str(chain.source),
        folder=str(folder),
        stages=stages,
        asked=asked,
        max_loss=max_loss,
        passed=not lost(found, max_loss),
        device=device,
        split=split,
        before=sizes[0],
        after=sizes[1],
        changes=found,
        worst=worst_changed(before, after),
        steps=steps,
        unit=before.unit,
        sensitivities=search.rows if search else (),
        tried=search.tried if search else (),
    )
    return made, changed_cases(models[0], models[-1], cases, made.worst)


def size_of(plan: Plan, weights_bytes: int, *, seconds: float | None = None) -> Size:
    """What a model costs, for one tile of its plan.

    Args:
        plan: Its plan.
        weights_bytes: Size of the weights' file.
        seconds: Of one tile, where that was timed.
    """
    counted, eight_bits = count_tile(plan), plan.network.quantization != "none"
    return Size(
        widths=plan.network.widths,
        decoder_widths=plan.network.decoder_widths,
        parameters=counted.parameters,
        multiply_adds=counted.multiply_adds,
        memory_bytes=None if eight_bits else living_bytes(plan),  # what an engine needs then, it alone knows
        weights_bytes=weights_bytes,
        seconds_per_tile=seconds,
    )


def _places(chain: Chain) -> list[Path]:
    """The model that was there and every one that was trained, the last of them last."""
    return [chain.first, *(run.run.model for run in chain.done.values())]


def _steps(chain: Chain, models: list[Model], before: Scores) -> tuple[Step, ...]:
    """Every model with its size, its time for a tile of the first one, and what it lost."""
    inference = models[0].plan.inference
    shape = (models[0].plan.data.input_channels, *inference.tile_size)
    plain = [model for model in models if model.plan.network.quantization == "none"]
    timed = dict(
        zip(map(id, plain), seconds_per_tile([each.sole.runtime for each in plain], shape), strict=True)
    )
    scores = [before, *(run.scores for run in chain.done.values())]
    names = ["before", *(name.replace("run-", "round ") for name in chain.done)]
    return tuple(
        Step(
            name=name,
            size=size_of(
                model.plan.model_copy(update={"inference": inference}),
                _stored(model),
                seconds=timed.get(id(model)),  # torch only plays through what eight bits would answer
            ),
            dice=None if own is None else own.summary[MEAN]["dice"].mean,
            loss=None if own is None else worst_loss(changes(before, own)),
        )
        for name, model, own in zip(names, models, scores, strict=True)
    )


def _stored(model: Model) -> int:
    """Bytes of the weights: of the file, or of eight bits, which are written as such by an export alone."""
    if model.plan.network.quantization == "none":
        return (model.folder / "weights.safetensors").stat().st_size
    return stored_bytes(load_model(model.folder)[0])


def _in_engine(both: Deployed, sizes: list[Size]) -> list[Size]:
    """The sizes, with files and times of the engine."""
    inference = both.before.plan.inference
    shape = (both.before.plan.data.input_channels, *inference.tile_size)
    seconds = seconds_per_tile([both.before.sole.runtime, both.after.sole.runtime], shape)
    return [
        size.model_copy(update={"weights_bytes": stored, "seconds_per_tile": time})
        for size, stored, time in zip(sizes, both.bytes, seconds, strict=True)
    ]


def _relation(chain: Chain, run: Run) -> str:
    """What the held-out cases are to the models that were there, told by hashes of what they have seen."""
    ours = SplitFile.from_json(run.split.read_bytes(), where=run.split)
    held_out = {ours.digests.get(id) for id in ours.held_out}
    relation = "held-out"
    for place in dict.fromkeys((chain.first, *chain.teachers)):
        seen = read_seen(place)
        if seen is None:
            chain.progress.say(f"warning: what {place} was trained on is not known")
            relation = "unknown" if relation == "held-out" else relation
            continue
        if held_out & set(seen.trained_on):
            chain.progress.say(
                f"warning: {place} was trained on cases that are held out now, and the smaller model learned "
                "from it: the scores flatter"
            )
            relation = "training"
    return relation
