"""Formats: files to pixels on a grid, and back. One file per family of formats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from unetkit.records.case import Grid

FORMATS = {
    "raster": "unetkit.data.formats.raster:RasterFormat",
    "tiff": "unetkit.data.formats.tiff:TiffFormat",
    "nifti": "unetkit.data.formats.nifti:NiftiFormat",
}

SUFFIXES = {
    ".png": "raster", ".jpg": "raster", ".jpeg": "raster", ".bmp": "raster",
    ".tif": "tiff", ".tiff": "tiff",
    ".nii": "nifti", ".nii.gz": "nifti",
}  # fmt: skip


@dataclass(frozen=True)
class Header:
    """What a file claims before its pixels are decoded.

    Args:
        channels: Number of channels.
        shape: ``*S`` in array order.
        dtype: numpy type name.
        grid: Where the pixels lie.
        lossy: Whether the stored values are not exact (JPEG).
    """

    channels: int
    shape: tuple[int, ...]
    dtype: str
    grid: Grid
    lossy: bool = False


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
