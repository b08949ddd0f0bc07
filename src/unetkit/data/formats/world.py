"""Between the world of a ``Grid`` (RAS, array order) and that of files that count to left and back (LPS)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unetkit.errors import DataError
from unetkit.records.case import Grid

LEAST_STEP_MM = 1e-6
_ANGLE_TOLERANCE = 1e-3

SHEARED = "its axes are sheared (not at right angles): distances in mm are approximate"


def swap_lps(points: np.ndarray) -> np.ndarray:
    """LPS to RAS, or back: the first two coordinates change their sign.

    Args:
        points: ``(..., rank)``, mm.

    Example:
        >>> swap_lps(np.array([1.0, 2.0, 3.0])).tolist()
        [-1.0, -2.0, 3.0]
    """
    signs = np.ones(points.shape[-1])
    signs[:2] = -1
    return points * signs + 0.0  # no -0 in a record


def grid_from_steps(path: Path, steps_mm: np.ndarray, origin_mm: np.ndarray) -> tuple[Grid, tuple[str, ...]]:
    """The grid whose neighbours along each array axis lie ``steps_mm`` apart.

    Args:
        path: The file, for the error.
        steps_mm: ``(rank, rank)``, one row in RAS mm for each axis in array order.
        origin_mm: ``(rank,)`` RAS mm, centre of the first pixel.

    Returns:
        The grid, and what had to be decided.

    Raises:
        DataError: A step is zero or not finite, or the axes lie in one plane.
    """
    lengths = np.linalg.norm(steps_mm, axis=1)
    if not np.isfinite(steps_mm).all() or not np.isfinite(origin_mm).all() or lengths.min() < LEAST_STEP_MM:
        raise DataError(
            f"the steps between its voxels are {[float(f'{v:.4g}') for v in lengths]} mm",
            cure="write the true voxel size into the header",
            where=path,
        )
    turns = steps_mm / lengths[:, None]
    if abs(np.linalg.det(turns)) < _ANGLE_TOLERANCE:
        raise DataError(
            "its axes lie in one plane", cure="write valid directions into the header", where=path
        )
    grid = Grid(  # + 0.0: no -0 in a record
        spacing_mm=tuple(float(v) for v in lengths),
        origin_mm=tuple(float(v) + 0.0 for v in origin_mm),
        direction=tuple(tuple(float(v) + 0.0 for v in row) for row in turns),
    )
    square = np.allclose(turns @ turns.T, np.eye(len(turns)), atol=_ANGLE_TOLERANCE)
    return grid, () if square else (SHEARED,)


def steps_of(grid: Grid) -> np.ndarray:
    """``(rank, rank)``: the step to the next pixel along each array axis, RAS mm, as rows."""
    return np.asarray(grid.direction) * np.asarray(grid.spacing_mm)[:, None]
