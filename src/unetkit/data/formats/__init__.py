"""Formats: files to pixels on a grid, and back. One file per family of formats."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from unetkit.errors import DataError, nearest
from unetkit.lookup import pick
from unetkit.records.case import Grid

FORMATS = {
    "raster": "unetkit.data.formats.raster:RasterFormat",
    "tiff": "unetkit.data.formats.tiff:TiffFormat",
    "nifti": "unetkit.data.formats.nifti:NiftiFormat",
    "dicom": "unetkit.data.formats.dicom:DicomFormat",
    "nrrd": "unetkit.data.formats.nrrd:NrrdFormat",
    "metaimage": "unetkit.data.formats.metaimage:MetaImageFormat",
    "npy": "unetkit.data.formats.npy:NpyFormat",
    "zarr": "unetkit.data.formats.zarr:ZarrFormat",
    "slide": "unetkit.data.formats.slide:SlideFormat",
}

SUFFIXES = {
    ".png": "raster", ".jpg": "raster", ".jpeg": "raster", ".bmp": "raster", ".gif": "raster",
    ".tif": "tiff", ".tiff": "tiff", ".svs": "tiff", ".ndpi": "tiff",
    ".nii": "nifti", ".nii.gz": "nifti",
    ".dcm": "dicom",
    ".nrrd": "nrrd", ".nhdr": "nrrd",
    ".mha": "metaimage", ".mhd": "metaimage",
    ".npy": "npy", ".zarr": "zarr",
    ".mrxs": "slide", ".scn": "slide", ".vms": "slide", ".vmu": "slide", ".bif": "slide",
}  # fmt: skip

DICOM = "dicom"
FOLDERS = (DICOM, "zarr")
"""Formats of which an image may be a folder."""

_HEADERS = (".nhdr", ".mhd", ".mrxs", ".vms", ".vmu")
"""Suffixes of a header that lies beside its data; the data are no images of their own."""
_MOST_LOOKED_AT = 32
_DICOM_MARK, _MARK_AT = b"DICM", 128
Box = tuple[tuple[int, int], ...]
"""Start and stop per spatial axis."""

_CHANNEL = re.compile(r"(.+)_(\d{4})")


@dataclass(frozen=True)
class Header:
    """What a file claims before its pixels are decoded.

    Args:
        channels: Number of channels.
        shape: ``*S`` in array order.
        dtype: numpy type name.
        grid: Where the pixels lie.
        lossy: Whether the stored values are not exact (JPEG).
        notes: What had to be decided while reading the header, one sentence each.
    """

    channels: int
    shape: tuple[int, ...]
    dtype: str
    grid: Grid
    lossy: bool = False
    notes: tuple[str, ...] = ()


class Format(Protocol):
    """A row of ``FORMATS``; every method raises ``DataError`` naming the file, the cause and the cure."""

    def describe(self, path: Path) -> Header:
        """Read the header only; refuse a claim that the file's size or our limit cannot hold."""
        ...

    def read(self, path: Path) -> tuple[np.ndarray, Grid]:
        """Pixels ``(C, *S)`` in the file's type, and where they lie."""
        ...

    def read_label(self, path: Path) -> tuple[np.ndarray, Grid]:
        """Label values ``(*S)`` as integers exactly as stored (palette indices, never colours)."""
        ...

    def write(self, path: Path, labels: np.ndarray, grid: Grid) -> None:
        """Write labels ``(*S)`` losslessly and atomically."""
        ...


class Windows(Protocol):
    """An open image file of which any part can be read without the rest."""

    @property
    def header(self) -> Header:
        """What ``Format.describe`` says of the file, however large it is."""
        ...

    @property
    def channels(self) -> int:
        """Channels that ``read`` gives, which may take a look at every pixel."""
        ...

    def read(self, region: Box) -> np.ndarray:
        """Pixels ``(C, *region)``, equal to those of ``Format.read`` there; from one thread at a time."""
        ...


@runtime_checkable
class WindowedFormat(Protocol):
    """What a row of ``FORMATS`` has besides, where a file need not be in memory as a whole."""

    def windows(self, path: Path) -> AbstractContextManager[Windows | None]:
        """Open a file for reading parts; None where this one's pixels come only all at once."""
        ...

    def write_rows(
        self,
        path: Path,
        bands: Iterable[np.ndarray],
        *,
        shape: tuple[int, ...],
        dtype: np.dtype,
        grid: Grid,
        levels: int = 0,
    ) -> None:
        """Write labels ``shape`` that come as bands along the first axis; the file appears when all came.

        ``levels`` smaller copies, each of every second row and column of the one before, are written besides
        where the format has a place for them: a TIFF of one picture, and OME-Zarr.
        """
        ...


