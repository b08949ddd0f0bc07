"""RTSTRUCT: outlines in millimetres on the slices of a series, as a label on the grid of that series."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unetkit.data.formats.checks import TRUNCATED
from unetkit.data.formats.dicom_files import CONTOURS, read_tags, read_value
from unetkit.data.formats.world import steps_of, swap_lps
from unetkit.errors import DataError
from unetkit.records.case import Grid
from unetkit.spatial.polygons import fill_polygons

_REGIONS = ("StructureSetROISequence", "ROIContourSequence", "RTROIObservationsSequence")
_BODY = "EXTERNAL"
_NO_AREA = ("POINT", "OPEN_PLANAR", "OPEN_NONPLANAR")
_SLICE_TOLERANCE = 0.1
"""How far, in slices, a contour may lie beside the slice that it was drawn on."""

_DIGITS = 3
"""Digits of a pixel that count: mm come as decimals, and what was drawn through a centre must stay there."""

NOTE = "it holds outlines: they were filled on the grid of its image, pixel centres inside count (even–odd)"


@dataclass(frozen=True)
class Region:
    """One region of interest.

    Args:
        number: Its ROI number, which is its value in a label.
        name: As it was named; names differ from site to site.
        kind: Its interpreted type, such as ``ORGAN``, ``GTV`` or ``EXTERNAL``; may be empty.
        rings: Closed outlines, each ``(n, 3)`` RAS mm.
    """

    number: int
    name: str
    kind: str
    rings: tuple[np.ndarray, ...]


def holds_contours(path: Path) -> bool:
    """Whether a DICOM file is an RTSTRUCT.

    Raises:
        DataError: The file is damaged.
    """
    header = read_tags(path, ("SOPClassUID",))
    return read_value(path, "SOPClassUID", lambda: str(header.get("SOPClassUID", ""))) == CONTOURS


def read_regions(path: Path) -> tuple[Region, ...]:
    """The regions of an RTSTRUCT that have an area.

    Points and open lines have none. The outline of the body (type EXTERNAL) surrounds all others and is left
    out wherever there is another region.

    Args:
        path: The file.

    Raises:
        DataError: It is damaged, or no outline is closed.
    """
    header = read_tags(path, _REGIONS)
    missing = next((name for name in _REGIONS if name not in header), None)
    if missing is not None:  # a file that is cut between two of them looks whole
        raise DataError(
            f"this RTSTRUCT is truncated, or not complete: it has no {missing}", cure=TRUNCATED, where=path
        )
    found = read_value(path, "its regions", lambda: tuple(_regions(header)))
    closed = tuple(region for region in found if region.rings)
    if not closed:
        raise DataError("this RTSTRUCT holds no closed outline", cure="export the contours again", where=path)
    return tuple(region for region in closed if region.kind != _BODY) or closed


def referenced_series(path: Path) -> frozenset[str]:
    """The series that an RTSTRUCT was drawn on, as far as it says so.

    Args:
        path: The file.

    Raises:
        DataError: It is damaged.
    """
    header = read_tags(path, ("ReferencedFrameOfReferenceSequence",))
    return frozenset(read_value(path, "its references", lambda: tuple(_series(header))))


def lay_regions(regions: Sequence[Region], shape: tuple[int, ...], grid: Grid, *, where: Path) -> np.ndarray:
    """Fill the outlines of regions on the grid of their image.

    Args:
        regions: As read.
        shape: ``(slices, rows, columns)`` of the image.
        grid: Where the image lies.
        where: The RTSTRUCT, for errors.

    Returns:
        ROI numbers ``(*S)``, 0 where there is none.

    Raises:
        DataError: The image has no place in the body, an outline does not lie in one of its slices, or two
            regions overlap.
    """
    if len(shape) < 3 or not grid.placed:
        raise DataError(
            "outlines in mm need an image of several slices that says where it lies",
            cure="name the whole series as the image",
            where=where,
        )
    labels = np.zeros(shape, np.min_scalar_type(max(region.number for region in regions)))
    for region in regions:
        for place, (window, mask) in fill_region(region, shape, grid, where=where):
            target = labels[place][window]
            both = mask & (target > 0)
            if both.any():
                raise DataError(
                    f"the regions {int(target[both][0])} and {region.number} overlap in {int(both.sum())} "
                    f"pixels of slice {place}",
                    cure="a label has one class per pixel: export the regions apart",
                    where=where,
                )
            target[mask] = region.number
    return labels


def fill_region(
    region: Region, shape: tuple[int, ...], grid: Grid, *, where: Path
) -> Iterator[tuple[int, tuple[tuple[slice, slice], np.ndarray]]]:
    """The pixels of one region, slice by slice.

    Args:
        region: As read.
        shape: ``(slices, rows, columns)`` of the image.
        grid: Where the image lies.
        where: The RTSTRUCT, for errors.

    Yields:
        The slice, and what ``fill_polygons`` says of it.

    Raises:
        DataError: An outline does not lie in a slice of the image.
    """
    into = np.linalg.inv(steps_of(grid))
    by_slice: dict[int, list[np.ndarray]] = {}
    for ring in region.rings:
        places = (ring - np.asarray(grid.origin_mm)) @ into
        heights = places[:, 0]
        at = round(float(heights.mean()))
        if np.abs(heights - at).max() > _SLICE_TOLERANCE or not 0 <= at < shape[0]:
            raise DataError(
                f"an outline of region {region.number} lies at the slices {heights.min():.2f} to "
                f"{heights.max():.2f} of its image, which has the slices 0 to {shape[0] - 1}",
                cure="use the RTSTRUCT of this series; outlines on other planes are not resampled",
                where=where,
            )
        by_slice.setdefault(at, []).append(places[:, 1:].round(_DIGITS))
    for at, rings in sorted(by_slice.items()):
        yield at, fill_polygons(rings, (shape[1], shape[2]))


def _regions(header: Any) -> Iterator[Region]:  # noqa: ANN401 - a pydicom dataset
    kinds = {
        int(each.ReferencedROINumber): str(each.get("RTROIInterpretedType") or "").upper()
        for each in header.get("RTROIObservationsSequence") or ()
    }
    drawn: dict[int, list[np.ndarray]] = {}
    for each in header.get("ROIContourSequence") or ():
        rings = drawn.setdefault(int(each.ReferencedROINumber), [])
        for contour in each.get("ContourSequence") or ():
            if str(contour.get("ContourGeometricType") or "") in _NO_AREA:
                continue
            points = np.array([float(value) for value in contour.ContourData]).reshape(-1, 3)
            if not np.isfinite(points).all() or np.abs(points).max(initial=0) > 1e6:
                raise ValueError("a place in the body")
            if len(points) > 2:
                rings.append(swap_lps(points))
    for each in header.StructureSetROISequence:
        number = int(each.ROINumber)
        if not 0 < number < 2**16:
            raise ValueError("a number that a label can hold")
        yield Region(
            number, str(each.get("ROIName") or ""), kinds.get(number, ""), tuple(drawn.get(number, ()))
        )


def _series(header: Any) -> Iterator[str]:  # noqa: ANN401 - a pydicom dataset
    for frame in header.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            for series in study.get("RTReferencedSeriesSequence") or ():
                yield str(series.SeriesInstanceUID)
