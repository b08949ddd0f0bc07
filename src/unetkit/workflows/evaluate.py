"""``evaluate``: predictions against labels, or a model on a data set; nothing is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unetkit.data.catalog import find_cases
from unetkit.data.classes import decide_classes
from unetkit.data.folders import exact_pair
from unetkit.data.formats import DICOM, kind_of, sort_folder, stem_of
from unetkit.data.inspect import inspect
from unetkit.data.labels import read_label, read_values
from unetkit.data.pairing import pair_names
from unetkit.data.problems import raise_refusals
from unetkit.data.readers import read_marks
from unetkit.data.tables import Declared, read_dataset_json, read_rows, stated_ignore
from unetkit.errors import DataError, UsageError
from unetkit.metrics.agreement import CaseAgreement, case_agreement, mean_agreement
from unetkit.metrics.calibration import Row, calibration
from unetkit.metrics.froc import Candidates, candidates, froc
from unetkit.metrics.score import score_case, summarise
from unetkit.metrics.table import to_csv
from unetkit.records.case import Case, Grid, Sample
from unetkit.records.files import write_text
from unetkit.records.plan import DataPlan, Plan
from unetkit.records.prediction import Prediction
from unetkit.records.progress import Progress, Quiet
from unetkit.records.scores import CaseScores, Scores
from unetkit.workflows.model import Model, load
from unetkit.workflows.model_folder import is_model
from unetkit.workflows.proposal import PLAIN, Measures, measures_for
from unetkit.workflows.seen import relation

CALIBRATION_BYTES = 1 << 28

Seen = Callable[[Case, np.ndarray, Prediction], None]
"""Called with each case, its reference (class ids) and its prediction."""


@dataclass(frozen=True)
class _Stated:
    """What the files beside a folder of labels say: ``index.csv`` and ``dataset.json``."""

    groups: dict[str, str]
    names: dict[int, str]
    ignore_value: int | None


def evaluate(
    first: str | Path | Model,
    second: str | Path,
    *,
    csv_file: str | Path | None = None,
    tolerance_mm: float = 1.0,
    metrics: Sequence[str] = (),
    tta: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> Scores:
    """Measure predictions or a model.

    The standard metrics are measured always, others where the labels call for them: ``reasons`` says why.

    Args:
        first: A folder of predicted label files, or a model (folder, run, or loaded).
        second: The folder of the reference labels, or the data set.
        csv_file: Also write one row per case and class.
        tolerance_mm: The τ of NSD@τ; in pixels where no file states a spacing.
        metrics: Names of ``METRICS`` to measure whether or not the labels call for them.
        tta: With a model: average over mirrored images.
        device: With a model: where to compute.
        progress: Who watches.

    Raises:
        UsageError: ``first`` is neither a model nor a folder of label files.
        DataError: The data set is refused, a label file is damaged, or sizes differ.
    """
    watch = progress or Quiet()
    if isinstance(first, Model) or is_model(Path(first)):
        model = first if isinstance(first, Model) else load(first, device=device)
        cases, split = _cases_of(model, Path(second), progress=watch)
        measures = measures_for(
            cases, model.plan.data, also=metrics, tolerance_mm=tolerance_mm, progress=watch
        )
        scores = score_model(model, cases, split=split, measures=measures, tta=tta, progress=watch)
    elif tta:
        raise UsageError("label files cannot be mirrored", cure="leave --tta out, or name a model")
    else:
        scores = folder_scores(
            Path(first), Path(second), tolerance_mm=tolerance_mm, metrics=metrics, progress=watch
        )
    if csv_file is not None:
        write_text(Path(csv_file), to_csv(scores))
    return scores


def _cases_of(model: Model, source: Path, *, progress: Progress) -> tuple[list[Case], str]:
    """The labelled cases of a data set, and what they are to the model."""
    inspection = inspect(find_cases(source), progress=progress)
    # healthy cases alone teach nothing, but what a model makes up in them can be measured
    raise_refusals([each for each in inspection.problems if each.code != "all-background"])
    digests = {facts.id: facts.digest for facts in inspection.facts}
    cases = [case for case in inspection.catalog.cases if case.label is not None]
    return cases, relation(model.folder, digests)


def score_model(
    model: Model,
    cases: Sequence[Case],
    *,
    split: str,
    measures: Measures = PLAIN,
    tta: bool = False,
    seen: Seen | None = None,
    progress: Progress | None = None,
    sample: Callable[[Case], Sample] | None = None,
) -> Scores:
    """Predict labelled cases one by one and measure each; memory holds one case at a time.

    Args:
        model: What predicts.
        cases: Labelled cases.
        split: What the cases are to the model: ``held-out``, ``training``, ``unknown``.
        measures: Metrics and tolerance.
        tta: Average over mirrored images.
        seen: Called with each case, its reference and its prediction.
        progress: Who watches.
        sample: How a case is prepared; from its file when None.
    """
    watch = progress or Quiet()
    plan = model.plan
    rows, read = list[CaseScores](), list[CaseAgreement]()
    bins: tuple[Row, ...] = ()
    near = bins  # the same, of pixels that are said to be an object
    suggested: list[list[Candidates]] = []
    watch.begin("measuring", len(cases))
    for case in cases:
        reference, known, grid = read_label(case, plan.data)
        affordable = can_be_sure(plan, reference.size)
        how: dict[str, Any] = {"mirror": tta, "probabilities": affordable, "progress": watch}
        prediction = model.sole.sample(sample(case), **how) if sample else model.predictor.case(case, **how)
        place = _stated_grid(grid, prediction.grid)
        rows.append(
            score_case(
                case.id,
                case.group,
                reference,
                prediction.labels,
                classes=plan.data.classes[1:],
                known=known,
                spacing_mm=place.spacing_mm,
                metrics=measures.metrics,
                tolerance_mm=measures.tolerance_mm,
                calibrated=place.calibrated,
            )
        )
        if case.readers is not None:
            marks = case.reader_count, read_marks(case)
            read.append(case_agreement(*marks, reference, prediction.labels, known))
        if (shares := prediction.probabilities) is not None:
            bins = calibration(shares, reference, known, before=bins)
            # told by the prediction alone: where the label has a say, an honest model looks dishonest
            said = prediction.labels > 0
            near = calibration(shares, reference, said if known is None else said & known, before=near)
            if "object_f1" in measures.metrics:
                rest = range(1, len(shares))
                suggested.append([candidates(shares[k], reference == k, known) for k in rest])
        if seen is not None:
            seen(case, reference, prediction)
        watch.advance(1, case=case.id)
    watch.end()
    scores = summarise(
        rows,
        classes=plan.data.classes[1:],
        metrics=measures.metrics,
        tolerance_mm=measures.tolerance_mm,
        split=split,
        calibration=bins,
    )
    whole = len(suggested) == len(rows)  # a curve over some of the cases would flatter
    curves = zip(scores.classes, map(froc, zip(*suggested, strict=True)), strict=False) if whole else ()
    more = {"reasons": dict(measures.reasons), "froc": dict(curves), "calibration_objects": near}
    return scores.model_copy(update={**more, "readers": mean_agreement(read)})


def can_be_sure(plan: Plan, pixels: int) -> bool:
    """Whether a model says how sure it is of an image: its network gives logits, and there is room for them.

    Args:
        plan: The model's.
        pixels: Of the image.
    """
    room = pixels * len(plan.data.classes) * 4 <= CALIBRATION_BYTES
    return room and plan.inference.network_output == "logits"


def folder_scores(
    predictions: Path,
    labels: Path,
    *,
    tolerance_mm: float = 1.0,
    metrics: Sequence[str] = (),
    progress: Progress | None = None,
) -> Scores:
    """Measure a folder of label files against another, matched by name as images and masks are.

    A label without a prediction is an absent prediction and takes the worst value of every metric. Which
    value is which class is decided as for a training: by the references and the ``dataset.json`` beside them.

    Args:
        predictions: Predicted label files.
        labels: Reference label files.
        tolerance_mm: The τ of NSD@τ.
        metrics: Names of ``METRICS`` to measure whether or not the labels call for them.
        progress: Who watches.

    Raises:
        UsageError: One of them is no folder, or no two files have one stem.
        DataError: A file is damaged, holds a value that is no class, or lies elsewhere than its label.
    """
    watch = progress or Quiet()
    found, wanted = _label_files(predictions), _label_files(labels)
    names, guessed = pair_names(list(found), list(wanted))
    if guessed:
        watch.say(guessed)
    found = {names.get(stem, stem): path for stem, path in found.items()}
    if not set(found) & set(wanted):
        cure = "name the folder of predictions (or a model) first, the labels (or a data set) second"
        if found and (inside := exact_pair(labels)) is not None:
            cure = f"name the folder of the labels itself: unet evaluate {predictions} {inside[1]}"
        problem = "no prediction has the stem of a label, and there is no model here"
        raise UsageError(problem, cure=cure, where=predictions)
    stated = _stated(labels)
    cases = [
        Case(stem, _laid_on(path, found.get(stem)), path, stated.groups.get(stem, stem))
        for stem, path in wanted.items()
    ]
    data = _classes(labels, cases, found, stated, progress=watch)
    measures = measures_for(cases, data, also=metrics, tolerance_mm=tolerance_mm, progress=watch)
    return score_files(cases, found, data, split="unknown", measures=measures, progress=watch)


def _laid_on(label: Path, predicted: Path | None) -> tuple[Path, ...]:
    """What tells the grid of a DICOM label: segmentations leave out empty slices, outlines have no grid."""
    return (predicted,) if predicted and kind_of(label) == DICOM else ()


def score_files(
    cases: Sequence[Case],
    predictions: Mapping[str, Path],
    data: DataPlan,
    *,
    split: str,
    measures: Measures = PLAIN,
    progress: Progress | None = None,
) -> Scores:
    """Measure label files against the labels of cases.

    Args:
        cases: Labelled cases.
        predictions: Case id → its predicted label file; a case that is not in it is an absent prediction.
        data: Which value is which class, in both.
        split: What the cases are to whatever predicted: ``held-out``, ``training``, ``unknown``.
        measures: Metrics and tolerance.
        progress: Who watches.

    Raises:
        DataError: A file is damaged, holds a value that is no class, or lies elsewhere than its label.
    """
    watch = progress or Quiet()
    rows: list[CaseScores] = []
    watch.begin("measuring", len(cases))
    for case in cases:
        rows.append(_pair(case, predictions.get(case.id), data, measures))
        watch.advance(1, case=case.id)
    watch.end()
    scores = summarise(
        rows,
        classes=data.classes[1:],
        metrics=measures.metrics,
        tolerance_mm=measures.tolerance_mm,
        split=split,
    )
    return scores.model_copy(update={"reasons": dict(measures.reasons)})


def _pair(case: Case, predicted: Path | None, data: DataPlan, measures: Measures) -> CaseScores:
    reference, known, grid = read_label(case, data)
    prediction: np.ndarray | None = None
    if predicted is not None:
        other = Case(id=case.id, images=(), label=predicted, group=case.group)
        prediction, _, place = read_label(other, data)
        if prediction.shape != reference.shape:
            raise DataError(
                f"the prediction has shape {prediction.shape}, its label {reference.shape}",
                cure="predict the image the label belongs to",
                where=predicted,
            )
        _refuse_other_place(case, grid, predicted, place)
        grid = _stated_grid(grid, place)
    return score_case(
        case.id,
        case.group,
        reference,
        prediction,
        classes=data.classes[1:],
        known=known,
        spacing_mm=grid.spacing_mm,
        metrics=measures.metrics,
        tolerance_mm=measures.tolerance_mm,
        calibrated=grid.calibrated,
    )


def _stated_grid(label: Grid, other: Grid) -> Grid:
    """Where a pair lies: the label's grid, or the other's where only that one is stated by its file."""
    return other if other.calibrated and not label.calibrated else label


def _refuse_other_place(case: Case, expected: Grid, predicted: Path, got: Grid) -> None:
    """Refuse a prediction that lies elsewhere than its label, as far as both files state where."""
    if expected.calibrated and got.calibrated and (differing := expected.difference(got)):
        word, mine, theirs = differing
        raise DataError(
            f"expected the {word} of its label {Path(case.label or case.id).name}, {mine}, got {theirs}",
            cure="predict the image the label belongs to, or resample the prediction onto its grid",
            where=predicted,
        )


def _label_files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UsageError("this is not a folder", cure="name one of label files, or a model", where=folder)
    return {stem_of(path): path for path in sort_folder(folder)[0]}


def _classes(
    folder: Path,
    cases: Sequence[Case],
    found: Mapping[str, Path],
    stated: _Stated,
    *,
    progress: Progress,
) -> DataPlan:
    """Which value is which class, by the rules that hold for a data set.

    Predictions are asked only where no reference holds any of the named classes: a class that is known and
    that only predictions hold is then spurious everywhere, and no reason to refuse.
    """
    counts: Counter[int] = Counter()
    rank = 2
    progress.begin("reading labels", len(cases))
    for case in cases:
        found_here, rank = _counted(case)
        counts.update(found_here)
        progress.advance()
    progress.end()
    named = set(stated.names) - {0, stated.ignore_value}
    if named and not named & set(counts):
        for path in (found[case.id] for case in cases if case.id in found):
            there, _ = _counted(Case("", (), path, ""))
            counts.update({value: count for value, count in there.items() if value in named})
    decided = decide_classes(dict(counts), names=stated.names, ignore_value=stated.ignore_value, where=folder)
    raise_refusals(decided.problems)
    for each in decided.problems:
        if each.severity == "warning":
            progress.say(f"warning: {each.where}: {each.problem}; {each.cure}")
    shape = {"rank": rank, "channels": ["image"], "ignore_value": decided.ignore_value}
    return DataPlan.model_validate({**shape, "classes": decided.names, "label_values": decided.values})


def _counted(case: Case) -> tuple[dict[int, int], int]:
    """Value → pixels of a label, and its axes."""
    array, _ = read_values(case)
    values, counts = np.unique(array, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True)), array.ndim


def _stated(labels: Path) -> _Stated:
    """What ``index.csv`` and ``dataset.json`` say, in the folder or beside it; intervals resample groups."""

    def beside(name: str) -> Path | None:
        return next((file for file in (labels / name, labels.parent / name) if file.is_file()), None)

    index, declaration = beside("index.csv"), beside("dataset.json")
    rows = read_rows(index, needed=()) if index else []
    declared = read_dataset_json(declaration) if declaration else Declared()
    ignore = stated_ignore(rows, where=labels)
    grouped = [row.values for row in rows if row.values.get("id") and row.values.get("group")]
    return _Stated(
        groups={values["id"]: values["group"] for values in grouped},
        names=declared.names or {},
        ignore_value=declared.ignore_value if ignore is None else ignore,
    )
