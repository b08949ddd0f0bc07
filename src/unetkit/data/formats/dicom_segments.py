"""DICOM SEG: labels as segments with a coded meaning, bound to the images they were drawn on; out and in."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unetkit.data.formats.checks import smallest_unsigned
from unetkit.data.formats.dicom_files import INSTALL, DicomFile, Plane, read_dataset
from unetkit.data.formats.dicom_stack import SAME_PLACE_MM, stack_planes
from unetkit.data.formats.world import steps_of, swap_lps
from unetkit.errors import DataError, MissingPackageError
from unetkit.records.case import Grid
from unetkit.records.files import atomic

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_PIXEL_TOLERANCE = 0.05
_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
"""Type 2 of the patient and study modules: must be there, may be empty."""

_SYNONYMS = {"Tumor": "Neoplasm", "Tumour": "Neoplasm", "Cancer": "Neoplasm"}
_LONGEST_LABEL = 64
_SERIES_NUMBER = 900
_UTF_8 = "ISO_IR 192"


def lay_segments(
    file: DicomFile, stored: np.ndarray, *, onto: tuple[tuple[int, ...], Grid] | None = None
) -> tuple[np.ndarray, Grid]:
    """The frames of a segmentation as one label.

    Args:
        file: Header of the SEG.
        stored: ``(frames, rows, columns)``: 0 and 1, or segment numbers (LABELMAP).
        onto: Shape and grid of the image; None to take the extent from the frames themselves.

    Returns:
        Segment numbers ``(*S)``, 0 where there is none, and their grid.

    Raises:
        DataError: Segments overlap or are fractions, frames do not lie on the grid, or (without ``onto``)
            the frames between objects were left out.
    """
    if file.segmentation not in ("BINARY", "LABELMAP"):
        raise DataError(
            f"a segmentation of the type {file.segmentation or 'unknown'} holds no class per pixel",
            cure="export it as BINARY or LABELMAP",
            where=file.path,
        )
    numbers = [plane.segment or 0 for plane in file.planes]
    if file.segmentation == "BINARY" and min(numbers) < 1:
        raise DataError("a frame names no segment", cure="export it again", where=file.path)
    places, shape, grid = _own_places(file) if onto is None else _places_on(file, *onto)
    top = max(max(numbers), int(stored.max()) if file.segmentation == "LABELMAP" else 0)
    slices = np.zeros(
        (max(places) + 1 if len(shape) == 2 else shape[0], *shape[-2:]), np.min_scalar_type(top)
    )
    turned = grid.rank > 2 and onto is not None
    for plane, number, place, frame in zip(file.planes, numbers, places, stored, strict=True):
        values = frame * np.asarray(number, slices.dtype) if file.segmentation == "BINARY" else frame
        values = _flipped(values, plane, grid) if turned else values
        target = slices[place]
        both = (target > 0) & (values > 0)
        if both.any():
            raise DataError(
                f"segments {int(target[both][0])} and {int(values[both][0])} overlap in {int(both.sum())} "
                "pixels",
                cure="a label has one class per pixel: export the segments apart, or decide which one counts",
                where=file.path,
            )
        np.copyto(target, values.astype(slices.dtype), where=values > 0)
    return (slices if grid.rank > 2 else slices[0]), grid


def segment_extent(file: DicomFile) -> tuple[tuple[int, ...], Grid, tuple[str, ...]]:
    """What the frames of a segmentation cover: shape, grid and a note where slices were left out.

    Args:
        file: Header of the SEG.
    """
    try:
        _, shape, grid = _own_places(file)
    except DataError:
        count = len(_distinct(file))
        shape = (count, file.planes[0].rows, file.planes[0].columns)
        return shape, Grid.plain(3), ("it holds the slices with objects only: its image tells the others",)
    return shape, grid, ()


def _distinct(file: DicomFile) -> list[Plane]:
    """One frame of each place."""
    found: dict[tuple[int, ...], Plane] = {}
    for plane in file.planes:
        found.setdefault(_place_key(plane), plane)
    return list(found.values())


def _place_key(plane: Plane) -> tuple[int, ...]:
    return () if plane.position is None else tuple(round(v / SAME_PLACE_MM) for v in plane.position)


def _own_places(file: DicomFile) -> tuple[list[int], tuple[int, ...], Grid]:
    """Slice of each frame, shape and grid from the frames alone."""
    planes = file.planes
    first = planes[0]
    distinct = _distinct(file)
    if len(distinct) == 1:
        grid = Grid.plain(2)
        if first.spacing_mm is not None:
            grid = Grid(first.spacing_mm, grid.origin_mm, grid.direction, calibrated=True, placed=False)
        return [0] * len(planes), (first.rows, first.columns), grid
    try:
        stack = stack_planes(distinct, file.path)
    except DataError as wrong:
        raise DataError(
            f"this segmentation does not hold every slice of its image ({wrong.problem})",
            cure="use it as the label of its image, or export it with its empty slices",
            where=file.path,
        ) from None
    order = {_place_key(plane): at for at, plane in enumerate(stack.planes)}
    places = [order[_place_key(plane)] for plane in planes]
    return places, (len(stack.planes), first.rows, first.columns), stack.grid


def _places_on(
    file: DicomFile, shape: tuple[int, ...], grid: Grid
) -> tuple[list[int], tuple[int, ...], Grid]:
    """Slice of each frame on the grid of an image."""
    first = file.planes[0]
    if (first.rows, first.columns) != shape[-2:]:
        raise _elsewhere(file, f"{first.rows} × {first.columns} pixels, the image has {shape[-2:]}")
    if grid.rank == 2:
        if len(_distinct(file)) > 1:
            raise _elsewhere(file, "several slices, the image is one picture")
        return [0] * len(file.planes), shape, grid
    into = np.linalg.inv(steps_of(grid))
    places: list[int] = []
    for plane in file.planes:
        if plane.position is None:
            raise _elsewhere(file, "frames without a position")
        corners = np.array([(0, 0), (plane.rows - 1, 0), (0, plane.columns - 1)])
        found = np.array([_place(plane, grid, *map(int, corner)) for corner in corners])
        found = (found - np.asarray(grid.origin_mm)) @ into
        at = round(float(found[0, 0]))
        expected = np.column_stack([np.full(3, at), corners])
        if np.abs(found - expected).max() > _PIXEL_TOLERANCE or not 0 <= at < shape[0]:
            raise _elsewhere(file, f"a frame at {[round(float(v), 2) for v in found[0]]} pixels of the image")
        places.append(at)
    return places, shape, grid


def _place(plane: Plane, grid: Grid, row: int, column: int) -> np.ndarray:
    """RAS mm of a pixel, counted in the image's own order of rows and columns."""
    place = np.asarray(plane.position, dtype=np.float64)
    spacing = plane.spacing_mm or (0.0, 0.0)
    for axis, turn, count, step, at in (
        (1, plane.down, plane.rows, spacing[0], row),
        (2, plane.across, plane.columns, spacing[1], column),
    ):
        if turn is not None:
            place = place + np.asarray(turn) * (count - 1 - at if _against(turn, grid, axis) else at) * step
    return swap_lps(place)


