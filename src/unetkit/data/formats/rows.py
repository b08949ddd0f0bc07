"""Bands of labels, of whatever height they come, cut to the pieces that a file is made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

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
    held: list[np.ndarray] = []
    count = 0
    for band in bands:
        rest = band
        while len(rest):
            part, rest = rest[: rows - count], rest[rows - count :]
            held.append(part)
            count += len(part)
            if count == rows:
                yield np.concatenate(held)
                held, count = [], 0
    if held:
        yield np.concatenate(held)


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
