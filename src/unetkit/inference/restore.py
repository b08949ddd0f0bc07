"""From the prepared grid back to the original one: resample bands, then put them where they were cut out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from unetkit.errors import DataError
from unetkit.inference.stream import Rows, largest, softmax
from unetkit.records.case import Placement, Sample
from unetkit.records.prediction import Prediction
from unetkit.spatial.grid import resample

_BAND_NUMBERS = 1 << 24
"""Float numbers a resampled band may hold (64 MiB)."""


def to_original(
    bands: Iterable[Rows], sample: Sample, *, order: int, separate_axis: int | None, probabilities: bool
) -> Prediction:
    """Bands of logits on the prepared grid → labels on the original one.

    Args:
        bands: Finished rows of logits, without a gap.
        sample: What was predicted.
        order: Order of the resampling of logits, 0 or 1 (a higher one counts as 1: logits need no more).
        separate_axis: Axis resampled with order 0, None when none is.
        probabilities: Keep the softmax as well.

    Returns:
        Labels, background outside the cropped box.

    Raises:
        DataError: The network's answer is not finite.
    """
    prepared = sample.pixels.shape[1:]
    box = sample.placement or Placement(prepared, sample.grid, tuple((0, length) for length in prepared))
    cropped = tuple(stop - start for start, stop in box.crop)
    if cropped != prepared:
        bands = resampled_rows(bands, prepared, cropped, order=order, separate_axis=separate_axis)
    labels: np.ndarray | None = None
    shares: np.ndarray | None = None
    inner = tuple(slice(start, stop) for start, stop in box.crop)
    for top, band in bands:
        ids, best = largest(band)
        if not np.isfinite(best).all():
            raise not_finite(sample.id)
        if labels is None:
            labels = np.zeros(box.shape, ids.dtype)
        rows = slice(top, top + len(ids))
        labels[inner][rows] = ids
        if probabilities:
            if shares is None:
                shares = _background(len(band), box)
            shares[(slice(None), *inner)][:, rows] = softmax(band)
    if labels is None:
        raise DataError("the image has no pixel", cure="remove the file", where=sample.id)
    return Prediction(sample.id, labels, box.grid, shares)


def _background(classes: int, box: Placement) -> np.ndarray:
    """Probabilities ``(K, *S)`` that are background everywhere."""
    shares = np.zeros((classes, *box.shape), np.float32)
    shares[0] = 1
    return shares


def not_finite(name: str) -> DataError:
    """The error for an answer of the network that is no number.

    Args:
        name: The image's name.
    """
    return DataError(
        "expected finite logits from the network, got NaN or infinity",
        cure="look for extreme values in the image; if every image does this, train anew in float32",
        where=name,
    )


def resampled_rows(
    bands: Iterable[Rows],
    old: tuple[int, ...],
    new: tuple[int, ...],
    *,
    order: int,
    separate_axis: int | None,
) -> Iterator[Rows]:
    """Resample bands of ``(K, *old)`` to bands of ``(K, *new)`` while they come.

    The same linear map as ``spatial.grid.resample``: the axes are independent, so a band is resampled along
    the other axes first, and along the first axis a new row needs two old rows at most.

    Args:
        bands: Bands without a gap.
        old: ``*S`` they come from.
        new: ``*S`` they go to.
        order: 0 or 1; a higher order counts as 1.
        separate_axis: Axis resampled with order 0, None when none is.
    """
    order = min(order, 1)
    low, share = _neighbours(old[0], new[0], 0 if separate_axis == 0 else order)
    held: np.ndarray | None = None
    done = 0
    for top, band in _thin(bands, old, new):
        inner = band
        if band.shape[2:] != new[1:]:
            inner = resample(band, (band.shape[1], *new[1:]), order=order, separate_axis=separate_axis)
        first = top if held is None else top - held.shape[1]
        rows = inner if held is None else np.concatenate([held, inner], axis=1)
        last = first + rows.shape[1] - 1
        ready = len(low) if last == old[0] - 1 else int(np.searchsorted(low, last, side="left"))
        if ready > done:
            yield done, _blend(rows, low[done:ready] - first, share[done:ready])
            done = ready
        if done < len(low):
            held = rows[:, max(0, min(int(low[done]), last) - first) :].copy()


def _neighbours(old: int, new: int, order: int) -> tuple[np.ndarray, np.ndarray]:
    """For each new row: the old row at or before it, and the share of the next (half-pixel centres)."""
    at = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    if order == 0:
        return np.floor(at + 0.5).astype(np.intp), np.zeros(new, np.float32)
    low = np.floor(at).astype(np.intp)
    return low, (at - low).astype(np.float32)


def _blend(rows: np.ndarray, low: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Order-1 mixtures of neighbouring rows of ``(K, rows, *rest)``."""
    if not share.any():
        return rows[:, low]
    high = np.minimum(low + 1, rows.shape[1] - 1)
    part = share.reshape(-1, *(1,) * (rows.ndim - 2))
    result = rows[:, low]
    result += part * (rows[:, high] - result)
    return result


def _thin(bands: Iterable[Rows], old: tuple[int, ...], new: tuple[int, ...]) -> Iterator[Rows]:
    """Cut bands so that none becomes larger than a fixed amount of memory after resampling."""
    for top, band in bands:
        row = len(band) * math.prod(map(max, old[1:], new[1:])) * -(-new[0] // old[0])
        step = max(1, _BAND_NUMBERS // max(1, row))
        for start in range(0, band.shape[1], step):
            yield top + start, band[:, start : start + step]
