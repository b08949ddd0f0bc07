"""Outlines to pixels: one rule for every kind of drawing; neighbours share no pixel and leave no gap."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

Window = tuple[slice, slice]
"""The part of a picture that a drawing covers: rows, columns."""

_MOST_CROSSINGS = 2**22


def fill_polygons(rings: Iterable[np.ndarray], shape: tuple[int, int]) -> tuple[Window, np.ndarray]:
    """The pixels whose centres lie inside an odd number of rings (even–odd rule).

    A ring inside another one is a hole; a ring that touches itself ("keyhole") needs no care. A centre that
    lies exactly on an outline counts as inside where the inside lies to its right or below it, so that
    polygons with a common edge split its pixels between them.

    Args:
        rings: Corners ``(n, 2)`` as (row, column) in pixels, finite; the centre of the first pixel is (0, 0).
            The last corner is joined to the first one.
        shape: Rows and columns of the picture.

    Returns:
        Where the rings lie in the picture, and the mask ``(rows, columns)`` of that window.

    Reference:
        Foley et al., Computer Graphics: Principles and Practice, section 3.6 (scan-line fill, even–odd rule).

    Example:
        >>> square = np.array([(1, 1), (1, 3), (4, 3), (4, 1)])
        >>> window, mask = fill_polygons([square], (5, 6))
        >>> window, int(mask.sum())
        ((slice(1, 4, None), slice(1, 3, None)), 6)
    """
    closed = [np.asarray(ring, np.float64) for ring in rings]
    closed = [ring for ring in closed if len(ring) > 2]
    if not closed:
        return (slice(0, 0), slice(0, 0)), np.zeros((0, 0), bool)
    corners = np.concatenate(closed)
    low, high = corners.min(axis=0), corners.max(axis=0)
    top, left = (_first(value, size) for value, size in zip(low, shape, strict=True))
    bottom, right = (_first(value, size) for value, size in zip(high, shape, strict=True))
    window = (slice(top, bottom), slice(left, right))
    rows, columns = bottom - top, right - left
    if rows < 1 or columns < 1:
        return window, np.zeros((max(rows, 0), max(columns, 0)), bool)
    starts, ends = closed, [np.roll(ring, -1, axis=0) for ring in closed]
    edges = np.stack([np.concatenate(starts), np.concatenate(ends)], axis=1)
    turns = _crossings(edges - (top, left), rows, columns)
    return window, np.bitwise_xor.accumulate(turns, axis=1)[:, :columns].astype(bool)


def trace_polygon(ring: np.ndarray) -> np.ndarray:
    """The pixels that a closed outline runs through, corner to corner in straight lines.

    Args:
        ring: Corners ``(n, 2)`` as (row, column) in pixels.

    Returns:
        ``(m, 2)`` whole rows and columns; some may occur twice.

    Example:
        >>> trace_polygon(np.array([(0, 0), (0, 2)])).tolist()
        [[0, 0], [0, 1], [0, 2], [0, 1]]
    """
    ends = np.roll(ring, -1, axis=0)
    counts = np.maximum(np.ceil(np.abs(ends - ring).max(axis=1)).astype(np.int64), 1)
    which = np.repeat(np.arange(len(ring)), counts)
    share = (np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)) / counts[which]
    return np.rint(ring[which] + (ends - ring)[which] * share[:, None]).astype(np.int64)


def ellipse(centre: tuple[float, float], radii: tuple[float, float], *, corners: int = 256) -> np.ndarray:
    """The outline of an ellipse whose axes are those of the picture.

    Args:
        centre: Row and column.
        radii: Along the rows' and the columns' axis, pixels.
        corners: How many; with 256 the polygon lacks 0.01 % of the area.

    Example:
        >>> ellipse((0, 0), (2, 1), corners=4).round(9).tolist()
        [[0.0, 1.0], [2.0, 0.0], [0.0, -1.0], [-2.0, -0.0]]
    """
    angles = np.arange(corners) * (2 * np.pi / corners)
    return np.stack([np.sin(angles), np.cos(angles)], axis=1) * radii + centre


def rotate(ring: np.ndarray, degrees: float, *, about: tuple[float, float]) -> np.ndarray:
    """An outline turned clockwise, as the picture is seen (rows run down).

    Args:
        ring: Corners ``(n, 2)`` as (row, column).
        degrees: The angle.
        about: Row and column of the point that stays.

    Example:
        >>> rotate(np.array([(0.0, 1.0)]), 90, about=(0, 0)).round(9).tolist()
        [[1.0, 0.0]]
    """
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    return (ring - about) @ np.array([[cosine, -sine], [sine, cosine]]) + about


def _first(value: float, size: int) -> int:
    """The first pixel whose centre is not before a coordinate."""
    return int(np.clip(np.ceil(value), 0, size))


def _crossings(edges: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """``(rows, columns + 1)``: 1 where an odd number of edges lies between a pixel and its left neighbour.

    Args:
        edges: ``(n, 2, 2)``: start and end of each edge as (row, column).
        rows: Of the window.
        columns: Of the window; what lies beyond the last one is counted behind it.
    """
    upwards = edges[:, 0, 0] > edges[:, 1, 0]
    edges[upwards] = edges[upwards, ::-1]  # both neighbours of an edge see it the same way round
    first = np.clip(np.ceil(edges[:, 0, 0]), 0, rows).astype(np.int64)
    counts = np.clip(np.ceil(edges[:, 1, 0]), 0, rows).astype(np.int64) - first
    used = counts > 0
    edges, first, counts = edges[used], first[used], counts[used]
    total = np.zeros(rows * (columns + 1), np.int64)
    for part in np.split(np.arange(len(edges)), _breaks(counts)):
        which = np.repeat(part, counts[part])
        before = np.repeat(np.cumsum(counts[part]) - counts[part], counts[part])
        row = first[which] + np.arange(len(which)) - before
        start, end = edges[which, 0], edges[which, 1]
        slope = (end[:, 1] - start[:, 1]) / (end[:, 0] - start[:, 0])
        column = np.clip(np.ceil(start[:, 1] + (row - start[:, 0]) * slope), 0, columns).astype(np.int64)
        total += np.bincount(row * (columns + 1) + column, minlength=total.size)
    return (total & 1).astype(np.uint8).reshape(rows, columns + 1)


def _breaks(counts: np.ndarray) -> np.ndarray:
    """Where to cut a list of edges so that the rows of each part fit into memory."""
    block = np.cumsum(counts) // _MOST_CROSSINGS
    return np.flatnonzero(np.diff(block)) + 1
