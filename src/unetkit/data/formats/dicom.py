"""DICOM: a folder of slices is one volume, a multi-frame file as well, a file with one frame a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from unetkit.data.formats import Header
from unetkit.data.formats.checks import refuse_claim, whole_numbers
from unetkit.data.formats.dicom_contours import NOTE, holds_contours, lay_regions, read_regions
from unetkit.data.formats.dicom_files import (
    DicomFile,
    Plane,
    names_patient,
    read_header,
    read_headers,
    read_stored,
    read_tags,
    read_value,
)
from unetkit.data.formats.dicom_segments import lay_segments, segment_extent, write_segmentation
from unetkit.data.formats.dicom_stack import Stack, stack_planes
from unetkit.errors import DataError
from unetkit.records.case import Grid

_BESIDE = (".txt", ".csv", ".json", ".xml", ".md", ".html", ".pdf", ".png", ".jpg")
"""Suffixes of what people put beside slices; any other file without DICOM's mark may be a cut slice."""

_DIRECTORY = "DICOMDIR"
_SCANNERS = ("CT", "MR", "PT")
_LOOKED_AT = 4
"""Files of a folder that are asked for their modality: reports may lie among the slices."""
INVERTED = "MONOCHROME1: its values were inverted, so that more is brighter"
_TELLING_NAME = (
    "its name holds the patient's name or number, which would stand in reports and model folders: rename "
    "it, or give it an id in a CSV"
)
KEPT = "MONOCHROME1 with a rescale: its values were kept as the quantities they are"


@dataclass(frozen=True)
class _Image:
    """A picture or a volume, understood: its files, and its planes in order."""

    files: tuple[DicomFile, ...]
    planes: tuple[Plane, ...]
    grid: Grid
    notes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        plane = self.planes[0]
        return (*((len(self.planes),) if self.grid.rank > 2 else ()), plane.rows, plane.columns)

    @property
    def dtype(self) -> np.dtype:
        return _real_dtype(self.files)


class DicomFormat:
    """Series of slices, multi-frame files and pictures; segmentations (SEG) and outlines as labels."""

    def describe(self, path: Path) -> Header:
        """Size, channels, type and geometry from the headers of all slices; see ``Format``.

        Outlines (RTSTRUCT) have no size of their own: their shape is empty.
        """
        if _outlines(path) is not None:
            return Header(1, (), "uint16", Grid.plain(3), notes=(NOTE,))
        files = _files(path)
        if files[0].segmentation:
            shape, grid, notes = segment_extent(files[0])
            return Header(1, shape, "uint8", grid, notes=notes)
        image = _image(path, files)
        lossy = any(file.lossy for file in image.files)
        channels, notes = image.files[0].channels, image.notes
        if names_patient(image.files[0].path, path.name):
            notes += (_TELLING_NAME,)
        return Header(channels, image.shape, image.dtype.name, image.grid, lossy, notes)

    def read(self, path: Path) -> tuple[np.ndarray, Grid]:
        """Pixels ``(C, *S)`` with each slice's own slope and intercept applied."""
        image = _image(path, _files(path))
        plane = image.planes[0]
        count, channels = len(image.planes), image.files[0].channels
        kind = image.dtype
        refuse_claim(path, count * channels * plane.rows * plane.columns * kind.itemsize)
        pixels = np.empty((channels, count, plane.rows, plane.columns), kind)
        places = {(each.path, each.index): place for place, each in enumerate(image.planes)}
        for file in image.files:
            stored = read_stored(file)
            for each in file.planes:
                pixels[:, places[each.path, each.index]] = _real(stored[each.index], each, file, kind)
        return (pixels if image.grid.rank > 2 else pixels[:, 0]), image.grid

    def read_label(self, path: Path) -> tuple[np.ndarray, Grid]:
        """Segment numbers of a SEG, or the stored values of a grey image, ``(*S)``."""
        if _outlines(path) is not None:
            raise DataError(
                "outlines (RTSTRUCT) lie on no grid of their own",
                cure="use them as the label of the series they were drawn on",
                where=path,
            )
        files = _files(path)
        if files[0].segmentation:
            return lay_segments(files[0], read_stored(files[0])[:, 0])
        image = _image(path, files)
        if image.files[0].channels != 1:
            raise DataError(
                "expected one label per pixel, got colours", cure="save the label as a DICOM SEG", where=path
            )
        stored = {file.path: read_stored(file) for file in image.files}
        values = np.stack([stored[plane.path][plane.index][0] for plane in image.planes])
        return whole_numbers(path, values if image.grid.rank > 2 else values[0]), image.grid

    def read_label_on(self, path: Path, shape: tuple[int, ...], grid: Grid) -> tuple[np.ndarray, Grid]:
        """A label laid on the grid of its image: a SEG may leave out slices, outlines have no grid at all.

        Args:
            path: The label.
            shape: ``*S`` of the image.
            grid: Where the image lies.

        Raises:
            DataError: The label does not lie on this grid, or is damaged.
        """
        outlines = _outlines(path)
        if outlines is not None:
            return lay_regions(read_regions(outlines), shape, grid, where=outlines), grid
        files = _files(path)
        if not files[0].segmentation:
            return self.read_label(path)
        return lay_segments(files[0], read_stored(files[0])[:, 0], onto=(shape, grid))

    def write(self, path: Path, labels: np.ndarray, grid: Grid) -> None:
        """Refused: a segmentation refers to the series it was drawn on (``write_segmentation``)."""
        raise DataError(
            "a DICOM segmentation refers to the images it was drawn on, and none was named",
            cure="give them as source=, or write .nii.gz or .nrrd",
            where=path,
        )


