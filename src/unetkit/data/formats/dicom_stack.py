"""Planes to a volume: sorted along their normal, and refused where they do not make one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unetkit.data.formats.dicom_files import Plane
from unetkit.data.formats.world import grid_from_steps, swap_lps
from unetkit.errors import DataError
from unetkit.records.case import Grid

SAME_PLACE_MM = 1e-3
_ANGLE_TOLERANCE = 1e-3
_STEP_TOLERANCE = 0.01
_LARGEST_DRIFT_MM = 0.05
_DRIFT_SHARE = 1e-3


@dataclass(frozen=True)
class Stack:
    """Planes that make a volume.

    Args:
        planes: Sorted; the slice axis of ``grid`` follows this order.
        grid: Where the volume lies.
        notes: What had to be decided.
    """

    planes: tuple[Plane, ...]
    grid: Grid
    notes: tuple[str, ...] = ()


def stack_planes(planes: Sequence[Plane], where: Path) -> Stack:
    """Sort planes by position along their common normal, and check that they make one volume.

    The distance between slices is measured from positions; the tag SliceThickness is another thing.

    Args:
        planes: In any order.
        where: The file or folder, for errors.

    Raises:
        DataError: A place is missing; sizes, spacings or orientations differ; two planes lie at one place;
            slices are missing, unevenly spaced or shifted sideways (gantry tilt).

    Example:
        >>> x, y = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
        >>> planes = [Plane(Path(f"{z}"), 0, 2, 2, (0.0, 0.0, z), x, y, (1.0, 1.0)) for z in (5.0, 2.0)]
        >>> stack = stack_planes(planes, Path("series"))
        >>> [plane.path.name for plane in stack.planes], stack.grid.spacing_mm
        (['2.0', '5.0'], (3.0, 1.0, 1.0))
    """
    across, down, normal = _axes(planes, where)
    if len(planes) < 2:
        raise DataError(
            "expected at least 2 slices, got 1",
            cure="name the file itself to use it as one picture, or add the other slices",
            where=where,
        )
    positions = np.array([plane.position for plane in planes], dtype=np.float64)
    heights = positions @ normal
    order = np.argsort(heights, kind="stable")
    ordered = tuple(planes[index] for index in order)
    heights, positions = heights[order], positions[order]
    step = _step(ordered, heights, where)
    _refuse_tilt(positions, normal, step, where)
    along = (positions[-1] - positions[0]) / (len(planes) - 1)
    between_rows, between_columns = planes[0].spacing_mm or (1.0, 1.0)
    steps = np.array([along, down * between_rows, across * between_columns])
    grid, _ = grid_from_steps(where, swap_lps(steps), swap_lps(positions[0]))
    uneven = float(np.abs(heights - np.linspace(heights[0], heights[-1], len(heights))).max())
    notes = (
        (f"slice positions are uneven by up to {uneven:.3f} mm: the mean step was taken",)
        if uneven > SAME_PLACE_MM
        else ()
    )
    return Stack(ordered, grid, notes)


def _axes(planes: Sequence[Plane], where: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors across, down and along the normal, which every plane shares."""
    first = planes[0]
    for plane in planes:
        if plane.position is None or plane.across is None or plane.down is None or plane.spacing_mm is None:
            raise DataError(
                "this plane does not say where it lies (position, orientation or pixel spacing is missing)",
                cure="take it out of the folder, or predict it as a picture by naming the file",
                where=_name(plane, where),
            )
        if (plane.rows, plane.columns) != (first.rows, first.columns):
            _differ(plane, first, f"{plane.rows} × {plane.columns} pixels", f"{first.rows} × {first.columns}")
        if not np.allclose(plane.spacing_mm, first.spacing_mm or (), rtol=0, atol=SAME_PLACE_MM):
            _differ(plane, first, f"a pixel spacing of {plane.spacing_mm} mm", f"{first.spacing_mm}")
        turned = np.abs(
            np.subtract((*plane.across, *plane.down), (*(first.across or ()), *(first.down or ())))
        )
        if turned.max() > _ANGLE_TOLERANCE:
            _differ(plane, first, "another orientation", "the series has one only")
    across, down = (np.asarray(axis, dtype=np.float64) for axis in (first.across, first.down))
    gram = np.array([across @ across - 1, down @ down - 1, across @ down])
    if np.abs(gram).max() > _ANGLE_TOLERANCE:
        raise DataError(
            "its orientation is no pair of unit vectors at right angles",
            cure="correct ImageOrientationPatient, or export the series again",
            where=_name(first, where),
        )
    return across, down, np.cross(across, down)


def _differ(plane: Plane, first: Plane, got: str, expected: str) -> None:
    raise DataError(
        f"the slices of one series must be alike: this one has {got}, {first.path.name} {expected}",
        cure="put each series (and the localizer) into a folder of its own",
        where=plane.path,
    )


def _step(planes: Sequence[Plane], heights: np.ndarray, where: Path) -> float:
    """The distance between neighbours, mm."""
    steps = np.diff(heights)
    double = np.flatnonzero(steps < SAME_PLACE_MM)
    if double.size:
        one, other = planes[double[0]], planes[double[0] + 1]
        raise DataError(
            f"two slices lie at one place: {_label(one)} and {_label(other)} ({double.size} such pairs)",
            cure="remove the copies; of several phases or echoes put each into a folder of its own",
            where=where,
        )
    step = float(np.median(steps))
    odd = np.flatnonzero(np.abs(steps - step) > max(_STEP_TOLERANCE * step, SAME_PLACE_MM))
    if odd.size:
        at = int(odd[0])
        missing = round(steps[at] / step) - 1
        between = f"between {_label(planes[at])} and {_label(planes[at + 1])}"
        whole = missing > 0 and abs(steps[at] / step - missing - 1) < 0.1
        problem = (
            f"{missing} slice(s) are missing {between}" if whole else f"slices are unevenly spaced {between}"
        )
        raise DataError(
            f"{problem}: expected {step:.4g} mm, got {steps[at]:.4g} mm ({odd.size} such places)",
            cure="copy the missing slices from their source; nothing is made up in between",
            where=where,
        )
    return step


def _refuse_tilt(positions: np.ndarray, normal: np.ndarray, step: float, where: Path) -> None:
    """A gantry tilt shifts each slice sideways: such a volume has no axes at right angles."""
    way = positions[-1] - positions[0]
    height = float(way @ normal)
    sideways = positions - positions[0] - np.outer((positions - positions[0]) @ normal, normal)
    drift = np.linalg.norm(sideways, axis=1)
    if drift.max() > max(_LARGEST_DRIFT_MM, _DRIFT_SHARE * height):
        degrees = math.degrees(math.atan2(float(drift[-1]), height))
        raise DataError(
            f"its slices are shifted sideways, {degrees:.1f} degrees over the series (gantry tilt, or "
            f"several stacks): expected them above one another every {step:.4g} mm",
            cure="resample the series at right angles first (dcm2niix does it) and use the .nii.gz",
            where=where,
        )


def _label(plane: Plane) -> str:
    return f"{plane.path.name}" + (f" (frame {plane.index + 1})" if plane.index else "")


def _name(plane: Plane, where: Path) -> Path:
    return plane.path if plane.path.is_file() else where
