"""After an update: the old and the new model on golden sets and on new held-out cases, class by class."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unetkit.data.catalog import find_cases
from unetkit.data.formats import files_of
from unetkit.data.inspect import inspect, raise_if_refused
from unetkit.data.naming import named_as
from unetkit.errors import DataError
from unetkit.learning.exemplars import MEMORY, MemoryFile
from unetkit.metrics.continual import Domain, Estimate, transfer
from unetkit.metrics.score import MEAN
from unetkit.records.case import Case
from unetkit.records.files import sha256
from unetkit.records.kept import Interval, Kept
from unetkit.records.plan import DataPlan
from unetkit.records.progress import Progress
from unetkit.records.run import Run
from unetkit.records.scores import CaseScores, Scores
from unetkit.records.split import SplitFile
from unetkit.workflows.evaluate import score_model
from unetkit.workflows.growing import measured_on, named_ids, refuse_other
from unetkit.workflows.model import Model, load
from unetkit.workflows.proposal import PLAIN, Measures
from unetkit.workflows.remembering import named_by
from unetkit.workflows.seen import relation

if TYPE_CHECKING:
    from unetkit.workflows.fitting import Trained
    from unetkit.workflows.readying import Ready

STAGES = ("before", "after")
NEW = "new"


@dataclass(frozen=True)
class Golden:
    """A data set that a model must not get worse on, looked at.

    Args:
        name: What it is called: its folder's name.
        source: Where it is.
        cases: Its labelled cases.
        digests: Case id to the hash of its pixels.
        contents: Case id to the hash of its pixels and its label.
        data: The classes it is measured on.
    """

    name: str
    source: Path
    cases: tuple[Case, ...]
    digests: dict[str, str]
    contents: dict[str, str]
    data: DataPlan


def golden_sets(sources: Sequence[Path], data: DataPlan, *, progress: Progress) -> tuple[Golden, ...]:
    """Read golden sets; one that will not do shows before any time is spent.

    Args:
        sources: Data sets; each is measured up to the last class that it names.
        data: Channels and classes of the model.
        progress: Who watches.

    Raises:
        DataError: One is refused, or has other channels or classes.
    """
    found: list[Golden] = []
    for source in sources:
        inspection = named_as(inspect(find_cases(source), progress=progress), data)
        raise_if_refused(inspection)
        assert inspection.data is not None  # refused otherwise
        refuse_other(data, inspection.data, where=source)
        found.append(
            Golden(
                _name(source, [each.name for each in found]),
                source,
                tuple(case for case in inspection.catalog.cases if case.label is not None),
                {facts.id: facts.digest for facts in inspection.facts},
                {facts.id: facts.content_digest for facts in inspection.facts},
                _up_to(data, 1 + max(named_ids(data, inspection.data))),
            )
        )
    return tuple(found)


def refuse_remembered(golden: Sequence[Golden], run: Run) -> None:
    """Refuse golden sets with images that the model is shown again.

    Args:
        golden: What was looked at.
        run: Whose memory is compared, file by file.

    Raises:
        DataError: An image is in both.
    """
    if not (run.memory / MEMORY).is_file():
        return
    record = MemoryFile.from_json((run.memory / MEMORY).read_bytes(), where=run.memory / MEMORY)
    kept = {digest for each in record.cases for digest in each.sha256.values()}
    for each in golden:
        for case in each.cases:
            if any(sha256(file) in kept for path in case.images for file in files_of(path)):
                raise DataError(
                    f"the image of '{case.id}' is in the memory too: what is shown again cannot tell what "
                    "was forgotten",
                    cure="take it out of the golden set, or name other old data with --memory",
                    where=each.source,
                )


def score_golden(model: Model, golden: Golden, *, measures: Measures = PLAIN, progress: Progress) -> Scores:
    """Score a model on the classes of a golden set, with a word on whether it has seen it.

    Args:
        model: What predicts.
        golden: The cases.
        measures: Metrics and tolerance.
        progress: Who watches.
    """
    split = relation(model.folder, golden.digests)
    wide = measured_on(model, golden.data)
    return score_model(wide, golden.cases, split=split, measures=measures, progress=progress)


def measure_update(
    trained: Trained,
    model: Path,
    scores: Scores | None,
    golden: Sequence[Golden],
    *,
    device: str,
    progress: Progress,
) -> dict[str, Any]:
    """Score the old and the new model alike, and say what was kept.

    Args:
        trained: The update, saved.
        model: The old model's folder.
        scores: Of the new model on the new held-out cases.
        golden: What the old model knew.
        device: Where to compute.
        progress: Who watches.

    Returns:
        The values of ``UpdateFile`` that are measured.
    """
    ready = trained.ready
    old, new = load(model, device=device), load(ready.run.model, device=device)
    data = ready.plan.data
    tables: list[tuple[str, int, tuple[Scores, ...]]] = []
    for each in golden:
        both = tuple(score_golden(one, each, progress=progress) for one in (old, new))
        tables.append((each.name, 0, both))
    notes = []
    if scores is not None:
        wide = measured_on(old, data)
        before = score_model(wide, ready.held_out, split=_seen_before(old, ready), progress=progress)
        bare = score_model(_untrained(trained), ready.held_out, split="unknown", progress=progress)
        tables.append((NEW, 1, (before, scores, bare)))
    if not golden:
        notes.append("no golden set was named (--golden): what the model has forgotten is not known")
    notes += [
        f"'{name}' holds images that the {word} model was trained on: its scores are too good"
        for name, _, rows in tables
        for word, row in zip(("old", "new"), rows, strict=False)
        if row.split == "training"
    ]
    named = named_by(ready)
    unnamed = [name for number, name in enumerate(data.classes) if number and number not in named]
    if scores is not None and named and unnamed:
        words = ", ".join(unnamed)
        notes.append(
            f"the new data does not name {words}: where a model finds it there, that counts as wrong"
        )
    classes = {}
    for name in (*data.classes[1:], MEAN) if tables else ():
        telling = [name in (*rows[1].classes, MEAN) for _, _, rows in tables]
        domains = [
            _domain(name, learned, rows)
            for (_, learned, rows), tells in zip(tables, telling, strict=True)
            if tells
        ]
        found = transfer(domains, seed=ready.plan.training.seed)
        classes[name] = Kept(
            matrix=tuple(_spread_out(row, telling) for row in found.matrix),
            accuracy=_interval(found.accuracy),
            backward=_interval(found.backward),
            forward=_interval(found.forward),
            forgetting=_interval(found.forgetting),
        )
    return {
        "stages": STAGES,
        "domains": tuple(name for name, _, _ in tables),
        "classes": classes,
        "notes": tuple(notes),
    }


def class_values(scores: Scores, name: str, metric: str = "dice") -> dict[str, float]:
    """Case id to the value of a class, or to the mean over classes; undefined cases are left out.

    Args:
        scores: What was measured.
        name: A class, or ``mean``.
        metric: Which metric.
    """
    found = {case.id: _value(case, scores.classes, name, metric) for case in scores.cases}
    return {id: value for id, value in found.items() if value is not None}


def _value(case: CaseScores, classes: Sequence[str], name: str, metric: str) -> float | None:
    if name != MEAN:
        return case.values[name][metric]
    defined = [value for each in classes if (value := case.values[each][metric]) is not None]
    return statistics.fmean(defined) if defined else None


def _domain(name: str, learned: int, rows: Sequence[Scores]) -> Domain:
    before, after, *bare = rows
    return Domain(
        learned=learned,
        stages=(class_values(before, name), class_values(after, name)),
        groups={case.id: case.group for case in after.cases},
        untrained=class_values(bare[0], name) if bare else None,
    )


def _spread_out(row: Sequence[Estimate], telling: Sequence[bool]) -> tuple[Interval, ...]:
    """A row of the matrix with a gap for each domain that does not tell of the class."""
    left = iter(row)
    return tuple(_interval(next(left)) if tells else Interval(value=None) for tells in telling)


def _up_to(data: DataPlan, count: int) -> DataPlan:
    """The first ``count`` classes."""
    cut = {"classes": data.classes[:count], "label_values": data.label_values[:count]}
    return data.model_copy(update=cut)


def _seen_before(old: Model, ready: Ready) -> str:
    """Whether the old model has seen the new held-out cases, told by the hashes both runs have kept."""
    split = SplitFile.from_json(ready.run.split.read_bytes(), where=ready.run.split)
    ids = {case.id for case in ready.held_out}
    return relation(old.folder, {id: digest for id, digest in split.digests.items() if id in ids})


def _interval(estimate: Estimate) -> Interval:
    def rounded(value: float | None) -> float | None:
        return None if value is None else round(value, 6)

    return Interval(value=rounded(estimate.value), low=rounded(estimate.low), high=rounded(estimate.high))


def _untrained(trained: Trained) -> Model:
    """The same network with random weights: what a domain scores before anything was learned."""
    import torch

    from unetkit.inference.predict import Predictor
    from unetkit.networks.unet import build
    from unetkit.runtimes.pytorch import PytorchRuntime

    plan, data = trained.ready.plan, trained.ready.plan.data
    torch.manual_seed(plan.training.seed)
    network = build(
        plan.network, rank=data.input_rank, in_channels=data.input_channels, classes=len(data.classes)
    )
    trained.layout.place(network.eval(), trained.device)
    runtime = PytorchRuntime(network, trained.device, trained.layout)
    predictor = Predictor(runtime, data, plan.preparation, plan.inference)
    return Model(trained.ready.run.model, plan, predictor, str(trained.device))


def _name(source: Path, taken: Sequence[str]) -> str:
    """A golden set's name: that of its folder, numbered where two are called alike."""
    stem = source.resolve().stem
    name, number = stem, 2
    while name in (*taken, NEW):
        name, number = f"{stem}-{number}", number + 1
    return name