def write_labels(path: Path, labels: np.ndarray, *, source: Path, names: Sequence[str]) -> None:
    """Write labels as a DICOM SEG that refers to the image they were drawn on.

    Args:
        path: The file to write.
        labels: ``(*S)`` class ids on the image's own grid; n is segment n.
        source: The image: a folder of slices or a file.
        names: Names of the classes 1, 2, ….

    Raises:
        DataError: The image is refused, or the labels do not fit it.
        MissingPackageError: highdicom is not installed.
    """
    write_segmentation(path, labels, planes=read_planes(source), names=names)


def modality(path: Path) -> str:
    """Which kind of scanner made an image (CT, MR, PT), as its header says.

    Args:
        path: A folder of slices or a file.

    Returns:
        Empty where it says none of these, is in colour, or cannot be read.
    """
    for file in (_slices(path) if path.is_dir() else [path])[:_LOOKED_AT]:
        try:
            header = read_tags(file, ("Modality", "SamplesPerPixel"))
            word = read_value(file, "Modality", lambda header=header: str(header.get("Modality", "")))
        except DataError:
            return ""  # what is damaged is met when its case is read
        if word in _SCANNERS and header.get("SamplesPerPixel", 1) == 1:
            return word
    return ""


def label_names(path: Path) -> dict[int, str]:
    """What a segmentation, or outlines, call the numbers in them.

    Args:
        path: A DICOM label.

    Returns:
        Number to name; empty where it is neither, or cannot be read.
    """
    try:
        outlines = _outlines(path)
        if outlines is not None:
            return {region.number: region.name.strip() for region in read_regions(outlines)}
        file = (_slices(path) or [path])[0] if path.is_dir() else path
        rows = read_tags(file, ("SegmentSequence",)).get("SegmentSequence") or ()
        return read_value(
            file,
            "SegmentSequence",
            lambda: {int(row.SegmentNumber): str(row.get("SegmentLabel") or "").strip() for row in rows},
        )
    except DataError:
        return {}  # what is damaged is met when its case is read


def read_planes(path: Path) -> tuple[Plane, ...]:
    """The planes of an image in the order in which ``DicomFormat.read`` gives them.

    Args:
        path: A folder of slices or a file.

    Raises:
        DataError: The image is refused.
    """
    return _image(path, _files(path)).planes


def _outlines(path: Path) -> Path | None:
    """The RTSTRUCT at a path: the file, or the only file of a folder; None where there is none."""
    files = _slices(path) if path.is_dir() else [path]
    return files[0] if len(files) == 1 and holds_contours(files[0]) else None


