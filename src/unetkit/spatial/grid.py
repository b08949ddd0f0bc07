"""Pixels on a grid: resampled with one linear operator per axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import ndimage

from unetkit.spatial.regions import Box, bounding_box

_ROWS = 64
_REACH = 24
"""Input pixels beyond which a spline's influence is below 1e-13 (it falls by 0.27 a pixel at order 3)."""


def resampled_shape(
    shape: Sequence[int], old_spacing_mm: Sequence[float], new_spacing_mm: Sequence[float]
) -> tuple[int, ...]:
    """Say how many pixels an array has after resampling, rounded half to even and never below 1.

    Args:
        shape: Pixels per axis.
        old_spacing_mm: Spacing now, mm.
        new_spacing_mm: Spacing wanted, mm; 0 for that of now.

    Reference:
        Isensee et al., nnU-Net, Nature Methods 2021 (`compute_new_shape`).

    Example:
        >>> resampled_shape((20, 320, 5), (3.6, 0.6, 1.0), (3.6, 1.2, 2.0))
        (20, 160, 2)
    """
    rows = zip(shape, old_spacing_mm, new_spacing_mm, strict=True)
    return tuple(max(1, round(old / new * length)) if new else length for length, old, new in rows)


def resample(
    array: np.ndarray, shape: Sequence[int], *, order: int, separate_axis: int | None = None
) -> np.ndarray:
    """Resample every channel to ``shape``; pixel edges stay where they are, the outermost values go on.

    Equal to ``scipy.ndimage.zoom(channel, …, mode="nearest", grid_mode=True)``, to which it owes its
    weights; but an axis is one banded matrix product, which is many times faster than a spline per pixel.

    Args:
        array: ``(C, *S)`` numbers.
        shape: The new ``*S``.
        order: Spline order, 0 to 5.
        separate_axis: Spatial axis resampled with order 0 whatever ``order`` is.

    Returns:
        ``(C, *shape)`` float32.

    Example:
        >>> resample(np.array([[0.0, 1.0, 2.0, 3.0]]), (2,), order=1).tolist()
        [[0.5, 2.5]]
    """
    result = np.empty((array.shape[0], *shape), np.float32)
    for channel, into in zip(array, result, strict=True):
        into[...] = _resample_channel(channel, tuple(shape), order, separate_axis)
    return result


def resample_label(
    label: np.ndarray, shape: Sequence[int], *, order: int = 1, separate_axis: int | None = None
) -> np.ndarray:
    """Resample class ids: every class as a 0/1 image, the strongest wins, the lowest id on a tie.

    One class is held at a time, so memory does not grow with the number of classes.

    Args:
        label: ``(*S)`` unsigned ids.
        shape: The new ``*S``.
        order: Spline order of the 0/1 images.
        separate_axis: Spatial axis resampled with order 0 whatever ``order`` is.

    Returns:
        ``(*shape)`` ids of the same type.

    Example:
        >>> resample_label(np.array([0, 0, 7, 7], np.uint8), (8,)).tolist()
        [0, 0, 0, 0, 7, 7, 7, 7]
    """
    target = tuple(shape)
    if target == label.shape:
        return label.copy()
    present = np.flatnonzero(np.bincount(label.reshape(-1)))
    result = np.full(target, present[0] if len(present) else 0, label.dtype)
    if len(present) < 2:
        return result
    best = _resample_channel(label == present[0], target, order, separate_axis)
    for value in present[1:]:
        share = _resample_channel(label == value, target, order, separate_axis)
        wins = share > best
        result[wins] = value
        np.maximum(best, share, out=best)
    return result


def nonzero_box(pixels: np.ndarray) -> Box:
    """Find the smallest box around what is not zero in any channel; the whole array when all is zero.

    Args:
        pixels: ``(C, *S)``.

    Returns:
        Start and stop per spatial axis, in pixels.

    Example:
        >>> nonzero_box(np.array([[[0, 0, 0], [0, 5, 6]]]))
        ((1, 2), (1, 3))
    """
    some = np.zeros(pixels.shape[1:], bool)
    for channel in pixels:
        some |= channel != 0
    return bounding_box(some) or tuple((0, length) for length in some.shape)


def mirrors_edges(rank: int) -> bool:
    """Whether a patch beyond an image's edges goes on mirrored (pictures) or with zeros (volumes).

    A picture is a cut-out of a surface that goes on; around a volume there is air.

    Args:
        rank: Spatial axes.

    Example:
        >>> mirrors_edges(2), mirrors_edges(3)
        (True, False)
    """
    return rank == 2


def spline_matrix(coordinates: np.ndarray, length: int, *, order: int, exact: bool = True) -> np.ndarray:
    """Weights with which each of ``length`` values on a line enters the spline at each coordinate.

    Args:
        coordinates: ``(n,)`` positions; 0 is the first value's centre; outside, the outermost value goes on.
        length: Values on the line.
        order: Spline order.
        exact: Whether the spline passes through the values; False: they are control points, which is
            smoother and never leaves their range.

    Returns:
        ``(n, length)`` float64.

    Example:
        >>> spline_matrix(np.array([0.0, 0.5]), 2, order=1).tolist()
        [[1.0, 0.0], [0.5, 0.5]]
    """
    columns = [
        ndimage.map_coordinates(unit, coordinates[None], order=order, mode="nearest", prefilter=exact)
        for unit in np.eye(length)
    ]
    return np.stack(columns, axis=1)


def _resample_channel(
    channel: np.ndarray, shape: tuple[int, ...], order: int, separate_axis: int | None
) -> np.ndarray:
    """One channel ``(*S)`` to ``shape``, the axes that shrink most first, which leaves least to do."""
    result = np.ascontiguousarray(channel, np.float32)
    axes = sorted(range(len(shape)), key=lambda axis: shape[axis] / channel.shape[axis])
    for axis in axes:
        if shape[axis] != channel.shape[axis]:
            result = _resample_axis(result, axis, shape[axis], 0 if axis == separate_axis else order)
    return result


def _resample_axis(array: np.ndarray, axis: int, new: int, order: int) -> np.ndarray:
    old = array.shape[axis]
    before, after = math.prod(array.shape[:axis]), math.prod(array.shape[axis + 1 :])
    lines = array.reshape(before, old, after)
    result = np.empty((before, new, after), np.float32)
    for first, low, weights in _operator(old, new, order):
        rows, columns = weights.shape
        source = lines[:, low : low + columns]
        into = result[:, first : first + rows]
        if after == 1:
            np.matmul(source[..., 0], weights.T, out=into[..., 0])
        else:
            np.matmul(weights, source, out=into)
    return result.reshape(*array.shape[:axis], new, *array.shape[axis + 1 :])


@lru_cache(maxsize=32)
def _operator(old: int, new: int, order: int) -> tuple[tuple[int, int, np.ndarray], ...]:
    """The resampling of one axis: blocks of ``(first output row, first input column, weights)``.

    A block knows only the inputs near it: its cost and its memory do not grow with the axis.
    """
    coordinates = (np.arange(new) + 0.5) * (old / new) - 0.5
    rows = max(1, math.ceil(_ROWS * min(1.0, new / old)))
    blocks: list[tuple[int, int, np.ndarray]] = []
    for first in range(0, new, rows):
        wanted = coordinates[first : first + rows]
        low = max(0, math.floor(wanted[0]) - _REACH)
        high = min(old, math.ceil(wanted[-1]) + _REACH + 1)
        weights = spline_matrix(wanted - low, high - low, order=order)
        blocks.append((first, low, weights.astype(np.float32)))
    return tuple(blocks)
