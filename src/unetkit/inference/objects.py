"""Objects of labels that come in bands: the same cleaning as of the whole, without the whole in memory."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from unetkit.spatial.runs import runs


def cleaned_rows(
    bands: Iterable[np.ndarray],
    minimum_pixels: Sequence[int],
    folder: Path,
    *,
    largest_only: Sequence[bool] = (),
) -> Iterator[np.ndarray]:
    """Bands of labels in which objects that are not to be believed became background.

    Equal to ``cleanup.cleaned`` of all bands put together. An object's size is known when the last band
    has come: until then the bands lie in a nameless file, one number per pixel, and memory holds a few
    numbers per object.

    Args:
        bands: Class ids ``(rows, *rest)``, one below the other.
        minimum_pixels: Pixels that an object needs to stay, one number per foreground class.
        folder: Where the file lies; it is gone with the process, however that ends.
        largest_only: Whether only the largest object of a class stays, one per foreground class.

    Example:
        >>> bands = [np.array([[1, 0]]), np.array([[1, 0], [0, 0], [0, 1]])]
        >>> [band.tolist() for band in cleaned_rows(bands, (2,), Path("."))]
        [[[1, 0]], [[1, 0], [0, 0], [0, 0]]]
    """
    needed = {index: least for index, least in enumerate(minimum_pixels, start=1) if least > 1}
    alone = {index for index, only in enumerate(largest_only, start=1) if only}
    if not needed and not alone:
        yield from bands
        return
    classes = {index: _Objects(index) for index in sorted({*needed, *alone})}
    kept: list[tuple[tuple[int, ...], np.dtype]] = []
    with tempfile.TemporaryFile(prefix=".part-", dir=folder) as file:
        for band in bands:
            for objects in classes.values():
                objects.add(band)
            kept.append((band.shape, band.dtype))
            file.write(np.ascontiguousarray(band).data)
        stay = {
            index: objects.believed(needed.get(index, 0), largest=index in alone)
            for index, objects in classes.items()
        }
        file.seek(0)
        for number, (shape, kind) in enumerate(kept):
            count = int(np.prod(shape)) * kind.itemsize
            band = np.frombuffer(file.read(count), kind).reshape(shape)
            result = band.copy()
            for index, objects in classes.items():
                result.ravel()[objects.gone(number, band, stay[index])] = 0
            yield result


class _Objects:
    """The objects of one class, numbered through all bands; parts that touch across a seam are one."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._sizes: list[np.ndarray] = []
        self._before: list[int] = []
        self._pairs: list[np.ndarray] = []
        self._last: np.ndarray | None = None
        self._count = 0

    def add(self, band: np.ndarray) -> None:
        """Number the parts of the next band and note which of them touch the band above."""
        found = runs(band == self._index)
        numbered = found.numbered()
        self._before.append(self._count)
        self._sizes.append(found.sizes)
        first, last = (
            np.where(row > 0, row + np.int64(self._count), 0) for row in (numbered[0], numbered[-1])
        )
        if self._last is not None:
            self._pairs.append(_touching(self._last, first))
        self._last = last
        self._count += found.count

    def believed(self, least: int, *, largest: bool) -> np.ndarray:
        """For each part, in order, whether the object that it belongs to stays."""
        parts = np.concatenate([np.zeros(0, np.int64), *self._sizes])
        if not self._count:
            return parts > 0
        pairs = np.concatenate([np.zeros((0, 2), np.int64), *self._pairs]) - 1
        graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (self._count, self._count))
        count, owner = connected_components(graph, directed=False)
        totals = np.zeros(count, np.int64)
        np.add.at(totals, owner, parts)
        stay = totals[owner] >= least
        if largest:  # of equals the first: parts are numbered from top to bottom
            stay &= owner == owner[totals[owner].argmax()]
        return stay

    def gone(self, number: int, band: np.ndarray, stay: np.ndarray) -> np.ndarray:
        """Pixels that have to go in a band, which is the one that ``add`` was given as ``number``."""
        found = runs(band == self._index)
        start = self._before[number]
        return found.of(~stay[start : start + found.count])


def _touching(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Pairs of numbers ``(n, 2)`` that meet across a seam, corners included."""
    found = [np.zeros((0, 2), np.int64)]
    for step in itertools.product((-1, 0, 1), repeat=above.ndim):
        upper = above[tuple(slice(max(0, s), min(n, n + s)) for s, n in zip(step, above.shape, strict=True))]
        lower = below[tuple(slice(max(0, -s), min(n, n - s)) for s, n in zip(step, above.shape, strict=True))]
        both = (upper > 0) & (lower > 0)
        if both.any():
            found.append(np.unique(np.stack([upper[both], lower[both]], axis=1), axis=0))
    return np.concatenate(found)
