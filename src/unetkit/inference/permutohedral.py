"""Gaussian filtering of scattered points in a few dimensions, in time linear in the points."""

from __future__ import annotations

import math

import numpy as np
from scipy.sparse import csr_array

from unetkit.errors import UsageError

_CHUNK = 1 << 18
_DENSE = 1 << 24
"""Cells that are found through a table; more are sorted, which takes several times as long."""
_MOST_CELLS = 2**62
_REACH = 2**24


class Lattice:
    """A permutohedral lattice: points are spread onto the corners of their simplex, blurred there, read back.

    Args:
        features: ``(d, N)``, each divided by its standard deviation.

    Raises:
        UsageError: The features span so many standard deviations that cells cannot be numbered.

    Reference:
        Adams, Baek and Davis, Fast High-Dimensional Filtering Using the Permutohedral Lattice, Eurographics
        2010. Corners are numbered by remainder and quotient of their coordinates by ``d + 1``, so that
        neighbours are a fixed step apart.

    Example:
        >>> lattice = Lattice(np.array([[0.0, 0.5, 40.0]]))
        >>> (lattice.filter(np.array([[1.0], [0.0], [0.0]], np.float32)) > 0).ravel().tolist()
        [True, True, False]
    """

    def __init__(self, features: np.ndarray) -> None:
        self.axes, self.points = features.shape
        if np.abs(features).max(initial=0.0) > _REACH:
            raise _too_wide(f"{np.abs(features).max():.3g} standard deviations")
        base = np.empty((self.axes, self.points), np.int32)
        order = np.empty((self.axes + 1, self.points), np.uint8)
        weights = np.empty((self.points, self.axes + 1), np.float32)
        for start in range(0, self.points, _CHUNK):
            part = slice(start, start + _CHUNK)
            base[:, part], order[:, part], weights[part] = _simplex(features[:, part])
        low = base.min(axis=1) - 2
        lengths = base.max(axis=1).astype(np.int64) + 2 - low
        if math.prod(lengths.tolist()) * (self.axes + 1) > _MOST_CELLS:
            raise _too_wide(f"{lengths.tolist()} cells")
        strides = np.append(np.cumprod([1, *lengths[:0:-1]])[::-1], 0).astype(np.int64)
        block = math.prod(lengths.tolist())
        cells = np.empty((self.points, self.axes + 1), np.int64)
        cells[:, 0] = strides[:-1] @ (base - low[:, None])
        for corner in range(self.axes):
            step = block - strides[order[self.axes - corner]]
            np.add(cells[:, corner], step, out=cells[:, corner + 1])
        used, corners, lookup = _numbered(cells.reshape(-1), block * (self.axes + 1))
        self._neighbours = _neighbours(used, block, strides, lookup)
        self.cells = used.size
        ends = np.arange(0, corners.size + 1, self.axes + 1)
        self._slice = csr_array((weights.reshape(-1), corners, ends), shape=(self.points, self.cells))
        self._splat = self._slice.T

    def filter(self, values: np.ndarray) -> np.ndarray:
        """Sum the values of all points, each weighed by a Gaussian of its distance.

        The weights are those of an exact Gaussian up to a constant factor and the error of the lattice, so
        divide by what filtering ones gives.

        Args:
            values: ``(N, K)`` float32.

        Returns:
            ``(N, K)`` float32.
        """
        spread = np.zeros((self.cells + 1, values.shape[1]), np.float32)
        spread[:-1] = self._splat @ values
        for ahead, behind in self._neighbours:
            around = spread[ahead]
            around += spread[behind]
            around *= 0.5
            spread[:-1] += around
        result = self._slice @ spread[:-1]
        result *= 1 / (1 + 2.0**-self.axes)
        return result


def _too_wide(got: str) -> UsageError:
    return UsageError(
        f"expected features within some thousand standard deviations, got {got}",
        cure="use larger standard deviations",
    )


def _simplex(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where points ``(d, n)`` lie: quotients of the nearest corner, order of axes, weights ``(n, d+1)``."""
    d, n = features.shape
    steps = np.arange(1, d + 1)
    scaled = features * np.sqrt(2 / 3 / (steps * (steps + 1)))[:, None]
    lifted = np.empty((d + 1, n))
    behind = np.zeros(n)
    for axis in range(d, 0, -1):
        lifted[axis] = behind - axis * scaled[axis - 1]
        behind += scaled[axis - 1]
    lifted[0] = behind
    nearest = np.rint(lifted)
    rank = np.zeros((d + 1, n), np.int16)
    rank += nearest.sum(axis=0).astype(np.int16)
    rest = lifted - nearest
    for one in range(d):
        for other in range(one + 1, d + 1):
            less = rest[one] < rest[other]
            rank[one] += less
            rank[other] += ~less
    moved = (rank < 0).astype(np.int16) - (rank > d)
    rank += moved * (d + 1)
    nearest += moved
    rest -= moved
    order = np.empty((d + 1, n), np.uint8)
    np.put_along_axis(order, rank.astype(np.intp), np.arange(d + 1, dtype=np.uint8)[:, None], axis=0)
    falling = np.take_along_axis(rest, order.astype(np.intp), axis=0)
    weights = np.empty((n, d + 1))
    weights[:, 0] = 1 + falling[d] - falling[0]
    weights[:, 1:] = (falling[:-1] - falling[1:])[::-1].T
    return nearest[:d].astype(np.int32), order, weights.astype(np.float32)


def _numbered(cells: np.ndarray, total: int) -> tuple[np.ndarray, np.ndarray, _Lookup]:
    """The different cells in order, the place of each given one among them, and how to find others."""
    if total > _DENSE:
        used, place = np.unique(cells, return_inverse=True)
        return used, place.astype(np.int32), _Lookup(used, None)
    there = np.zeros(total, bool)
    there[cells] = True
    used = np.flatnonzero(there)
    table = np.full(total, used.size, np.int32)
    table[used] = np.arange(used.size, dtype=np.int32)
    return used, table[cells], _Lookup(used, table)


class _Lookup:
    """Cell number → its place among those in use, or one past the last."""

    def __init__(self, used: np.ndarray, table: np.ndarray | None) -> None:
        self.used = used
        self.table = table

    def __call__(self, cells: np.ndarray) -> np.ndarray:
        if self.table is not None:
            return self.table[cells]
        place = np.minimum(np.searchsorted(self.used, cells), self.used.size - 1)
        return np.where(self.used[place] == cells, place, self.used.size)


def _neighbours(
    used: np.ndarray, block: int, strides: np.ndarray, lookup: _Lookup
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The places of the cells ahead and behind along each of the lattice's ``d + 1`` directions."""
    d = strides.size - 1
    over = int(strides.sum()) - d * block  # from the last remainder to the first, one quotient up on all axes
    remainder = used // block
    pairs = []
    for stride in strides.tolist():
        ahead = np.where(remainder < d, block, over) - stride
        behind = np.where(remainder > 0, -block, -over) + stride
        pairs.append((lookup(used + ahead), lookup(used + behind)))
    return pairs
