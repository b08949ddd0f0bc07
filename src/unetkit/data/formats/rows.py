"""Bands of labels, of whatever height they come, cut to the pieces that a file is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from unetkit.data.formats import Box
from unetkit.errors import DataError


def label_tiles(bands: Iterable[np.ndarray], *, rank: int, edge: int) -> Iterator[np.ndarray]:
    """Cut bands into tiles, row by row and slice by slice, as a tiled TIFF stores them.

    Args:
        bands: Labels ``(rows, *rest)``, one below the other.
        rank: Spatial axes.
        edge: Pixels of a tile along both of its axes; the last ones may be smaller.

    Example:
        >>> bands = [np.zeros((3, 5)), np.ones((1, 5))]
        >>> [tile.shape for tile in label_tiles(bands, rank=2, edge=2)]
        [(2, 2), (2, 2), (2, 1), (2, 2), (2, 2), (2, 1)]
    """
    pictures: Iterable[Iterable[np.ndarray]] = (
        [bands] if rank == 2 else ([plane] for band in bands for plane in band)
    )
    for picture in pictures:
        for block in blocks(picture, edge):
            for left in range(0, block.shape[1], edge):
                yield block[:, left : left + edge]


def blocks(bands: Iterable[np.ndarray], rows: int) -> Iterator[np.ndarray]:
    """Join and cut bands so that all but the last have the same height.

    Args:
        bands: ``(n, *rest)``, one below the other.
        rows: Height of a block.
    """
    stack = Stack(rows)
    for band in bands:
        yield from stack.add(band)
    yield from stack.rest()


class Stack:
    """Joins bands that are handed in to blocks of one height.

    Args:
        rows: Height of a block.

    Example:
        >>> stack = Stack(2)
        >>> [len(block) for block in stack.add(np.zeros((5, 1)))], [len(block) for block in stack.rest()]
        ([2, 2], [1])
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._held: list[np.ndarray] = []
        self._count = 0

    def add(self, band: np.ndarray) -> Iterator[np.ndarray]:
        """The blocks that ``(n, *rest)`` more rows make full; run it to its end."""
        rest = band
        while len(rest):
            part, rest = rest[: self._rows - self._count], rest[self._rows - self._count :]
            self._held.append(part)
            self._count += len(part)
            if self._count == self._rows:
                yield from self.rest()

    def rest(self) -> Iterator[np.ndarray]:
        """What is left, where something is."""
        if self._held:
            whole = np.concatenate(self._held)
            self._held, self._count = [], 0
            yield whole


def level_shapes(shape: tuple[int, ...], levels: int) -> list[tuple[int, ...]]:
    """Sizes of an image and of its smaller copies.

    Args:
        shape: ``*S``; slices stay, rows and columns are halved.
        levels: How many copies.

    Example:
        >>> level_shapes((5, 9, 4), 2)
        [(5, 9, 4), (5, 5, 2), (5, 3, 1)]
    """
    *deep, rows, columns = shape
    return [(*deep, -(-rows >> level), -(-columns >> level)) for level in range(levels + 1)]


def with_levels(bands: Iterable[np.ndarray], levels: int) -> Iterator[list[np.ndarray]]:
    """Each band with what it gives to the smaller copies: every second row and column of the copy before.

    Labels are not numbers that could be averaged, so a pixel of a copy is one of the image.

    Args:
        bands: Labels ``(rows, *rest)``, one below the other.
        levels: How many copies.

    Example:
        >>> bands = [np.arange(6).reshape(3, 2), np.arange(6, 10).reshape(2, 2)]
        >>> [[part[:, 0].tolist() for part in parts] for parts in with_levels(bands, 1)]
        [[[0, 2, 4], [0, 4]], [[6, 8], [8]]]
    """
    first = [0] * levels
    for band in bands:
        parts = [band]
        for level in range(levels):
            finer = parts[-1]
            parts.append(finer[first[level] % 2 :: 2, ::2] if finer.ndim == 2 else finer[:, ::2, ::2])
            first[level] += len(finer)
        yield parts


class KeptRows:
    """Parts of an image that is stored in rows of chunks: those read one after another decode a chunk once.

    Args:
        read: Region → pixels ``(C, *region)``.
        step: Rows of a chunk.
        length: Rows of the image.

    Example:
        >>> image, asked = np.arange(7).reshape(1, 7), []
        >>> read = lambda region: asked.append(region) or image[:, slice(*region[0])]
        >>> rows = KeptRows(read, step=3, length=7)
        >>> [rows.read(((start, start + 2),)).tolist() for start in (0, 2, 4)], asked
        ([[[0, 1]], [[2, 3]], [[4, 5]]], [((0, 3),), ((3, 6),)])
    """

    def __init__(self, read: Callable[[Box], np.ndarray], *, step: int, length: int) -> None:
        self._read, self._step, self._length = read, step, length
        self._inner: Box = ()
        self._top = self._bottom = 0
        self._held: np.ndarray | None = None

    def read(self, region: Box) -> np.ndarray:
        """Pixels ``(C, *region)``; what lies below in the last row of chunks stays for the next call."""
        (start, stop), *rest = region
        inner, step = tuple(rest), self._step
        if self._held is None or inner != self._inner or not self._top <= start < self._bottom:
            self._top = self._bottom = start // step * step
            self._held, self._inner = None, inner
        bottom = min(-(-stop // step) * step, self._length)
        if bottom > self._bottom:
            fresh = self._read(((self._bottom, bottom), *inner))
            self._held = fresh if self._held is None else np.concatenate([self._held, fresh], axis=1)
            self._bottom = bottom
        assert self._held is not None  # a region has a row at least
        found = self._held[:, start - self._top : stop - self._top].copy()
        last = max(self._top, stop // step * step)
        self._held = self._held[:, last - self._top :].copy()
        self._top = last
        return found


def counted(bands: Iterable[np.ndarray], shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The same bands; too few or too many rows never become a file.

    Args:
        bands: Labels ``(n, *rest)``.
        shape: ``(rows, *rest)`` of the whole.

    Raises:
        DataError: The bands are not as many rows, or rows of another size.
    """
    rows = 0
    for band in bands:
        rows += len(band)
        if band.shape[1:] != shape[1:] or rows > shape[0]:
            break
        yield band
    else:
        if rows == shape[0]:
            return
    raise DataError(
        f"expected rows of labels that fill {shape}, got {rows} of {shape[0]} or rows of another size",
        cure="give the bands from top to bottom, each once",
    )