def _against(turn: tuple[float, ...] | None, grid: Grid, axis: int) -> bool:
    return turn is not None and float(swap_lps(np.asarray(turn)) @ np.asarray(grid.direction[axis])) < 0


def _flipped(values: np.ndarray, plane: Plane, grid: Grid) -> np.ndarray:
    """A frame in the image's own order of rows and columns."""
    if _against(plane.down, grid, 1):
        values = values[::-1]
    return values[:, ::-1] if _against(plane.across, grid, 2) else values


def _elsewhere(file: DicomFile, got: str) -> DataError:
    return DataError(
        f"this segmentation does not lie on the grid of its image: {got}",
        cure="use the segmentation of this series, or resample it onto the image",
        where=file.path,
    )


def write_segmentation(
    path: Path, labels: np.ndarray, *, planes: Sequence[Plane], names: Sequence[str]
) -> None:
    """Write labels as a DICOM SEG (BINARY) that refers to the images they were drawn on.

    Every slice is written for every segment, empty ones too, so that the file alone tells its full extent.
    Patient and study are those of the images, as the standard demands; nothing else of them is copied.

    Args:
        path: The file to write.
        labels: ``(slices, rows, columns)`` or ``(rows, columns)`` class ids; n is segment n.
        planes: The planes of the image in the order of ``labels``.
        names: Names of the classes 1, 2, ….

    Raises:
        DataError: The labels do not fit the planes, or the images lack what a reference needs.
        MissingPackageError: highdicom is not installed.
    """
    highdicom = _highdicom()
    values = smallest_unsigned(labels, path)
    values = values[None] if values.ndim == 2 else values
    if values.shape != (len(planes), planes[0].rows, planes[0].columns) or values.max() > len(names):
        raise DataError(
            f"labels of shape {values.shape} with values to {int(values.max())} do not fit "
            f"{len(planes)} planes of {planes[0].rows} × {planes[0].columns} and {len(names)} classes",
            cure="write the labels that were predicted from this image",
            where=path,
        )
    sources = _sources(planes)
    if len(sources) == 1:  # highdicom takes the frames of one file in the file's own order
        values = values[np.argsort([plane.index for plane in planes])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote values, and a value may be a name
        try:
            made = highdicom.seg.Segmentation(
                source_images=sources,
                pixel_array=values,
                segmentation_type="BINARY",
                segment_descriptions=[_description(n, name) for n, name in enumerate(names, start=1)],
                series_instance_uid=highdicom.UID(),
                series_number=_SERIES_NUMBER,
                sop_instance_uid=highdicom.UID(),
                instance_number=1,
                manufacturer="unetkit",
                manufacturer_model_name="unetkit",
                software_versions=version("unetkit"),
                device_serial_number="0",
                content_label="SEGMENTATION",
                series_description="Segmentation by unetkit",
                omit_empty_frames=False,
            )
        except (AttributeError, KeyError, TypeError, ValueError) as wrong:
            raise DataError(
                f"these images lack what a DICOM segmentation must refer to ({type(wrong).__name__})",
                cure="write .nii.gz instead, or export the series with its study and series attributes",
                where=planes[0].path,
            ) from None
    made.SpecificCharacterSet = _UTF_8  # a class name has any letters; those of the patient come along
    if planes[0].position is None:  # where nothing places it in the body, the standard asks for this
        made.PatientOrientation = sources[0].get("PatientOrientation")
    with atomic(path) as file:
        made.save_as(file, enforce_file_format=True)


def _highdicom() -> Any:  # noqa: ANN401 - a module
    try:
        import highdicom
    except ModuleNotFoundError as missing:
        raise MissingPackageError(
            f"writing a DICOM segmentation needs the package '{missing.name}', which is not installed",
            cure=INSTALL,
        ) from missing
    return highdicom


def _sources(planes: Sequence[Plane]) -> list[Dataset]:
    """The headers of the images in order, with empty values where an anonymiser took an element out.

    Slices of no stated thickness, which a segmentation must have, are as thick as they lie apart.
    """
    found: list[Dataset] = []
    apart = None
    if len(planes) > 1 and planes[0].position is not None and planes[1].position is not None:
        apart = float(np.linalg.norm(np.subtract(planes[1].position, planes[0].position)))
    for path in dict.fromkeys(plane.path for plane in planes):
        header = read_dataset(path)
        for name in _EMPTY:
            if name not in header:
                setattr(header, name, "")
        if apart is not None and not header.get("SliceThickness"):
            header.SliceThickness = f"{apart:.9g}"
        found.append(header)
    return found


def _description(number: int, name: str) -> Any:  # noqa: ANN401 - a highdicom object
    highdicom = _highdicom()
    from pydicom.sr.codedict import codes

    category, kind = segment_codes(name)
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=re.sub(r"[\\\x00-\x1f]", " ", name)[:_LONGEST_LABEL].strip() or f"class {number}",
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="unetkit", version=version("unetkit"), family=codes.DCM.ArtificialIntelligence
        ),
    )


def segment_codes(name: str) -> tuple[Any, Any]:
    """Coded category and type of a class, found by its name in DICOM's own lists (CID 7151 and 7159).

    Args:
        name: A class name such as ``left kidney``; what is in no list counts as tissue.

    Returns:
        Category and type.

    Example:
        >>> [code.meaning for code in segment_codes("liver tumour")]
        ['Morphologically Abnormal Structure', 'Neoplasm']
    """
    from pydicom.sr.codedict import codes

    words = [word.capitalize() for word in re.findall(r"[a-zA-Z]+", name)]
    for wanted in ("".join(words), words[-1] if words else ""):
        keyword = _SYNONYMS.get(wanted, wanted)
        if keyword and keyword in dir(codes.cid7159):
            return codes.SCT.MorphologicallyAbnormalStructure, getattr(codes.cid7159, keyword)
        if keyword and keyword in dir(codes.cid7151):
            return codes.SCT.AnatomicalStructure, getattr(codes.cid7151, keyword)
    return codes.SCT.Tissue, codes.SCT.Tissue