def _image(path: Path, files: tuple[DicomFile, ...]) -> _Image:
    """An image from the headers of its files."""
    planes = [plane for file in files for plane in file.planes]
    if not path.is_dir() and len(planes) == 1:
        grid = _flat_grid(planes[0])
        return _Image(files, tuple(planes), grid, _notes(files))
    stack: Stack = stack_planes(planes, path)
    return _Image(files, stack.planes, stack.grid, (*stack.notes, *_notes(files)))


def _files(path: Path) -> tuple[DicomFile, ...]:
    """The image files at a path, all of one series and of one kind."""
    if not path.is_dir():
        return (read_header(path),)
    files = read_headers(_slices(path))
    if not files:
        raise DataError("this folder holds no DICOM image", cure="name the folder of the slices", where=path)
    scans = tuple(file for file in files if not file.dose)
    files = scans or files  # a treatment plan is exported with its dose among the slices
    by_series: dict[str, list[DicomFile]] = {}
    for file in files:
        by_series.setdefault(file.series, []).append(file)
    if len(by_series) > 1:
        listed = "; ".join(f"{len(each)} files such as {each[0].path.name}" for each in by_series.values())
        raise DataError(
            f"this folder holds {len(by_series)} series: {listed[:200]}",
            cure="put each series into a folder of its own",
            where=path,
        )
    odd = next((file for file in files if file.channels != files[0].channels), None)
    if odd is not None:
        raise DataError(
            "the slices of one series must be alike: this one is in colour and others are grey, or the other "
            "way round",
            cure="take it out of the folder",
            where=odd.path,
        )
    if len(files) > 1 and any(file.segmentation for file in files):
        raise DataError(
            f"this folder holds {len(files)} segmentations", cure="name one of the files", where=path
        )
    return files


def _slices(folder: Path) -> list[Path]:
    """The files of a folder that must be DICOM; what is certainly none is left out."""
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        beside = path.suffix.lower() in _BESIDE or path.name.upper() == _DIRECTORY
        if path.is_file() and not path.name.startswith(".") and not beside:
            found.append(path)
    return found


def _flat_grid(plane: Plane) -> Grid:
    """A picture's world is its own plane; spacing of the detector (ImagerPixelSpacing) is not the body's."""
    plain = Grid.plain(2)
    if plane.spacing_mm is None or min(plane.spacing_mm) <= 0:
        return plain
    return replace(plain, spacing_mm=plane.spacing_mm, calibrated=True)


def _notes(files: Sequence[DicomFile]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(KEPT if _scaled(file) else INVERTED for file in files if file.inverted))


def _scaled(file: DicomFile) -> bool:
    return any((plane.slope, plane.intercept) != (1.0, 0.0) for plane in file.planes)


def _real_dtype(files: Sequence[DicomFile]) -> np.dtype:
    """The smallest type that holds every real value exactly: whole numbers as integers, else float32."""
    kinds = {file.dtype for file in files}
    if len(kinds) == 1 and not any(_scaled(file) for file in files):
        return kinds.pop()
    low = high = 0.0
    for file in files:
        least = -(2 ** (file.bits - 1)) if file.signed else 0
        ends = (least, least + 2**file.bits - 1)
        for slope, shift in {(plane.slope, plane.intercept) for plane in file.planes}:
            if slope != int(slope) or shift != int(shift):
                return np.dtype(np.float32)
            values = [end * slope + shift for end in ends]
            low, high = min(low, *values), max(high, *values)
    for kind in (np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return np.dtype(kind)
    return np.dtype(np.float32)


def _real(stored: np.ndarray, plane: Plane, file: DicomFile, kind: np.dtype) -> np.ndarray:
    """Real values ``(C, rows, columns)`` of one plane."""
    if file.inverted and not _scaled(file):
        top = -1 if file.signed else 2**file.bits - 1
        return (top - stored.astype(np.int64)).astype(kind)
    if (plane.slope, plane.intercept) == (1.0, 0.0):
        return stored.astype(kind, copy=False)
    return (stored * np.float64(plane.slope) + plane.intercept).astype(kind)
