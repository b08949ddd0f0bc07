"""Every case measured with what has not seen it, and which objects are to be believed, told the same way."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unetkit.data.formats import format_of
from unetkit.data.labels import class_ids, raw_values, read_label
from unetkit.data.readers import read_marks
from unetkit.inference.cleanup import Believable, Objects, believable, cleaned, objects
from unetkit.metrics.agreement import case_agreement, mean_agreement
from unetkit.metrics.calibration import pooled
from unetkit.metrics.score import summarise
from unetkit.records.case import Case
from unetkit.records.plan import DataPlan, Plan
from unetkit.records.prediction import Prediction
from unetkit.records.progress import Progress
from unetkit.records.run import Run
from unetkit.records.scores import ReaderAgreement, Scores
from unetkit.workflows.configurations import Fold
from unetkit.workflows.cross_validation import SPLIT
from unetkit.workflows.evaluate import score_files, score_model
from unetkit.workflows.fitting import to_fit
from unetkit.workflows.measuring import prediction_path
from unetkit.workflows.model import Model, load_average
from unetkit.workflows.object_sizes import told
from unetkit.workflows.proposal import Measures, measures_for


@dataclass(frozen=True)
class OutOfFold:
    """What all folds came to.

    Args:
        scores: Over all cases.
        folds: Of each fold.
        plan: With the objects that are to be believed, where the folds told them.
        rules_by_fold: Whether each fold's scores are with the rules that the others told.
    """

    scores: Scores
    folds: tuple[Scores, ...]
    plan: Plan
    rules_by_fold: bool


Rows = list[tuple[Objects, ...]]
"""Per case, one entry per foreground class."""


def measure_folds(
    folds: Sequence[Fold],
    chosen: Sequence[int],
    plan: Plan,
    run: Run,
    *,
    device: str,
    progress: Progress,
) -> OutOfFold:
    """Predict every case with the models of its fold, fit what objects need, and measure.

    A rule that was fitted on the cases it is then measured on would flatter: each fold is measured with
    rules that the other folds have told, the rules of the plan are those of all of them together. With one
    fold nothing is fitted, and the plan's own rules count.

    Args:
        folds: Cases, and the models that have not seen them.
        chosen: Which configurations answer together, by their places.
        plan: Of the ensemble; which objects it believes is fitted where nothing was set by hand.
        run: Its ``predictions/`` are written.
        device: Where to compute.
        progress: Who watches.
    """
    fit = to_fit(plan) and len(folds) > 1
    shutil.rmtree(run.folder / "predictions", ignore_errors=True)
    measures = measures_for([case for fold in folds for case in fold.cases], plan.data, progress=progress)
    measured: list[Scores] = []
    rows: list[Rows] = []
    for fold in folds:
        models = [fold.models[place] for place in chosen]
        model = load_average(models, plan, run.model, device=device)
        scores, found = _predicted(fold, model, measures, run, fit=fit, progress=progress)
        measured.append(scores)
        rows.append(found)
    bins = pooled([scores.calibration for scores in measured])
    near = pooled([scores.calibration_objects for scores in measured])
    applied = False
    if fit:
        for place, fold in enumerate(folds):
            others = [row for other, found in enumerate(rows) if other != place for row in found]
            again = _with_rules(fold, _rules(others), plan.data, measures, run, progress=progress)
            applied |= again is not None
            measured[place] = again or measured[place]
        plan = told(plan, _rules([row for found in rows for row in found]), cases="out-of-fold cases")
    first = measured[0]
    scores = summarise(
        [case for one in measured for case in one.cases],
        classes=first.classes,
        metrics=first.metrics,
        tolerance_mm=first.tolerance_mm,
        split=SPLIT,
        calibration=bins,
    )
    more = {"calibration_objects": near, "reasons": dict(measures.reasons)}
    scores = scores.model_copy(update={**more, "readers": agreement(folds, plan.data, run)})
    return OutOfFold(scores, tuple(measured), plan, applied)


def _predicted(
    fold: Fold, model: Model, measures: Measures, run: Run, *, fit: bool, progress: Progress
) -> tuple[Scores, Rows]:
    """Scores of a fold as its models answer, the predictions saved; and the objects of each case."""
    found: Rows = []
    data = model.plan.data

    def seen(case: Case, reference: np.ndarray, prediction: Prediction) -> None:
        model.save(prediction, prediction_path(run, case))
        if fit:
            known = read_label(case, data)[1]
            found.append(objects(prediction.labels, reference, known, classes=len(data.classes)))

    scores = score_model(model, fold.cases, split=SPLIT, measures=measures, seen=seen, progress=progress)
    return scores, found


def agreement(folds: Sequence[Fold], data: DataPlan, run: Run) -> ReaderAgreement | None:
    """How far several readers agree with one another and with the saved predictions, over all folds.

    Args:
        folds: The cases.
        data: Which value is which class.
        run: Its ``predictions/`` are read.
    """
    rows = []
    for case in (case for fold in folds for case in fold.cases if case.readers is not None):
        reference, known, _ = read_label(case, data)
        path = prediction_path(run, case)
        said, _ = class_ids(format_of(path).read_label(path)[0], data, where=path)
        rows.append(case_agreement(case.reader_count, read_marks(case), reference, said, known))
    return mean_agreement(rows)


def _rules(rows: Rows) -> list[Believable]:
    return [believable(column) for column in zip(*rows, strict=True)]


def _with_rules(
    fold: Fold,
    rules: Sequence[Believable],
    data: DataPlan,
    measures: Measures,
    run: Run,
    *,
    progress: Progress,
) -> Scores | None:
    """Scores of a fold when only believable objects stay; None where the rules ask for nothing."""
    if not any(rule.pixels or rule.largest for rule in rules):
        return None
    paths = {case.id: prediction_path(run, case) for case in fold.cases}
    for path in paths.values():
        _clean(path, rules, data)
    return score_files(fold.cases, paths, data, split=SPLIT, measures=measures, progress=progress)


def _clean(path: Path, rules: Sequence[Believable], data: DataPlan) -> None:
    kind = format_of(path)
    raw, grid = kind.read_label(path)
    labels, _ = class_ids(raw, data, where=path)
    kept = cleaned(labels, [rule.pixels for rule in rules], [rule.largest for rule in rules])
    if not np.array_equal(kept, labels):
        kind.write(path, raw_values(kept, data), grid)
