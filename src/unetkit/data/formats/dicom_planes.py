"""What the header of a DICOM file says of each plane: its size, where it lies, how its values are scaled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Plane:
    """One plane of pixels and where it lies, in DICOM's own world (LPS, mm).

    Args:
        path: Its file.
        index: Its number in the file, from 0.
        rows: Pixels down.
        columns: Pixels across.
        position: Centre of the first pixel; None where it is not stated.
        across: Unit vector to the next column; None where it is not stated.
        down: Unit vector to the next row.
        spacing_mm: Between rows, between columns; None where it is not stated.
        slope: Stored value to real value.
        intercept: The same, added.
        segment: In a segmentation: the number of the segment drawn here.
        instance: SOPInstanceUID of its file, by which annotations refer to it.
    """

    path: Path
    index: int
    rows: int
    columns: int
    position: tuple[float, ...] | None
    across: tuple[float, ...] | None
    down: tuple[float, ...] | None
    spacing_mm: tuple[float, ...] | None
    slope: float = 1.0
    intercept: float = 0.0
    segment: int | None = None
    instance: str = ""


def planes_of(path: Path, header: Any) -> Iterator[Plane]:  # noqa: ANN401 - a pydicom dataset
    """The planes of a header, from its functional groups where it has some.

    Args:
        path: The file.
        header: As pydicom reads it.

    Raises:
        ValueError: What it states is no place, or not as many places as frames; the error quotes nothing.
    """
    frames = int(header.get("NumberOfFrames") or 1)
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    each = header.get("PerFrameFunctionalGroupsSequence") or [None] * frames
    if len(each) != frames or frames < 1:
        raise ValueError("a group for each frame")
    for index, group in enumerate(each):

        def look(sequence: str, name: str, group: Any = group) -> Any:  # noqa: ANN401 - any value
            for place in (group, shared):
                items = None if place is None else place.get(sequence)
                if items and name in items[0]:
                    return items[0].get(name)
            return None if frames > 1 else header.get(name)

        turn = _floats(look("PlaneOrientationSequence", "ImageOrientationPatient"), 6)
        slope = look("PixelValueTransformationSequence", "RescaleSlope")
        intercept = look("PixelValueTransformationSequence", "RescaleIntercept")
        segment = look("SegmentIdentificationSequence", "ReferencedSegmentNumber")
        yield Plane(
            path=path,
            index=index,
            rows=int(header.Rows),
            columns=int(header.Columns),
            position=_floats(look("PlanePositionSequence", "ImagePositionPatient"), 3),
            across=None if turn is None else turn[:3],
            down=None if turn is None else turn[3:],
            spacing_mm=_floats(look("PixelMeasuresSequence", "PixelSpacing"), 2),
            slope=_real(header.get("RescaleSlope") if slope is None else slope, 1.0),
            intercept=_real(header.get("RescaleIntercept") if intercept is None else intercept, 0.0),
            segment=None if segment is None else int(segment),
            instance=str(header.get("SOPInstanceUID", "")),
        )


def _floats(value: Any, count: int) -> tuple[float, ...] | None:  # noqa: ANN401 - any value
    if value is None or value == "":
        return None
    numbers = tuple(float(each) for each in value)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise ValueError(f"{count} numbers")
    return numbers


def _real(value: Any, default: float) -> float:  # noqa: ANN401 - any value
    number = default if value is None or value == "" else float(value)
    if not np.isfinite(number):
        raise ValueError("a number")
    return number
