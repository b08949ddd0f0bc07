"""Objects too small to be believed are taken out of a prediction; how small is measured on training cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unetkit.spatial.regions import components, sizes

LEAST_GAIN = 0.01
"""Mean Dice that a minimum has to bring on the training cases."""
_LEAST_CASES = 5
_CANDIDATES = 64
_ROUNDING = 1e-9


def cleaned(labels: np.ndarray, minimum_pixels: Sequence[int]) -> np.ndarray:
    """Labels in which objects below their class's minimum became background.

    Args:
        labels: Class ids ``(*S)``.
        minimum_pixels: Pixels that an object needs to stay, one number per foreground class; a class beyond
            the end needs none.

    Returns:
        A new array of the same type, or ``labels`` itself where nothing can go. Pixels that touch at a
        corner are connected.

    Example:
        >>> cleaned(np.array([1, 1, 0, 1, 0, 2], np.uint8), (2,)).tolist()
        [1, 1, 0, 0, 0, 2]
    """
    needed = {index: least for index, least in enumerate(minimum_pixels, start=1) if least > 1}
    if not needed:
        return labels
    result = labels.copy()
    for index, least in needed.items():
        numbered, count = components(labels == index)
        if count:
            keep = sizes(numbered, count) >= least
            result[~np.concatenate([[True], keep])[numbered]] = 0
    return result


@dataclass(frozen=True)
class Objects:
    """The predicted objects of one class in one case, largest first.

    Args:
        pixels: Size of each, ``(N,)``.
        known: Of these, pixels whose label is known, ``(N,)``.
        shared: Of these, pixels that are of the class in the reference, ``(N,)``.
        actual: Pixels of the class in the reference.
    """

    pixels: np.ndarray
    known: np.ndarray
    shared: np.ndarray
    actual: int

    def dice(self, least: int) -> float | None:
        """Dice when only objects of ``least`` pixels stay; None when the class is then in neither mask."""
        kept = int(np.searchsorted(-self.pixels, -least, side="right"))
        predicted = int(self.known[:kept].sum())
        both = predicted + self.actual
        return 2 * int(self.shared[:kept].sum()) / both if both else None


def objects(
    labels: np.ndarray, reference: np.ndarray, known: np.ndarray | None, *, classes: int
) -> tuple[Objects, ...]:
    """Find the objects of a prediction and compare each with the reference.

    Args:
        labels: Predicted class ids ``(*S)``.
        reference: Class ids ``(*S)``.
        known: ``(*S)`` bool, None when every pixel is labelled.
        classes: Number of classes, background included.

    Returns:
        One entry per foreground class.

    Example:
        >>> predicted, reference = np.array([1, 1, 0, 1]), np.array([1, 0, 0, 0])
        >>> (found,) = objects(predicted, reference, None, classes=2)
        >>> found.pixels.tolist(), found.shared.tolist(), found.dice(1), found.dice(2)
        ([2, 1], [1, 0], 0.5, 0.6666666666666666)
    """
    rows = []
    for index in range(1, classes):
        right = reference == index
        if known is not None:
            right &= known
        numbered, count = components(labels == index)
        pixels = sizes(numbered, count)
        order = np.argsort(-pixels, kind="stable")
        seen = pixels if known is None else sizes(np.where(known, numbered, 0), count)
        shared = sizes(np.where(right, numbered, 0), count)
        rows.append(Objects(pixels[order], seen[order], shared[order], int(right.sum())))
    return tuple(rows)


@dataclass(frozen=True)
class Minimum:
    """What a class's objects need, and what asking for it brought on the cases it was measured on.

    Args:
        pixels: Least pixels of an object; 0 where every object stays.
        cases: Cases in which the class was predicted or present.
        before: Mean Dice with every object.
        after: Mean Dice without those below ``pixels``.
    """

    pixels: int
    cases: int
    before: float
    after: float


def smallest_believable(rows: Sequence[Objects]) -> Minimum:
    """Choose the minimum size of a class's objects: the smallest that is as good as the best.

    A case counts where the class is predicted or present, as in every score of this package, so that an
    object in a case without the class costs as much as a missed one. A size is as good as the best where the
    cases lose, in the mean, no more than one standard error by it; a few cases thus cannot ask for a size
    that only fits them. Nothing is asked for below a gain of ``LEAST_GAIN``.

    Args:
        rows: The class's objects, case by case.

    Reference:
        Breiman et al., Classification and Regression Trees, 1984: the rule of one standard error.

    Example:
        >>> case = objects(np.array([1, 1, 0, 1]), np.array([1, 1, 0, 0]), None, classes=2)[0]
        >>> smallest_believable([case] * 5)
        Minimum(pixels=2, cases=5, before=0.8, after=1.0)
    """
    if not rows:
        return Minimum(0, 0, 0.0, 0.0)
    sizes_found = np.unique(np.concatenate([row.pixels for row in rows]))
    steps = np.linspace(0, len(sizes_found) - 1, min(_CANDIDATES, len(sizes_found))).round().astype(int)
    candidates = [0, *(int(size) for size in sizes_found[np.unique(steps)])]
    table = np.array([[_value(row, least) for row in rows] for least in candidates])
    defined = ~np.isnan(table)
    cases = int(defined[0].sum())
    means = np.where(defined, table, 0).sum(1) / np.maximum(defined.sum(1), 1)
    best = int(means.argmax())
    nothing = Minimum(0, cases, float(means[0]), float(means[0]))
    if sum(row.actual > 0 for row in rows) < _LEAST_CASES or means[best] < means[0] + LEAST_GAIN:
        return nothing
    chosen = next(at for at in range(best + 1) if _as_good(table[at], table[best]))
    if means[chosen] < means[0] + LEAST_GAIN:
        return nothing
    return Minimum(candidates[chosen], cases, float(means[0]), float(means[chosen]))


def _value(row: Objects, least: int) -> float:
    found = row.dice(least)
    return np.nan if found is None else found


def _as_good(one: np.ndarray, best: np.ndarray) -> bool:
    """Whether the mean loses no more than a standard error; a case from which the class is gone is right."""
    apart = np.nan_to_num(best, nan=1.0) - np.nan_to_num(one, nan=1.0)
    return float(apart.mean()) <= float(apart.std(ddof=1)) / np.sqrt(len(apart)) + _ROUNDING
