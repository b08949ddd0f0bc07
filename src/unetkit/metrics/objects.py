"""Object-wise metrics: how many lesions, nuclei or defects were found, whatever their size.

An object is a connected piece of a class (pixels that touch at a corner are connected). In the table a
reference object is found when a predicted object of its own reaches an IoU of ``LEAST_IOU`` with it, one to
one: a prediction that covers everything finds one object, not all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from unetkit.errors import UsageError
from unetkit.metrics.convention import measured
from unetkit.records.scores import CaseObjects, ObjectRow
from unetkit.spatial.regions import components, sizes

LEAST_IOU = 0.1
"""IoU at which an object of the table counts as found: a small one is easily off by its own radius."""
_BINS = 3


@dataclass(frozen=True)
class Detected:
    """The objects of one class in one case, and which of them have a counterpart.

    Args:
        reference: Pixels of each reference object, ``(n,)``.
        prediction: Pixels of each predicted object, ``(m,)``.
        found: Whether a reference object has a counterpart, ``(n,)`` bool.
        right: Whether a predicted object has one, ``(m,)`` bool.
    """

    reference: np.ndarray
    prediction: np.ndarray
    found: np.ndarray
    right: np.ndarray

    @property
    def recall(self) -> float:
        """Share of the reference objects that were found, 0 where there is none."""
        return float(self.found.mean()) if self.found.size else 0.0

    @property
    def precision(self) -> float:
        """Share of the predicted objects that are right, 0 where there is none."""
        return float(self.right.mean()) if self.right.size else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of both."""
        return harmonic(self.recall, self.precision)

    def sized(self, pixel: float = 1.0) -> CaseObjects:
        """The same as a record, by size.

        Args:
            pixel: Size of one pixel: mm³, mm², or 1.
        """

        def listed(pixels: np.ndarray, which: np.ndarray) -> tuple[float, ...]:
            return tuple(float(f"{size * pixel:.6g}") for size in np.sort(pixels[which]))

        return CaseObjects(
            found=listed(self.reference, self.found),
            missed=listed(self.reference, ~self.found),
            right=listed(self.prediction, self.right),
            wrong=listed(self.prediction, ~self.right),
        )


def match_objects(
    reference: np.ndarray,
    prediction: np.ndarray,
    *,
    matching: Literal["iou", "overlap"] = "iou",
    least: float = LEAST_IOU,
) -> Detected:
    """Find the objects of two masks and which belong together.

    Args:
        reference: ``(*S)`` bool.
        prediction: ``(*S)`` bool.
        matching: ``iou``: one to one, as many pairs as possible and of these the best in sum; ``overlap``:
            an object has a counterpart where enough of it is covered by the other mask, so that several may
            share one.
        least: IoU a pair needs, above 0; for ``overlap`` the share of the object, one pixel for 0.

    Raises:
        UsageError: ``least`` is not in 0…1, or is 0 for ``iou``.

    Reference:
        Maier-Hein et al., Metrics Reloaded, Nature Methods 21 (2024): assignment by mask IoU, and by overlap.

    Example:
        >>> pair = match_objects(np.array([1, 1, 0, 1, 0], bool), np.array([0, 1, 0, 0, 1], bool))
        >>> pair.found.tolist(), pair.right.tolist(), pair.f1
        ([True, False], [True, False], 0.5)
    """
    if not 0 <= least <= 1 or (matching == "iou" and least == 0):
        raise UsageError(
            f"expected a least {matching} above 0 and up to 1, got {least}",
            cure="give 0.1 or 0.5, for example",
        )
    reference, prediction = reference.astype(bool, copy=False), prediction.astype(bool, copy=False)
    first, n = components(reference)
    second, m = components(prediction)
    mine, theirs = sizes(first[reference], n), sizes(second[prediction], m)
    if matching == "overlap":
        found = _covered(first, mine, prediction, least)
        return Detected(mine, theirs, found, _covered(second, theirs, reference, least))
    both = reference & prediction
    one, other, shared = _overlaps(first[both], second[both], m)
    iou = shared / (mine[one] + theirs[other] - shared)
    good = iou >= least
    found, right = np.zeros(n, bool), np.zeros(m, bool)
    for i, j in _assigned(one[good], other[good], iou[good], n, m):
        found[i] = right[j] = True
    return Detected(mine, theirs, found, right)


def _covered(numbered: np.ndarray, pixels: np.ndarray, other: np.ndarray, least: float) -> np.ndarray:
    covered = sizes(np.where(other, numbered, 0), len(pixels))
    return (covered > 0) & (covered >= least * pixels)