def suffix_of(path: Path) -> str | None:
    """The longest known suffix of a file name, lower case; None when the format is not known.

    Example:
        >>> suffix_of(Path("scan.v2.NII.gz")), suffix_of(Path("notes.txt"))
        ('.nii.gz', None)
    """
    name = path.name.lower()
    last = name.rfind(".")
    ends = (name[name.rfind(".", 0, max(last, 0)) :], name[last:])  # .nii.gz before .gz
    return next((end for end in ends if end in SUFFIXES), None)


def kind_of(path: Path) -> str | None:
    """The row of ``FORMATS`` that reads a path: by its suffix, else DICOM where the bytes say so.

    Args:
        path: A file (which need not exist), or a folder of slices.

    Returns:
        None where no format reads it.

    Example:
        >>> kind_of(Path("scan.nii.gz")), kind_of(Path("notes.txt"))
        ('nifti', None)
    """
    suffix = suffix_of(path)
    if suffix is not None:
        return SUFFIXES[suffix]
    return DICOM if holds_slices(path) or (path.is_file() and _is_dicom(path)) else None


def is_image_folder(path: Path) -> bool:
    """Whether a folder is one image by its name or, for DICOM, by what is in it.

    Example:
        >>> is_image_folder(Path("."))
        False
    """
    return path.is_dir() and kind_of(path) in FOLDERS


def holds_slices(folder: Path) -> bool:
    """Whether a path is a folder that has DICOM files in it, told by their first bytes."""
    if not folder.is_dir():
        return False
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return any(_is_dicom(path) for path in files[:_MOST_LOOKED_AT])


def files_of(path: Path) -> tuple[Path, ...]:
    """Every file that an image or a label consists of: the slices of a folder, the data beside a header.

    Args:
        path: What a case names.

    Raises:
        DataError: A header beside its data cannot be read.
    """
    if path.is_dir():
        return tuple(sorted(each for each in path.rglob("*") if each.is_file()))
    parts = getattr(format_of(path), "parts", None) if suffix_of(path) else None
    return (path,) if parts is None else parts(path)


def sort_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """What a format reads in a folder, and what none does; hidden entries are neither.

    Args:
        folder: Where. Folders are told only where they are one image, and data beside a header belong to it.

    Returns:
        Images (or labels) and other entries, each by name. macOS leaves ``._a.png`` beside ``a.png``: hidden.
    """
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    kinds = {path: kind_of(path) for path in paths}
    known = [path for path, kind in kinds.items() if kind and (path.is_file() or kind in FOLDERS)]
    beside = {place for path in known for part in _data_beside(path) for place in (part, part.parent)}
    images = [path for path in known if path not in beside]
    return images, [path for path in paths if path not in beside and path not in known]


def _data_beside(path: Path) -> tuple[Path, ...]:
    """The files that a header names; a damaged header is met when its case is read."""
    try:
        return tuple(part for part in files_of(path) if part != path) if suffix_of(path) in _HEADERS else ()
    except DataError:
        return ()


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(_MARK_AT + 4)[_MARK_AT:] == _DICOM_MARK
    except OSError:
        return False


def stem_of(path: Path) -> str:
    """The file name without its format's suffix; DICOM without one keeps its name, whatever dots it has.

    Example:
        >>> stem_of(Path("scan.v2.nii.gz"))
        'scan.v2'
    """
    if suffix_of(path) is None and kind_of(path) is not None:
        return path.name
    return path.name[: len(path.name) - len(suffix_of(path) or path.suffix)]


def channel_of(path: Path) -> tuple[str, int] | None:
    """Image name and channel number of a file named as nnU-Net does; None where it is not.

    Example:
        >>> channel_of(Path("scan_0001.nii.gz")), channel_of(Path("scan_1.nii.gz"))
        (('scan', 1), None)
    """
    hit = _CHANNEL.fullmatch(stem_of(path))
    return None if hit is None else (hit[1], int(hit[2]))


def format_of(path: Path) -> Format:
    """The reader and writer of a file, chosen by its name; a folder of slices is read as DICOM.

    Args:
        path: The file; it need not exist.

    Raises:
        DataError: No format has this suffix, and it is no folder of slices.

    Example:
        >>> type(format_of(Path("a.nii.gz"))).__name__
        'NiftiFormat'
    """
    kind = kind_of(path)
    if kind is None:
        got = "".join(path.suffixes[-1:]) or "no suffix"
        raise DataError(f"no format reads this file ({got})", cure=nearest(got, SUFFIXES), where=path)
    return pick("format", FORMATS, kind)()
