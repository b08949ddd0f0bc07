"""``evaluate``: predictions against labels, or a model on a data set; nothing is left out."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from unetkit.data.catalog import find_cases
from unetkit.data.formats import format_of, stem_of, suffix_of
from unetkit.data.inspect import inspect, raise_if_refused
from unetkit.data.labels import read_label
from unetkit.data.prepare import prepare
from unetkit.data.tables import read_dataset_json
from unetkit.errors import DataError, UsageError
from unetkit.metrics.calibration import Row, calibration
from unetkit.metrics.score import score_case, summarise
from unetkit.records.case import Case, Sample
from unetkit.records.files import write_text
from unetkit.records.plan import DataPlan
from unetkit.records.progress import Progress, Quiet
from unetkit.records.run import Run
from unetkit.records.scores import CaseScores, Scores
from unetkit.workflows.model import Model, load
from unetkit.workflows.model_folder import is_model
from unetkit.workflows.split_file import SplitFile

METRICS = ("dice", "iou", "precision", "recall", "hd95", "assd", "nsd", "volume_error")
CALIBRATION_BYTES = 1 << 28
IGNORE = 255

Seen = Callable[[Case, np.ndarray, np.ndarray], None]
"""Called with each case, its reference and its prediction (class ids)."""


def evaluate(
    first: str | Path | Model,
    second: str | Path,
    *,
    csv_file: str | Path | None = None,
    tolerance_mm: float = 1.0,
    tta: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> Scores:
    """Measure predictions or a model.

    Args:
        first: A folder of predicted label files, or a model (folder, run, or loaded).
        second: The folder of the reference labels, or the data set.
        csv_file: Also write one row per case and class.
        tolerance_mm: The τ of NSD@τ.
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
        scores = _model_scores(model, Path(second), tolerance_mm=tolerance_mm, tta=tta, progress=watch)
    else:
        scores = folder_scores(Path(first), Path(second), tolerance_mm=tolerance_mm, progress=watch)
    if csv_file is not None:
        write_text(Path(csv_file), to_csv(scores))
    return scores


def _model_scores(
    model: Model, source: Path, *, tolerance_mm: float, tta: bool, progress: Progress
) -> Scores:
    inspection = inspect(find_cases(source), progress=progress)
    raise_if_refused(inspection)
    digests = {facts.id: facts.digest for facts in inspection.facts}
    return score_model(
        model,
        [case for case in inspection.catalog.cases if case.label is not None],
        split=_relation(model.folder, digests),
        tolerance_mm=tolerance_mm,
        tta=tta,
        progress=progress,
    )