def _overlaps(first: np.ndarray, second: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Objects (from 0) that share pixels, and how many, from their numbers at the pixels of both."""
    pairs = (first.astype(np.int64) - 1) * max(m, 1) + second - 1
    different, shared = np.unique(pairs, return_counts=True)
    return different // max(m, 1), different % max(m, 1), shared


def _assigned(one: np.ndarray, other: np.ndarray, iou: np.ndarray, n: int, m: int) -> list[tuple[int, int]]:
    """Most pairs, each object in one at most; of equally many those with the largest sum of IoU.

    Solved for each group of objects that touch one another: the tables stay small.
    """
    graph = coo_array((np.ones(one.size), (one, other + n)), shape=(n + m, n + m))
    _, group = connected_components(graph, directed=False)
    chosen: list[tuple[int, int]] = []
    order = np.argsort(group[one], kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(group[one][order])) + 1) if one.size else ():
        rows, row = np.unique(one[part], return_inverse=True)
        columns, column = np.unique(other[part], return_inverse=True)
        table = np.zeros((rows.size, columns.size))
        table[row, column] = iou[part] + min(table.shape) + 1  # a pair more outweighs any sum of IoU
        best = linear_sum_assignment(table, maximize=True)
        chosen += [(int(rows[i]), int(columns[j])) for i, j in zip(*best, strict=True) if table[i, j]]
    return chosen


def harmonic(one: float, other: float) -> float:
    """Harmonic mean of two shares, 0 where both are 0.

    Example:
        >>> harmonic(1.0, 0.5), harmonic(0.0, 0.0)
        (0.6666666666666666, 0.0)
    """
    return 2 * one * other / (one + other) if one + other else 0.0


FROM_OBJECTS: dict[str, Callable[[Detected], float]] = {
    "object_recall": lambda objects: objects.recall,
    "object_precision": lambda objects: objects.precision,
    "object_f1": lambda objects: objects.f1,
}
"""The formulas, for two masks that both have objects."""


def object_recall(
    reference: np.ndarray,
    prediction: np.ndarray,
    *,
    spacing_mm: Sequence[float] | None = None,
    tolerance_mm: float = 1.0,
) -> float | None:
    """Share of the reference objects that were found; arguments and empty masks as in ``object_f1``.

    Example:
        >>> object_recall(np.array([1, 0, 1], bool), np.array([1, 0, 0], bool))
        0.5
    """
    return _counted("object_recall", reference, prediction)


def object_precision(
    reference: np.ndarray,
    prediction: np.ndarray,
    *,
    spacing_mm: Sequence[float] | None = None,
    tolerance_mm: float = 1.0,
) -> float | None:
    """Share of the predicted objects that are right; arguments and empty masks as in ``object_f1``.

    Example:
        >>> object_precision(np.array([1, 0, 1], bool), np.array([1, 0, 0], bool))
        1.0
    """
    return _counted("object_precision", reference, prediction)


def object_f1(
    reference: np.ndarray,
    prediction: np.ndarray,
    *,
    spacing_mm: Sequence[float] | None = None,
    tolerance_mm: float = 1.0,
) -> float | None:
    """Harmonic mean of object recall and object precision, one-to-one pairs with an IoU of ``LEAST_IOU``.

    Args:
        reference: ``(*S)`` bool.
        prediction: ``(*S)`` bool.
        spacing_mm: Ignored.
        tolerance_mm: Ignored.

    Returns:
        0 to 1; 0 when exactly one mask is empty, None when both are.

    Example:
        >>> object_f1(np.array([1, 0, 1], bool), np.array([1, 0, 0], bool))
        0.6666666666666666
    """
    return _counted("object_f1", reference, prediction)


def _counted(metric: str, reference: np.ndarray, prediction: np.ndarray) -> float | None:
    formula = FROM_OBJECTS[metric]
    return measured(metric, reference, prediction, lambda *both: formula(match_objects(*both)))


def by_size(cases: Sequence[CaseObjects], *, edges: Sequence[float] | None = None) -> tuple[ObjectRow, ...]:
    """Pool the objects of all cases: every object counts once, whichever case it lies in.

    A reference object belongs to the bin of its own size, a predicted one to that of its own.

    Args:
        cases: One class, case by case.
        edges: Sizes at which a bin ends and the next begins; None: the terciles of the reference objects,
            with two digits.

    Returns:
        All sizes first, then one row per bin, smallest first; no bins where all objects are of one size.

    Example:
        >>> case = CaseObjects(found=(9.0,), missed=(2.0,), right=(9.0,), wrong=())
        >>> [(row.least, row.recall, row.precision) for row in by_size([case], edges=[5.0])]
        [(0.0, 0.5, 1.0), (0.0, 0.0, None), (5.0, 1.0, 1.0)]
    """
    found, missed, right, wrong = (
        np.array([size for case in cases for size in getattr(case, name)], float)
        for name in ("found", "missed", "right", "wrong")
    )
    if edges is None:
        there = np.concatenate([found, missed])
        shares = np.arange(1, _BINS) / _BINS
        edges = [float(f"{size:.2g}") for size in np.quantile(there, shares)] if there.size else []
        edges = [edge for edge in sorted(set(edges)) if there.min() < edge <= there.max()]
    ends = [0.0, *edges, np.inf]
    ranges = [(0.0, np.inf), *(pairwise(ends) if edges else ())]

    def between(values: np.ndarray, low: float, high: float) -> int:
        return int(np.count_nonzero((values >= low) & (values < high)))

    rows = []
    for low, high in ranges:
        hit, gone, good, bad = (between(values, low, high) for values in (found, missed, right, wrong))
        rows.append(
            ObjectRow(
                least=low,
                most=None if high == np.inf else high,
                reference=hit + gone,
                found=hit,
                prediction=good + bad,
                right=good,
            )
        )
    return tuple(rows)
