"""Objects of a case, each with its place: what was missed, what was made up, what was hardly covered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from unetkit.metrics.objects import match_objects
from unetkit.records.case import Grid
from unetkit.records.saved import Saved
from unetkit.spatial.regions import boxes, components, cut, sizes

Wrong = Literal["missed", "false"]
MOST_WRONG, MOST_FOUND = 15, 5
"""Objects of a class and case that are kept: the largest wrong ones, the least covered found ones."""


class ObjectPlace(Saved):
    """One object.

    Args:
        name: Its class.
        kind: ``missed`` (nothing predicted there), ``false`` (nothing is there), ``found``.
        size: mm³ (mm² in pictures), or pixels where no file states a spacing.
        unit: What ``size`` is in.
        covered: Share of it that the other mask has as well.
        at: A pixel of it, near its middle.
    """

    name: str
    kind: Literal["missed", "false", "found"]
    size: float
    unit: str
    covered: float
    at: tuple[int, ...]


def object_places(
    reference: np.ndarray, prediction: np.ndarray, *, classes: Sequence[str], grid: Grid
) -> tuple[ObjectPlace, ...]:
    """The objects of every class that deserve a look, worst first.

    Objects are matched as in the table of objects (``metrics.objects``). An object without a counterpart is
    missed or false; of these the largest come first, then the found ones, the least covered first.

    Args:
        reference: ``(*S)`` class ids.
        prediction: ``(*S)`` class ids.
        classes: Foreground class names; class ``k`` of this sequence has the id ``k + 1``.
        grid: Where the pixels lie.

    Example:
        >>> there, said = np.array([[1, 0, 0, 1, 1]]), np.array([[0, 0, 0, 1, 0]])
        >>> [(o.kind, o.size, o.covered, o.at)
        ...  for o in object_places(there, said, classes=["x"], grid=Grid.plain(2))]
        [('missed', 1.0, 0.0, (0, 0)), ('found', 2.0, 0.5, (0, 3))]
    """
    unit = ("mm²" if grid.rank == 2 else "mm³") if grid.calibrated else "pixels"
    pixel = math.prod(grid.spacing_mm) if grid.calibrated else 1.0
    found: list[ObjectPlace] = []
    for number, name in enumerate(classes, start=1):
        there, said = reference == number, prediction == number
        if not there.any() and not said.any():
            continue
        matched = match_objects(there, said)
        rows: list[ObjectPlace] = []
        sides: tuple[tuple[np.ndarray, np.ndarray, np.ndarray, Wrong], ...] = (
            (there, said, matched.found, "missed"),
            (said, there, matched.right, "false"),
        )
        for mask, other, good, kind in sides:
            numbered, count = components(mask)
            size, shared = sizes(numbered, count), sizes(np.where(other, numbered, 0), count)
            where = boxes(numbered, count)
            wrong = sorted(np.flatnonzero(~good), key=lambda one: -size[one])[:MOST_WRONG]
            right = np.flatnonzero(good) if kind == "missed" else ()
            right = sorted(right, key=lambda one: shared[one] / size[one])[:MOST_FOUND]
            for one in (*wrong, *right):
                rows.append(
                    ObjectPlace(
                        name=name,
                        kind=kind if not good[one] else "found",
                        size=float(f"{size[one] * pixel:.6g}"),
                        unit=unit,
                        covered=round(float(shared[one] / size[one]), 4),
                        at=_middle(numbered, int(one) + 1, where[one] or ()),
                    )
                )
        found += rows
    return tuple(sorted(found, key=worst_object))


def worst_object(one: ObjectPlace) -> tuple[bool, float]:
    """Order: what is wrong first, the largest first; then what was found, the least covered first."""
    return (one.kind == "found", one.covered if one.kind == "found" else -one.size)


def _middle(numbered: np.ndarray, number: int, box: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
    """The pixel of an object nearest to its centre of mass, which may lie outside of it."""
    places = np.argwhere(cut(numbered, box) == number)
    nearest = places[np.square(places - places.mean(axis=0)).sum(axis=1).argmin()]
    return tuple(int(step + start) for step, (start, _) in zip(nearest, box, strict=True))
