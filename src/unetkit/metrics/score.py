"""Scores: every class of a case measured once, and what the cases come to together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict, Unpack

import numpy as np

from unetkit.errors import DataError, UsageError
from unetkit.lookup import pick
from unetkit.metrics import LOWER_IS_BETTER, METRICS, STANDARD
from unetkit.metrics.convention import CONVENTION, State, check_spacing, state, worst
from unetkit.metrics.masks import OURS, Masks
from unetkit.metrics.objects import FROM_OBJECTS, by_size
from unetkit.records.scores import MEAN, CaseObjects, CaseScores, Scores, Summary
from unetkit.spatial.regions import bounding_box, cut

_RESAMPLES = 1000


class Wanted(TypedDict, total=False):
    """What may be said to ``score_case``: by default the standard metrics, τ = 1 mm, spacing stated."""

    metrics: Sequence[str]
    tolerance_mm: float
    calibrated: bool


@dataclass(frozen=True)
class _Asked:
    metrics: Sequence[str] = STANDARD
    tolerance_mm: float = 1.0
    calibrated: bool = True

    def __post_init__(self) -> None:
        for name in self.metrics:
            pick("metric", METRICS, name)
        if not (math.isfinite(self.tolerance_mm) and self.tolerance_mm >= 0):
            raise UsageError(
                f"expected a tolerance of 0 mm or more, got {self.tolerance_mm}",
                cure="give tolerance_mm in millimetres, for example 1.0",
            )


@dataclass(frozen=True)
class _Pair:
    """Reference and prediction of one case, whole and cut to where either has an object."""

    reference: np.ndarray
    prediction: np.ndarray
    near: tuple[np.ndarray, np.ndarray]
    spacing_mm: tuple[float, ...]
    absent: bool


def score_case(
    id: str,
    group: str,
    reference: np.ndarray,
    prediction: np.ndarray | None,
    *,
    classes: Sequence[str],
    spacing_mm: Sequence[float],
    known: np.ndarray | None = None,
    **wanted: Unpack[Wanted],
) -> CaseScores:
    """Measure one case; the surfaces of a class are found and compared once for all surface metrics.

    Args:
        id: The case's id.
        group: The case's group.
        reference: ``(*S)`` class ids ``0..K-1`` (or bool for a single foreground class).
        prediction: ``(*S)`` likewise; None when there is none, which costs the worst value in every class.
        classes: Foreground class names; class ``k`` of this sequence has the id ``k + 1``.
        spacing_mm: Distance between neighbouring pixels along each axis.
        known: ``(*S)`` bool, False where the reference says nothing: background in both masks there.
        wanted: ``metrics``: names of ``METRICS``, ``STANDARD`` by default; ``tolerance_mm``: τ of NSD@τ, 1 by
            default; ``calibrated``: False where no file states the spacing and 1 was assumed.

    Returns:
        Values by class and metric, None where the class is in neither mask.

    Raises:
        DataError: Shapes differ, or a class id is not one of ``classes``.
        UsageError: A metric, a class name or the spacing is not usable.

    Example:
        >>> truth, found = np.eye(4, dtype=np.uint8), np.eye(4, dtype=np.uint8)
        >>> score_case("a", "p1", truth, found, classes=["line"], spacing_mm=(1, 1), metrics=["dice"]).values
        {'line': {'dice': 1.0}}
    """
    asked = _Asked(**wanted)
    _check_classes(classes)
    pair = _pair(id, reference, prediction, known, spacing_mm)
    _check_ids(id, pair.near, len(classes))
    values: dict[str, dict[str, float | None]] = {}
    states: dict[str, State] = {}
    objects: dict[str, CaseObjects] = {}
    pixel = math.prod(pair.spacing_mm) if asked.calibrated else 1.0
    for number, name in enumerate(classes, start=1):
        masks = Masks(pair.near[0] == number, pair.near[1] == number, pair.spacing_mm)
        states[name] = state(masks.counts.reference, masks.counts.prediction)
        values[name] = _measure(pair, number, masks, asked)
        if not FROM_OBJECTS.keys().isdisjoint(asked.metrics):
            objects[name] = masks.objects.sized(pixel)
    return CaseScores(
        id=id,
        group=group,
        values=values,
        missed=tuple(name for name in classes if states[name] == "missed"),
        spurious=tuple(name for name in classes if states[name] == "spurious"),
        absent=pair.absent,
        calibrated=asked.calibrated,
        objects=objects,
    )


def _measure(pair: _Pair, number: int, masks: Masks, asked: _Asked) -> dict[str, float | None]:
    """Every wanted metric of one class."""
    became = state(masks.counts.reference, masks.counts.prediction)
    values: dict[str, float | None] = {}
    for name in asked.metrics:
        if name not in OURS:
            values[name] = _stranger(name, pair, number, asked.tolerance_mm)
        elif became == "undefined" and not pair.absent:
            values[name] = None
        elif became != "found":
            values[name] = worst(name, pair.reference.shape, pair.spacing_mm)
        else:
            values[name] = masks.measure(name, asked.tolerance_mm)
    return values


def _stranger(name: str, pair: _Pair, number: int, tolerance_mm: float) -> float | None:
    """A metric that another package added: it sees whole masks and keeps the convention by itself."""
    metric = pick("metric", METRICS, name)
    reference, prediction = pair.reference == number, pair.prediction == number
    if pair.absent and not reference.any():
        prediction = ~prediction  # the worst value of a metric is its answer to a wholly spurious object
    return metric(reference, prediction, spacing_mm=pair.spacing_mm, tolerance_mm=tolerance_mm)


def _pair(
    id: str,
    reference: np.ndarray,
    prediction: np.ndarray | None,
    known: np.ndarray | None,
    spacing_mm: Sequence[float],
) -> _Pair:
    """Check the arrays against one another, clear unknown pixels, and cut to the objects."""
    spacing = tuple(float(step) for step in spacing_mm)
    check_spacing(reference.ndim, spacing, where=id)
    for what, array in (("prediction", prediction), ("known mask", known)):
        if array is not None and array.shape != reference.shape:
            raise DataError(
                f"expected a {what} of shape {reference.shape} like the reference, got {array.shape}",
                cure="compare on the grid of the reference",
                where=id,
            )
    absent = prediction is None
    second = np.broadcast_to(np.uint8(0), reference.shape) if prediction is None else prediction
    for what, array in (("reference", reference), ("prediction", second)):
        if array.dtype.kind not in "biu":
            raise DataError(
                f"expected class ids as whole numbers in the {what}, got {array.dtype}",
                cure="take the class of highest probability first",
                where=id,
            )
    if known is not None:
        known = known.astype(bool, copy=False)
        reference, second = np.where(known, reference, 0), np.where(known, second, 0)
    box = bounding_box((reference != 0) if absent else (reference != 0) | (second != 0))
    box = box or ((0, 0),) * reference.ndim
    return _Pair(reference, second, (cut(reference, box), cut(second, box)), spacing, absent)


def _check_ids(id: str, arrays: tuple[np.ndarray, np.ndarray], count: int) -> None:
    for what, array in zip(("reference", "prediction"), arrays, strict=True):
        if array.size and (int(array.max()) > count or int(array.min()) < 0):
            wrong = int(array.max()) if int(array.max()) > count else int(array.min())
            raise DataError(
                f"expected class ids 0 to {count} in the {what}, got {wrong}",
                cure="map the label values to class ids first, or name every class",
                where=id,
            )


def _check_classes(classes: Sequence[str]) -> None:
    if isinstance(classes, str) or not classes or MEAN in classes or len(set(classes)) != len(classes):
        raise UsageError(
            f"expected distinct foreground class names, none of them '{MEAN}', got {classes!r}",
            cure="rename the class, or leave the background out",
        )


def summarise(
    cases: Sequence[CaseScores],
    *,
    classes: Sequence[str],
    metrics: Sequence[str],
    tolerance_mm: float,
    split: str,
    seed: int = 0,
    calibration: Sequence[tuple[float, float, int]] = (),
) -> Scores:
    """Put the cases together: mean, median, interval and counts per class, and over the classes.

    The interval is the percentile bootstrap of the mean with whole groups resampled, because two scans of one
    patient are not two observations. All classes and metrics share the same 1000 draws.

    Args:
        cases: What ``score_case`` returned, one per case.
        classes: Foreground class names.
        metrics: Metric names.
        tolerance_mm: The τ of NSD@τ that the cases were measured with.
        split: What the cases are to the model: ``held-out``, ``training``, ``unknown``.
        seed: Seed of the bootstrap.
        calibration: Rows of ``unetkit.metrics.calibration``.

    Raises:
        DataError: Two cases have one id, or a value is missing or not finite.
        UsageError: A class name is not usable.

    Reference:
        Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.

    Example:
        >>> case = score_case("a", "p", np.eye(3, dtype=int), None, classes=["x"], spacing_mm=(1, 1))
        >>> scores = summarise([case], classes=["x"], metrics=["dice"], tolerance_mm=1.0, split="unknown")
        >>> scores.summary["x"]["dice"].mean, scores.summary["x"]["dice"].absent
        (0.0, 1)
    """
    _check_classes(classes)
    table = _table(cases, classes, metrics)
    intervals = _intervals(table, [case.group for case in cases], seed)
    summary: dict[str, dict[str, Summary]] = {}
    for column, name in enumerate((*classes, MEAN)):
        among = classes if name == MEAN else (name,)
        summary[name] = {
            metric: _summary(table[:, column, row], intervals[:, column, row], cases, among)
            for row, metric in enumerate(metrics)
        }
    return Scores(
        split=split,
        classes=tuple(classes),
        metrics=tuple(metrics),
        tolerance_mm=tolerance_mm,
        cases=tuple(cases),
        summary=summary,
        calibration=tuple((float(sure), float(right), int(n)) for sure, right, n in calibration),
        convention=CONVENTION,
        objects={
            name: by_size([case.objects[name] for case in cases])
            for name in classes
            if cases and all(name in case.objects for case in cases)
        },
    )


def mean_interval(
    values: Sequence[float], groups: Sequence[str], *, seed: int = 0
) -> tuple[float, float] | None:
    """The 95 % bootstrap interval of a mean with whole groups resampled, as ``summarise`` gives it.

    Args:
        values: One per case, finite.
        groups: Each case's group.
        seed: Seed of the bootstrap.

    Returns:
        Its ends; None where there are fewer than two groups.

    Example:
        >>> mean_interval([0.5, 0.5, 0.5], ["a", "b", "b"])
        (0.5, 0.5)
    """
    low, high = _intervals(np.asarray(values, float)[:, None, None], groups, seed)[:, 0, 0]
    return None if np.isnan(low) else (float(low), float(high))


def _table(cases: Sequence[CaseScores], classes: Sequence[str], metrics: Sequence[str]) -> np.ndarray:
    """Values ``(cases, classes + 1, metrics)``, NaN where undefined; the last class is the mean."""
    ids = [case.id for case in cases]
    if len(set(ids)) != len(ids):
        twice = next(one for one in ids if ids.count(one) > 1)
        raise DataError("this case was scored twice", cure="score every case once", where=twice)
    table = np.full((len(cases), len(classes), len(metrics)), np.nan)
    for row, case in enumerate(cases):
        for column, name in enumerate(classes):
            for depth, metric in enumerate(metrics):
                value = _value(case, name, metric)
                table[row, column, depth] = np.nan if value is None else value
    _level_absent(table, cases, metrics)
    defined = ~np.isnan(table)
    count = defined.sum(axis=1, keepdims=True)
    total = np.where(defined, table, 0.0).sum(axis=1, keepdims=True)
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return np.concatenate([table, mean], axis=1)


def _value(case: CaseScores, name: str, metric: str) -> float | None:
    try:
        value = case.values[name][metric]
    except KeyError:
        raise DataError(
            f"there is no {metric} of class '{name}' for this case",
            cure="score every case with the same classes and metrics",
            where=case.id,
        ) from None
    if value is not None and not math.isfinite(value):
        raise DataError(
            f"expected a finite {metric} of class '{name}', got {value}",
            cure="let the metric answer its worst value for a missed object, None when both masks are empty",
            where=case.id,
        )
    return value


def _level_absent(table: np.ndarray, cases: Sequence[CaseScores], metrics: Sequence[str]) -> None:
    """Let absent cases count with the worst value of the whole set, in place.

    The diagonal of a small image can be below the mean of the others: a small case in which a class is in
    neither mask would then improve that class's mean by not being predicted at all.
    """
    absent = np.array([case.absent for case in cases], bool)
    for depth, metric in enumerate(metrics):
        if metric in LOWER_IS_BETTER and absent.any():
            table[absent, :, depth] = np.nanmax(table[..., depth])


def _intervals(table: np.ndarray, groups: Sequence[str], seed: int) -> np.ndarray:
    """Ends of the 95 % interval ``(2, classes + 1, metrics)``, NaN where fewer than two groups count."""
    ends = np.full((2, *table.shape[1:]), np.nan)
    names, place = np.unique(np.array(groups, dtype=str), return_inverse=True)
    if len(names) < 2:
        return ends
    defined = ~np.isnan(table)
    sums, counts = (np.zeros((len(names), *table.shape[1:])) for _ in range(2))
    np.add.at(sums, place, np.where(defined, table, 0.0))
    np.add.at(counts, place, defined)
    random = np.random.Generator(np.random.Philox(seed))
    drawn = random.integers(len(names), size=(_RESAMPLES, len(names)))
    slots = drawn + np.arange(_RESAMPLES)[:, None] * len(names)
    times = (
        np.bincount(slots.ravel(), minlength=_RESAMPLES * len(names)).reshape(_RESAMPLES, -1).astype(float)
    )
    total, count = np.tensordot(times, sums, axes=1), np.tensordot(times, counts, axes=1)
    means = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    enough = (counts > 0).sum(axis=0) > 1
    ends[:, enough] = np.nanpercentile(means[:, enough], (2.5, 97.5), axis=0)
    return ends


def _summary(
    values: np.ndarray, ends: np.ndarray, cases: Sequence[CaseScores], among: Sequence[str]
) -> Summary:
    """One metric of one class, or of the mean over ``among``."""
    defined = values[~np.isnan(values)]
    low, high = (None if np.isnan(end) else float(end) for end in ends)
    return Summary(
        mean=float(defined.mean()) if defined.size else None,
        median=float(np.median(defined)) if defined.size else None,
        low=low,
        high=high,
        n=int(defined.size),
        missed=sum(any(name in case.missed for name in among) for case in cases),
        undefined=int(values.size - defined.size),
        spurious=sum(any(name in case.spurious for name in among) for case in cases),
        absent=sum(case.absent for case in cases),
    )