def score_model(
    model: Model,
    cases: Sequence[Case],
    *,
    split: str,
    tolerance_mm: float = 1.0,
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
        tolerance_mm: The τ of NSD@τ.
        tta: Average over mirrored images.
        seen: Called with each case, its reference and its prediction.
        progress: Who watches.
        sample: How a case is prepared; from its file when None.
    """
    watch = progress or Quiet()
    plan = model.plan
    rows: list[CaseScores] = []
    bins: tuple[Row, ...] = ()
    watch.begin("measuring", len(cases))
    for case in cases:
        reference, known, grid = read_label(case, plan.data)
        prepared = sample(case) if sample else prepare(case, plan.data, plan.preparation)
        affordable = reference.size * len(plan.data.classes) * 4 <= CALIBRATION_BYTES
        prediction = model.predictor.sample(prepared, mirror=tta, probabilities=affordable)
        rows.append(
            score_case(
                case.id,
                case.group,
                reference,
                prediction.labels,
                classes=plan.data.classes[1:],
                known=known,
                spacing_mm=grid.spacing_mm,
                tolerance_mm=tolerance_mm,
                metrics=METRICS,
            )
        )
        if prediction.probabilities is not None:
            bins = calibration(prediction.probabilities, reference, known, before=bins)
        if seen is not None:
            seen(case, reference, prediction.labels)
        watch.advance(1, case=case.id)
    watch.end()
    scores = summarise(
        rows, classes=plan.data.classes[1:], metrics=METRICS, tolerance_mm=tolerance_mm, split=split
    )
    return scores.model_copy(update={"calibration": bins})


def _relation(folder: Path, digests: Mapping[str, str]) -> str:
    """Whether the model has seen these images, told by the hashes its run has kept."""
    file = Run(folder.parent).split
    if not file.is_file():
        return "unknown"
    split = SplitFile.from_json(file.read_bytes(), where=file)
    trained = {split.digests.get(id) for id in split.train}
    held_out = {split.digests.get(id) for id in split.held_out}
    if any(digest in trained for digest in digests.values()):
        return "training"
    return "held-out" if all(digest in held_out for digest in digests.values()) else "unknown"


def folder_scores(
    predictions: Path, labels: Path, *, tolerance_mm: float = 1.0, progress: Progress | None = None
) -> Scores:
    """Measure a folder of label files against another, matched by stem.

    A label without a prediction is an absent prediction and takes the worst value of every metric.

    Args:
        predictions: Predicted label files.
        labels: Reference label files.
        tolerance_mm: The τ of NSD@τ.
        progress: Who watches.
    """
    watch = progress or Quiet()
    found, wanted = _label_files(predictions), _label_files(labels)
    if not set(found) & set(wanted):
        raise UsageError(
            "no prediction has the stem of a label, and there is no model here",
            cure="name the folder of predictions (or a model) first, the labels (or a data set) second",
            where=predictions,
        )
    groups = _groups(labels)
    data = _classes_of(wanted.values(), labels)
    rows: list[CaseScores] = []
    watch.begin("measuring", len(wanted))
    for stem, path in wanted.items():
        rows.append(_pair(stem, groups.get(stem, stem), path, found.get(stem), data, tolerance_mm))
        watch.advance(1, case=stem)
    watch.end()
    return summarise(
        rows, classes=data.classes[1:], metrics=METRICS, tolerance_mm=tolerance_mm, split="unknown"
    )


def _pair(
    stem: str, group: str, label: Path, predicted: Path | None, data: DataPlan, tolerance_mm: float
) -> CaseScores:
    case = Case(id=stem, images=(), label=label, group=group)
    reference, known, grid = read_label(case, data)
    prediction: np.ndarray | None = None
    if predicted is not None:
        prediction, _, _ = read_label(Case(id=stem, images=(), label=predicted, group=group), data)
        if prediction.shape != reference.shape:
            raise DataError(
                f"the prediction has shape {prediction.shape}, its label {reference.shape}",
                cure="predict the image the label belongs to",
                where=predicted,
            )
    return score_case(
        stem,
        group,
        reference,
        prediction,
        classes=data.classes[1:],
        known=known,
        spacing_mm=grid.spacing_mm,
        tolerance_mm=tolerance_mm,
        metrics=METRICS,
    )


def _label_files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UsageError(
            "this is not a folder", cure="name a folder of label files, or a model", where=folder
        )
    return {stem_of(path): path for path in sorted(folder.iterdir()) if path.is_file() and suffix_of(path)}


def _groups(labels: Path) -> dict[str, str]:
    """Case id → group, from an ``index.csv`` in the folder or beside it; intervals resample groups."""
    for index in (labels / "index.csv", labels.parent / "index.csv"):
        if index.is_file():
            with index.open(newline="", encoding="utf-8") as file:
                return {
                    row["id"]: row["group"]
                    for row in csv.DictReader(file)
                    if row.get("id") and row.get("group")
                }
    return {}


def _classes_of(labels: Iterable[Path], folder: Path) -> DataPlan:
    """Classes are the values of the references; 255 beside other classes means "not labelled"."""
    values: set[int] = set()
    rank = 2
    for path in labels:
        array, _ = format_of(path).read_label(path)
        rank = array.ndim
        values |= {int(value) for value in np.unique(array)}
    ignore = IGNORE if IGNORE in values and len(values - {0, IGNORE}) > 0 else None
    kept = sorted({0, *values} - {ignore})
    if len(kept) < 2:
        raise DataError(
            "the labels hold nothing but background", cure="name the folder of the reference labels"
        )
    stated = _names(folder)
    names = ("background", *(stated.get(value, f"class {value}") for value in kept[1:]))
    return DataPlan.model_validate(
        {"rank": rank, "channels": ["image"], "classes": names, "label_values": kept, "ignore_value": ignore}
    )


def _names(labels: Path) -> dict[int, str]:
    """Class names, from a ``dataset.json`` in the folder or beside it."""
    for file in (labels / "dataset.json", labels.parent / "dataset.json"):
        if file.is_file():
            return read_dataset_json(file).names or {}
    return {}


def to_csv(scores: Scores) -> str:
    """Scores as a table: one row per case and class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "group", "class", *scores.metrics, "missed", "spurious", "absent"])
    for case in scores.cases:
        for name in scores.classes:
            values = [case.values[name].get(metric) for metric in scores.metrics]
            shown = ["" if value is None else f"{value:.6g}" for value in values]
            flags = [int(name in case.missed), int(name in case.spurious), int(case.absent)]
            writer.writerow([case.id, case.group, name, *shown, *flags])
    return text.getvalue()
