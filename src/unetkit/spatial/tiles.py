"""Overlapping tiles over an image of any number of axes, and weights that add up to 1 at every pixel."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np

SIGMA_FRACTION = 1 / 8
"""Width of the Gaussian window as a share of the tile edge."""


def starts(length: int, tile: int, overlap_fraction: float) -> tuple[int, ...]:
    """First pixel of each tile along one axis: evenly spaced, the last tile ends with the axis.

    ``ceil((length - tile) / (tile · (1 - overlap))) + 1`` tiles: neighbours share at least the wanted part.

    Args:
        length: Pixels of the axis.
        tile: Pixels of a tile; a tile longer than the axis is cut to it.
        overlap_fraction: Share of a tile that the next one repeats, 0 up to but not including 1.

    Reference:
        Isensee et al. 2021, nnU-Net, https://doi.org/10.1038/s41592-020-01008-z.

    Example:
        >>> starts(10, 4, 0.5)
        (0, 2, 4, 6)
    """
    room = length - tile
    if room <= 0:
        return (0,)
    step = max(1.0, tile * (1.0 - overlap_fraction))
    # 1e-9: 0.30000000000000004 · tile must not cost one more tile
    count = math.ceil(room / step - 1e-9) + 1
    return tuple(round(index * room / (count - 1)) for index in range(count))


def gaussian(length: int) -> np.ndarray:
    """A Gaussian window ``(length,)`` float64, symmetric, with sigma = length / 8 and a peak of at most 1.

    Args:
        length: Pixels.

    Example:
        >>> bool(np.all(gaussian(5) == gaussian(5)[::-1])), float(gaussian(5)[2])
        (True, 1.0)
    """
    distance = np.arange(length) - (length - 1) / 2
    return np.exp(-0.5 * (distance / (length * SIGMA_FRACTION)) ** 2)


def weights(length: int, tile: int, first: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """The window of each tile along one axis, divided by what all windows add up to there.

    Args:
        length: Pixels of the axis.
        tile: Pixels of a tile.
        first: First pixel of each tile.

    Returns:
        One ``(min(tile, length),)`` float32 per tile; together they add up to 1 at every pixel.

    Example:
        >>> [w.tolist() for w in weights(4, 4, (0,))]
        [[1.0, 1.0, 1.0, 1.0]]
    """
    window = gaussian(min(tile, length))
    total = np.zeros(length)
    for start in first:
        total[start : start + len(window)] += window
    return tuple((window / total[start : start + len(window)]).astype(np.float32) for start in first)


@dataclass(frozen=True)
class Tiling:
    """Tiles of one size that cover an image.

    Weights are products of one window per axis. As the tiles form a grid, their sum is such a product too:
    windows divided by their sum per axis need neither a count map nor a division at the end.

    Args:
        shape: ``*S`` of the image.
        tile: ``*P``, not longer than the image on any axis.
        starts: First pixel of each tile, per axis.
        windows: Window ``(P,)`` of each tile, per axis.

    Example:
        >>> len(Tiling.over((10, 10), (4, 4), 0.5).boxes)
        16
    """

    shape: tuple[int, ...]
    tile: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]
    windows: tuple[tuple[np.ndarray, ...], ...]

    @staticmethod
    def over(shape: tuple[int, ...], tile: tuple[int, ...], overlap_fraction: float) -> Tiling:
        """The tiles of an image.

        Args:
            shape: ``*S`` of the image.
            tile: Wanted pixels per axis; cut to the image where that is smaller.
            overlap_fraction: Share of a tile that the next one repeats.
        """
        cut = tuple(min(pair) for pair in zip(tile, shape, strict=True))
        first = tuple(starts(n, t, overlap_fraction) for n, t in zip(shape, cut, strict=True))
        return Tiling(shape, cut, first, tuple(map(weights, shape, cut, first)))

    @property
    def boxes(self) -> tuple[tuple[slice, ...], ...]:
        """Where each tile lies; the first axis changes slowest."""
        return tuple(
            tuple(slice(start, start + size) for start, size in zip(corner, self.tile, strict=True))
            for corner in itertools.product(*self.starts)
        )

    def weighted_boxes(self) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
        """Each tile's place and its weight ``(*P)`` float32, in the order of ``boxes``."""
        for box, windows in zip(self.boxes, itertools.product(*self.windows), strict=True):
            yield box, reduce(np.multiply.outer, windows)

    def lone_boxes(self) -> Iterator[tuple[slice, ...]]:
        """Within each tile, in the order of ``boxes``, the pixels that no other tile covers; may be empty.

        Their weight is exactly 1.

        Example:
            >>> [box[0].start for box in Tiling.over((6,), (4,), 0.5).lone_boxes()]
            [0, 2]
        """
        axes = []
        for first, size in zip(self.starts, self.tile, strict=True):
            ends = [0, *(start + size for start in first)]
            following = [*first[1:], first[-1] + size]
            axes.append(
                tuple(
                    slice(max(end - start, 0), max(nearest - start, 0))
                    for start, end, nearest in zip(first, ends, following, strict=False)
                )
            )
        yield from itertools.product(*axes)


def frame(shape: tuple[int, ...], inner: tuple[slice, ...]) -> list[tuple[slice, ...]]:
    """Boxes that together are a box without an inner one, each pixel once.

    Args:
        shape: Of the outer box.
        inner: Start and stop per axis; where it has no pixel, the outer box is the answer.

    Example:
        >>> [[(side.start, side.stop) for side in box] for box in frame((4, 4), (slice(0, 3), slice(1, 4)))]
        [[(3, 4), (0, 4)], [(0, 3), (0, 1)]]
    """
    whole = tuple(slice(0, length) for length in shape)
    if any(side.start >= side.stop for side in inner):
        return [whole]
    boxes, rest = [], list(whole)
    for axis, side in enumerate(inner):
        for part in (slice(0, side.start), slice(side.stop, shape[axis])):
            if part.start < part.stop:
                boxes.append((*rest[:axis], part, *rest[axis + 1 :]))
        rest[axis] = side
    return boxes
