"""What NRRD and MetaImage share: one block of numbers behind a text header, or in a file beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unetkit.data.formats import Header
from unetkit.data.formats.blocks import check_block, read_block
from unetkit.data.formats.checks import smallest_unsigned
from unetkit.errors import DataError
from unetkit.records.case import Grid


@dataclass(frozen=True)
class BlockVolume:
    """A header, understood: everything in array order (the slowest axis first).

    Args:
        path: The file a person names.
        data: Where the numbers lie: the same file or the one beside it.
        start: Their first byte; -1 for the last ones of a raw file.
        packing: ``raw``, ``gzip`` or ``zlib``.
        dtype: Their type, with the file's byte order.
        channels: Channels per voxel.
        interleaved: Whether the channels of a voxel lie together (else one volume lies behind the other).
        shape: ``*S``.
        grid: Where the volume lies.
        notes: What had to be decided.
    """

    path: Path
    data: Path
    start: int
    packing: str
    dtype: np.dtype
    channels: int
    interleaved: bool
    shape: tuple[int, ...]
    grid: Grid
    notes: tuple[str, ...]

    def header(self) -> Header:
        """What ``Format.describe`` answers, once the claim was compared with the bytes that are there.

        Raises:
            DataError: There are fewer bytes, or the claim is beyond our limit.
        """
        size = self.channels * math.prod(self.shape) * self.dtype.itemsize
        check_block(self.path, self.data, start=self.start, size=size, packing=self.packing)
        kind = self.dtype.newbyteorder("=").name
        return Header(self.channels, self.shape, kind, self.grid, notes=self.notes)

    def pixels(self) -> np.ndarray:
        """Pixels ``(C, *S)`` as stored.

        Raises:
            DataError: The block is truncated or damaged.
        """
        stored = read_block(
            self.path,
            self.data,
            start=self.start,
            dtype=self.dtype,
            count=self.channels * math.prod(self.shape),
            packing=self.packing,
        )
        if not self.interleaved:
            return stored.reshape(self.channels, *self.shape)
        return np.ascontiguousarray(np.moveaxis(stored.reshape(*self.shape, self.channels), -1, 0))

    def parts(self) -> tuple[Path, ...]:
        """The header and its data file, where that lies beside it."""
        return tuple(dict.fromkeys((self.path, self.data)))


def label_block(path: Path, labels: np.ndarray, *, beside: str, whole: str) -> tuple[np.ndarray, bytes]:
    """Labels as they are written in one file: the smallest type, the lower byte first.

    Args:
        path: The file to write.
        labels: ``(*S)`` class ids.
        beside: The suffix of a header whose data lie beside it, which is not written.
        whole: The suffix of one file with both.

    Returns:
        The labels in their new type, and their bytes.

    Raises:
        DataError: The name has the suffix ``beside``, or the labels are no class ids.
    """
    if path.name.lower().endswith(beside):
        raise DataError(
            "labels are written as one file, not as a header beside data", cure=f"name it {whole}", where=path
        )
    values = smallest_unsigned(labels, path)
    return values, values.astype(values.dtype.newbyteorder("<")).tobytes()
