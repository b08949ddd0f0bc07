"""Objects that are not to be believed are taken out of a prediction; which, is measured on training cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from unetkit.spatial.regions import components, sizes
from unetkit.spatial.runs import runs

LEAST_GAIN = 0.01
"""Mean Dice that a rule has to bring on the training cases, and a single object beyond the best minimum."""
_LEAST_CASES = 5
_CANDIDATES = 64
_ROUNDING = 1e-9


def cleaned(
    labels: np.ndarray, minimum_pixels: Sequence[int], largest_only: Sequence[bool] = ()
) -> np.ndarray:
    """Labels in which objects that are not to be believed became background.

    Args:
        labels: Class ids ``(*S)``.
        minimum_pixels: Pixels that an object needs to stay, one number per foreground class; a class beyond
            the end needs none.
        largest_only: Whether only the largest object of a class stays (of equals the first), one per
            foreground class; a class beyond the end keeps all.

    Returns:
        A new array of the same type, or ``labels`` itself where nothing can go. Pixels that touch at a
        corner are connected.

    Reference:
        Isensee et al., nnU-Net, Nature Methods 18 (2021), for keeping the largest component where that helps.

    Example:
        >>> cleaned(np.array([1, 1, 0, 1, 0, 2], np.uint8), (2,)).tolist()
        [1, 1, 0, 0, 0, 2]
        >>> cleaned(np.array([1, 0, 1, 1, 0, 2], np.uint8), (), (True,)).tolist()
        [0, 0, 1, 1, 0, 2]
    """
    needed = {index: least for index, least in enumerate(minimum_pixels, start=1) if least > 1}
    alone = {index for index, only in enumerate(largest_only, start=1) if only}
    if not needed and not alone:
        return labels
    result = labels.copy()
    for index in sorted({*needed, *alone}):
        found = runs(labels == index)
        if found.count:
            pixels = found.sizes
            gone = pixels < needed.get(index, 0)
            if index in alone:
                gone |= np.arange(found.count) != pixels.argmax()
            result.ravel()[found.of(gone)] = 0
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

    def dice(self, least: int, *, largest: bool = False) -> float | None:
        """Dice when objects of ``least`` pixels stay, or the largest alone; None: in neither mask then."""
        kept = int(np.searchsorted(-self.pixels, -least, side="right"))
        if largest:
            kept = min(kept, 1)
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
class Believable:
    """What a class's objects need, and what asking for it brought on the cases it was measured on.

    Args:
        pixels: Least pixels of an object; 0 where any size will do.
        largest: Whether only the largest object stays.
        cases: Cases in which the class was predicted or present.
        before: Mean Dice with every object.
        after: Mean Dice without those that are not believed.
    """

    pixels: int
    largest: bool
    cases: int
    before: float
    after: float


def believable(rows: Sequence[Objects]) -> Believable:
    """Choose the rule with the best mean Dice over cases, for one class: a minimum size, one object, or both.

    A case counts where the class is predicted or present, as in every score of this package, so that an
    object in a case without the class costs as much as a missed one. The smallest size is taken that is as
    good as the best: by which the cases lose, in the mean, no more than one standard error, so that a few
    cases cannot ask for a size that only fits them. None is asked for below a gain of ``LEAST_GAIN``. That
    there is never a second object is believed only where it brings as much once more: a minimum size forbids
    less.

    Args:
        rows: The class's objects, case by case.

    Reference:
        Breiman et al., Classification and Regression Trees, 1984: the rule of one standard error.

    Example:
        >>> case = objects(np.array([1, 1, 0, 1]), np.array([1, 1, 0, 0]), None, classes=2)[0]
        >>> believable([case] * 5)
        Believable(pixels=2, largest=False, cases=5, before=0.8, after=1.0)
    """
    if not rows:
        return Believable(0, False, 0, 0.0, 0.0)
    found = np.unique(np.concatenate([row.pixels for row in rows]))
    steps = np.linspace(0, len(found) - 1, min(_CANDIDATES, len(found))).round().astype(int)
    sizes_tried = [0, *(int(size) for size in found[np.unique(steps)])]
    result: Believable | None = None
    for largest in (False, True):
        table = np.array([[_value(row, least, largest) for row in rows] for least in sizes_tried])
        defined = ~np.isnan(table)
        means = np.where(defined, table, 0).sum(1) / np.maximum(defined.sum(1), 1)
        if result is None:
            result = Believable(0, False, int(defined[0].sum()), float(means[0]), float(means[0]))
        needed, best = result.after + LEAST_GAIN, int(means.argmax())
        at = next(at for at in range(best + 1) if _as_good(table[at], table[best]))
        if sum(row.actual > 0 for row in rows) >= _LEAST_CASES and means[at] >= needed:
            result = replace(result, pixels=sizes_tried[at], largest=largest, after=float(means[at]))
    return result  # pyright: ignore[reportReturnType] - two turns were made


def _value(row: Objects, least: int, largest: bool) -> float:
    found = row.dice(least, largest=largest)
    return np.nan if found is None else found


def _as_good(one: np.ndarray, best: np.ndarray) -> bool:
    """Whether the mean loses no more than a standard error; a case from which the class is gone is right."""
    apart = np.nan_to_num(best, nan=1.0) - np.nan_to_num(one, nan=1.0)
    spread = float(apart.std(ddof=1)) if len(apart) > 1 else 0.0
    return float(apart.mean()) <= spread / np.sqrt(len(apart)) + _ROUNDING
