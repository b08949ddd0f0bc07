"""Connected components of masks as runs: stretches of pixels along the last axis, and who belongs to whom.

A mask of an image is mostly empty or mostly full, and then has few runs: everything about its components
(numbers, sizes, taking some out) costs work per run and two passes over the bytes of the mask.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


@dataclass(frozen=True)
class Runs:
    """The components of a mask.

    Args:
        shape: Of the mask, ``*S``.
        starts: First pixel of each run, counted through the whole mask, ``(R,)`` int64, ascending.
        stops: The pixel after its last one, ``(R,)``.
        owner: Number of the component each run belongs to, ``(R,)``, counted from 0 in the order in which a
            reader of the image meets them.
        count: Components.
    """

    shape: tuple[int, ...]
    starts: np.ndarray
    stops: np.ndarray
    owner: np.ndarray
    count: int

    @property
    def sizes(self) -> np.ndarray:
        """Pixels of every component, ``(count,)`` int64."""
        lengths = np.bincount(self.owner, weights=self.stops - self.starts, minlength=self.count)
        return lengths.astype(np.int64)

    def of(self, components: np.ndarray) -> np.ndarray:
        """The pixels of some components.

        Args:
            components: ``(count,)`` bool.

        Returns:
            Their positions in the flattened mask, ascending.

        Example:
            >>> runs(np.array([[1, 1, 0, 1]], bool)).of(np.array([True, False])).tolist()
            [0, 1]
        """
        here = components[self.owner]
        return _spread(self.starts[here], self.stops[here] - self.starts[here])

    def numbered(self) -> np.ndarray:
        """The number of its component in every pixel of the mask: ``(*S)`` int32, 0 outside it."""
        image = np.zeros(self.shape, np.int32)
        lengths = self.stops - self.starts
        image.ravel()[_spread(self.starts, lengths)] = np.repeat(self.owner.astype(np.int32) + 1, lengths)
        return image


def runs(mask: np.ndarray, *, connectivity: Literal["face", "full"] = "full") -> Runs:
    """Find the connected components of a mask.

    Args:
        mask: ``(*S)`` bool, at least one axis.
        connectivity: ``"face"``: pixels touch along an axis; ``"full"``: corners touch too.

    Reference:
        Rosenfeld and Pfaltz, Sequential operations in digital picture processing, JACM 1966; runs in place
        of pixels, as in He, Chao and Suzuki, IEEE Trans. Image Processing 17 (2008).

    Example:
        >>> found = runs(np.array([[1, 1, 0, 1], [0, 0, 0, 1]], bool))
        >>> found.count, found.sizes.tolist(), runs(np.eye(2, dtype=bool), connectivity="face").count
        (2, [2, 2], 2)
    """
    mask = np.ascontiguousarray(mask, dtype=bool)
    width, count = mask.shape[-1], math.prod(mask.shape[:-1])
    starts, stops = _ends(mask.reshape(count, width))
    pairs = _touching(starts, stops, mask.shape, corners=connectivity == "full")
    total = len(starts)
    graph = coo_array((np.ones(len(pairs[0]), np.int8), pairs), (total, total))
    found, owner = connected_components(graph, directed=False) if total else (0, np.zeros(0, np.int32))
    return Runs(mask.shape, starts, stops, owner, int(found))


def _ends(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First pixel of every run of a mask ``(N, W)``, and the one after its last, counted through the mask."""
    change = np.empty(rows.shape, bool)
    np.greater(rows[:, 1:], rows[:, :-1], out=change[:, 1:])
    change[:, :1] = rows[:, :1]
    starts = np.flatnonzero(change)
    np.greater(rows[:, :-1], rows[:, 1:], out=change[:, :-1])
    change[:, -1:] = rows[:, -1:]
    return starts, np.flatnonzero(change) + 1


def _touching(
    starts: np.ndarray, stops: np.ndarray, shape: tuple[int, ...], *, corners: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of runs that touch: each with those of the neighbouring rows before it.

    Two rows whose runs are sorted meet like a zip: the runs of the other row that touch one run follow one
    another, from the first that ends late enough to the last that starts early enough.
    """
    lines, width = shape[:-1], shape[-1]
    row = starts // width
    first, second = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for step in _steps_back(len(lines), corners=corners):
        inside = _inside(row, step, lines)
        if not inside.any():
            continue
        mine = np.flatnonzero(inside)
        shift = int(np.dot(step, [math.prod(lines[axis + 1 :]) for axis in range(len(lines))])) * width
        slack = int(corners)
        floor = (row[mine] * width) + shift
        # one pixel of slack must not reach into the row beside the one that is meant
        low = np.maximum(starts[mine] + shift - slack, floor)
        high = np.minimum(stops[mine] + shift + slack, floor + width)
        begin = np.searchsorted(stops, low, side="right")
        end = np.searchsorted(starts, high, side="left")
        many = np.maximum(end - begin, 0)
        first.append(np.repeat(mine, many))
        second.append(_spread(begin, many))
    return np.concatenate(first), np.concatenate(second)


def _steps_back(axes: int, *, corners: bool) -> list[tuple[int, ...]]:
    """Steps to the neighbouring rows that come before a row."""
    nowhere = (0,) * axes
    steps: list[tuple[int, ...]] = [
        step for step in itertools.product((-1, 0, 1), repeat=axes) if step < nowhere
    ]
    return steps if corners else [step for step in steps if sum(map(abs, step)) == 1]


def _inside(row: np.ndarray, step: Sequence[int], lines: tuple[int, ...]) -> np.ndarray:
    """Whether the row a step away from each row is one of the image's."""
    places = np.unravel_index(row, lines)
    good = np.ones(len(row), bool)
    for place, move, length in zip(places, step, lines, strict=True):
        good &= (place + move >= 0) & (place + move < length)
    return good


def _spread(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """All numbers of stretches that start at ``starts``.

    Example:
        >>> _spread(np.array([3, 9]), np.array([2, 1])).tolist()
        [3, 4, 9]
    """
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))
