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
    """Choose the minimum size with the best mean Dice over cases, for one class.

    A case counts where the class is predicted or present, as in every score of this package, so that an
    object in a case without the class costs as much as a missed one. Of equally good sizes the smallest is
    taken, and none at all below a gain of ``LEAST_GAIN``.

    Args:
        rows: The class's objects, case by case.

    Example:
        >>> case = objects(np.array([1, 1, 0, 1]), np.array([1, 1, 0, 0]), None, classes=2)[0]
        >>> smallest_believable([case] * 5)
        Minimum(pixels=2, cases=5, before=0.8, after=1.0)
    """
    before, cases = _mean_dice(rows, 0)
    best = Minimum(0, cases, before, before)
    if sum(row.actual > 0 for row in rows) < _LEAST_CASES:
        return best
    found = np.unique(np.concatenate([row.pixels for row in rows]))
    steps = np.unique(np.linspace(0, len(found) - 1, min(_CANDIDATES, len(found))).round().astype(int))
    for least in found[steps]:
        after, _ = _mean_dice(rows, int(least))
        if after > max(best.after, before + LEAST_GAIN):
            best = Minimum(int(least), cases, before, after)
    return best


def _mean_dice(rows: Sequence[Objects], least: int) -> tuple[float, int]:
    values = [value for row in rows if (value := row.dice(least)) is not None]
    return (float(np.mean(values)) if values else 0.0), len(values)
