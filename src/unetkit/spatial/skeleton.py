"""Skeletons: an object thinned to curves one pixel wide that keep its pieces, holes and cavities."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from unetkit.spatial.regions import bounding_box, cut


def skeleton(mask: np.ndarray) -> np.ndarray:
    """Thin an object to its centre lines.

    Layer by layer and side by side, boundary pixels go whose removal changes nothing but the object's extent
    ("simple" pixels), except the ends of curves. Lee's algorithm looks at the candidates of a side once more,
    one after the other; here all pixels of one parity are looked at together, of which no two touch, so
    that none changes what another one sees: the same guarantee without a loop over pixels.

    Args:
        mask: ``(*S)`` bool; everything outside the image is background.

    Returns:
        ``(*S)`` bool, a part of ``mask`` with as many pieces, tunnels and cavities; object pixels are
        connected over corners, background pixels over faces.

    Reference:
        Lee, Kashyap and Chu, Building Skeleton Models via 3-D Medial Surface/Axis Thinning Algorithms, CVGIP
        56 (1994); Bertrand and Aktouf, A three-dimensional thinning algorithm using subfields, SPIE 2356
        (1994), for parities; Bertrand and Malandain, A new characterization of three-dimensional simple
        points, Pattern Recognition Letters 15 (1994).

    Example:
        >>> bar = np.zeros((5, 9), bool)
        >>> bar[1:4, 1:8] = True
        >>> np.flatnonzero(skeleton(bar).any(axis=1)).tolist()
        [2]
    """
    result = np.zeros(mask.shape, bool)
    box = bounding_box(mask)
    if box is None:
        return result
    inside = np.ascontiguousarray(np.pad(cut(mask, box).astype(bool, copy=False), 1))
    _thin(inside)
    cut(result, box)[:] = inside[(slice(1, -1),) * mask.ndim]
    return result


def simple(codes: np.ndarray, rank: int) -> np.ndarray:
    """Whether a pixel can go without a piece, a tunnel or a cavity appearing or vanishing.

    Args:
        codes: ``(n,)``: bit k says whether neighbour k (in reading order, centre left out) is object.
        rank: Number of axes.

    Returns:
        ``(n,)`` bool.

    Reference:
        Bertrand and Malandain 1994: the object neighbours form one piece, and the background neighbours
        that share a face with the pixel are one piece among those at most an edge away.

    Example:
        >>> simple(np.array([0b00000001, 0b10000001]), 2).tolist()  # an end of a line, its middle
        [True, False]
    """
    if rank < 3:
        return _table(rank)[codes]
    different, place = np.unique(codes, return_inverse=True)
    return _simple(different, rank)[place]


@lru_cache(maxsize=2)
def _table(rank: int) -> np.ndarray:
    """The answer for every code: few enough with up to two axes."""
    return _simple(np.arange(2 ** (3**rank - 1)), rank)


def _simple(different: np.ndarray, rank: int) -> np.ndarray:
    around = _neighbours(rank)
    objects = (different[:, None] >> np.arange(len(around.offsets))) & 1 == 1
    answer = _one_piece(objects, objects, around.touching)
    return answer & _one_piece(~objects & around.near, ~objects & around.face, around.facing)


@dataclass(frozen=True)
class _Neighbours:
    """The neighbours of a pixel, and which of them are neighbours of one another."""

    offsets: np.ndarray
    touching: np.ndarray
    facing: np.ndarray
    face: np.ndarray
    near: np.ndarray


@lru_cache(maxsize=4)
def _neighbours(rank: int) -> _Neighbours:
    offsets = np.indices((3,) * rank).reshape(rank, -1).T - 1
    offsets = offsets[np.abs(offsets).sum(axis=1) > 0]
    apart = np.abs(offsets[:, None] - offsets[None])
    steps = np.abs(offsets).sum(axis=1)
    return _Neighbours(
        offsets,
        (apart.max(axis=2) <= 1).astype(np.float32),
        (apart.sum(axis=2) <= 1).astype(np.float32),
        steps == 1,
        steps <= 2,
    )


def _one_piece(nodes: np.ndarray, wanted: np.ndarray, links: np.ndarray) -> np.ndarray:
    """Whether the wanted nodes ``(n, m)`` are there and all in one connected piece of ``nodes``."""
    reached = np.zeros_like(wanted)
    reached[np.arange(len(wanted)), wanted.argmax(axis=1)] = True
    reached &= wanted
    while True:
        grown = (reached.astype(np.float32) @ links > 0) & nodes
        if np.array_equal(grown, reached):
            return np.asarray(wanted.any(axis=1) & (reached | ~wanted).all(axis=1))
        reached = grown


def _thin(inside: np.ndarray) -> None:
    """Take layers off in place until nothing can go; the outermost pixels are background."""
    flat, rank = inside.reshape(-1), inside.ndim
    strides = np.array(inside.strides)
    steps = (_neighbours(rank).offsets @ strides).tolist()
    parity = np.zeros(inside.shape, np.uint8)
    for axis, length in enumerate(inside.shape):
        parity += ((np.arange(length) % 2) << axis).astype(np.uint8).reshape(-1, *(1,) * (rank - 1 - axis))
    parity = parity.reshape(-1)
    points = np.flatnonzero(flat)
    before = -1
    while before != points.size:
        before = points.size
        # opposite sides in turn, or a slanted sheet would be eaten from one side
        for side in np.stack([strides, -strides], axis=1).ravel():
            border = points[~flat[points + side]]
            codes = _codes(flat, border, steps)
            ends = codes & (codes - 1) == 0  # one neighbour at most
            border = border[~ends & simple(codes, rank)]
            fields = parity[border]
            for field in np.unique(fields):
                some = border[fields == field]
                flat[some[simple(_codes(flat, some, steps), rank)]] = False
            points = points[flat[points]]


def _codes(flat: np.ndarray, points: np.ndarray, steps: list[int]) -> np.ndarray:
    codes = np.zeros(len(points), np.int64)
    for bit, step in enumerate(steps):
        codes |= flat[points + step].astype(np.int64) << bit
    return codes
