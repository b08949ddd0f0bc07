"""Images that are never in memory as a whole: their rows come in, the rows of their labels go out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from unetkit.errors import DataError
from unetkit.inference.restore import not_finite
from unetkit.inference.stream import Box, Rows, largest, softmax
from unetkit.records.case import Placement


class RollingRows:
    """Reads the boxes of a tiling out of a band that rolls down the image; every row is asked for once.

    Args:
        rows: First row and row behind the last → pixels ``(C, rows, *rest)``.

    Example:
        >>> image, asked = np.arange(6).reshape(1, 6), []
        >>> band = RollingRows(lambda start, stop: asked.append((start, stop)) or image[:, start:stop])
        >>> [band((slice(start, start + 4),)).tolist() for start in (0, 2)]
        [[[0, 1, 2, 3]], [[2, 3, 4, 5]]]
        >>> asked
        [(0, 4), (4, 6)]
    """

    def __init__(self, rows: Callable[[int, int], np.ndarray]) -> None:
        self._rows = rows
        self._top = 0
        self._held: np.ndarray | None = None

    def __call__(self, box: Box) -> np.ndarray:
        """Pixels ``(C, *box)``, a view; boxes come with their first rows in rising order."""
        start, stop = box[0].start, box[0].stop
        bottom = self._top + (0 if self._held is None else self._held.shape[1])
        if self._held is None or start >= bottom:
            self._held, self._top = self._rows(start, stop), start
        elif start > self._top or stop > bottom:
            kept = self._held[:, start - self._top :]
            if stop > bottom:
                self._held = np.concatenate([kept, self._rows(bottom, stop)], axis=1)
            else:
                self._held = kept
            self._top = start
        return self._held[(slice(None), slice(0, stop - start), *box[1:])]


def label_rows(bands: Iterable[Rows], placement: Placement, name: str) -> Iterator[np.ndarray]:
    """Bands of logits of a box → bands of labels of the whole image, background outside the box.

    Args:
        bands: Finished rows of logits of the box, without a gap.
        placement: Where the box lies.
        name: The image's name, for the error.

    Yields:
        Class ids ``(rows, *rest)``, each an array of its own.

    Raises:
        DataError: The network's answer is not finite, or there is none.
    """
    (first, last), *rest = placement.crop
    inner = tuple(slice(start, stop) for start, stop in rest)
    kind: np.dtype | None = None
    for _, band in bands:
        ids, best = largest(band)
        if not np.isfinite(best).all():
            raise not_finite(name)
        if kind is None:
            kind = ids.dtype
            yield from _background(first, placement, kind)
        if ids.shape[1:] == placement.shape[1:]:
            yield ids
        else:
            wide = np.zeros((len(ids), *placement.shape[1:]), kind)
            wide[(slice(None), *inner)] = ids
            yield wide
    if kind is None:
        raise DataError("the image has no pixel", cure="remove the file", where=name)
    yield from _background(placement.shape[0] - last, placement, kind)


def share_rows(bands: Iterable[Rows], placement: Placement, name: str) -> Iterator[np.ndarray]:
    """Bands of logits of a box → bands of probabilities of the whole image, background outside the box.

    Args:
        bands: As in ``label_rows``.
        placement: As there.
        name: As there.

    Yields:
        ``(K, rows, *rest)`` float32, each an array of its own.

    Raises:
        DataError: As there.
    """
    (first, last), *rest = placement.crop
    inner = (slice(None), slice(None), *(slice(start, stop) for start, stop in rest))
    classes = 0
    for _, band in bands:
        if not np.isfinite(band.max(axis=0)).all():
            raise not_finite(name)
        if not classes:
            classes = len(band)
            yield from _sure_background(first, placement, classes)
        shares = softmax(band)
        if shares.shape[2:] != placement.shape[1:]:
            wide = next(_sure_background(shares.shape[1], placement, classes, step=shares.shape[1]))
            wide[inner] = shares
            shares = wide
        yield shares
    if not classes:
        raise DataError("the image has no pixel", cure="remove the file", where=name)
    yield from _sure_background(placement.shape[0] - last, placement, classes)


def mean_rows(members: Sequence[Iterable[np.ndarray]]) -> Iterator[np.ndarray]:
    """The mean of bands of the same rows, which come cut in other places.

    Args:
        members: Bands ``(K, rows, *rest)`` each, which together have the same rows.

    Yields:
        Bands ``(K, rows, *rest)``, each an array of its own.

    Example:
        >>> one, two = [np.zeros((1, 3))], [np.ones((1, 1)), np.full((1, 2), 4.0)]
        >>> [band.tolist() for band in mean_rows([one, two])]
        [[[0.5]], [[2.0, 2.0]]]
    """
    sources = [iter(member) for member in members]
    held: list[np.ndarray | None] = [None] * len(sources)
    while True:
        held = [
            next(source, None) if band is None or not band.shape[1] else band
            for source, band in zip(sources, held, strict=True)
        ]
        bands = [band for band in held if band is not None]
        if len(bands) < len(sources):
            return
        rows = min(band.shape[1] for band in bands)
        mean = bands[0][:, :rows].copy()
        for band in bands[1:]:
            mean += band[:, :rows]
        mean /= len(bands)
        held = [band[:, rows:] for band in bands]
        yield mean


def counted_rows(bands: Iterable[np.ndarray], counts: np.ndarray) -> Iterator[np.ndarray]:
    """The same bands; the pixels of each class are added up as they pass.

    Args:
        bands: Class ids.
        counts: Pixels per class ``(K,)``, added to in place.

    Example:
        >>> counts = np.zeros(2, np.int64)
        >>> [len(band) for band in counted_rows([np.array([0, 1]), np.array([1])], counts)], counts.tolist()
        ([2, 1], [1, 2])
    """
    for band in bands:
        counts += np.bincount(band.ravel(), minlength=len(counts))
        yield band


_BACKGROUND_ROWS = 256


def _background(rows: int, placement: Placement, kind: np.dtype) -> Iterator[np.ndarray]:
    for start in range(0, rows, _BACKGROUND_ROWS):
        yield np.zeros((min(_BACKGROUND_ROWS, rows - start), *placement.shape[1:]), kind)


def _sure_background(
    rows: int, placement: Placement, classes: int, *, step: int = _BACKGROUND_ROWS
) -> Iterator[np.ndarray]:
    """Probabilities of rows in which there is only background."""
    for start in range(0, rows, step):
        shares = np.zeros((classes, min(step, rows - start), *placement.shape[1:]), np.float32)
        shares[0] = 1
        yield shares
