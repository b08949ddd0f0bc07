"""A picture of labels and its smaller copies as one tiled BigTIFF that a viewer shows after a few reads."""

from __future__ import annotations

import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from xml.sax.saxutils import quoteattr

import numpy as np

from unetkit.data.formats.georeference import ASCII, DOUBLE, SHORT, Tag, georeference_tags
from unetkit.data.formats.rows import Stack, level_shapes, with_levels
from unetkit.records.case import Grid

TILE = 512
"""Edge of the tiles of a label file that is written row by row."""

_LONG, _LONG8, _IFD8 = 4, 16, 18
_LETTERS = {SHORT: "H", DOUBLE: "d", _LONG: "I", _LONG8: "Q", _IFD8: "Q"}
_DEFLATE, _BLACK_IS_ZERO, _UNSIGNED, _REDUCED = 8, 1, 1, 1
_FIRST_DIRECTORY = 16
_OME = (
    '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type={kind} SizeX="{x}" SizeY="{y}" '
    'SizeC="1" SizeZ="1" SizeT="1" '
    'PhysicalSizeX="{across!r}" PhysicalSizeXUnit="mm" PhysicalSizeY="{down!r}" '
    'PhysicalSizeYUnit="mm"><Channel ID="Channel:0:0" SamplesPerPixel="1"/><TiffData IFD="0" PlaneCount="1"/>'
    "</Pixels></Image></OME>"
)


def write_levels(
    file: IO[bytes],
    bands: Iterable[np.ndarray],
    *,
    shape: tuple[int, ...],
    dtype: np.dtype,
    grid: Grid,
    levels: int,
    folder: Path,
) -> None:
    """Write a picture while its rows come.

    Every directory lies before the first tile, the full resolution's first; the tiles of the smallest copy
    come first: the layout of a Cloud Optimized GeoTIFF. The compressed tiles wait in nameless files until
    their number of bytes is known. The copies are pages of their own, as GeoTIFF has it; of a picture with a
    spacing and no georeference they are SubIFDs, as OME-TIFF has it.

    Args:
        file: Empty.
        bands: Labels ``(rows, width)``, one below the other.
        shape: ``(rows, width)`` of the whole.
        dtype: Of the labels.
        grid: Where they lie.
        levels: Smaller copies, each of every second row and column of the one before.
        folder: Where the nameless files lie.

    Reference:
        Cloud Optimized GeoTIFF, https://docs.ogc.org/is/21-026/21-026.html; BigTIFF,
        https://www.awaresystems.be/imaging/tiff/bigtiff.html; OME-TIFF,
        https://docs.openmicroscopy.org/ome-model/latest/ome-tiff/specification.html.
    """
    kind = np.dtype(dtype).newbyteorder("<")
    with ExitStack() as spools:
        pictures = [
            _Picture(size, kind, spools.enter_context(tempfile.TemporaryFile(prefix=".part-", dir=folder)))
            for size in level_shapes(shape, levels)
        ]
        for parts in with_levels(bands, levels):
            for picture, part in zip(pictures, parts, strict=True):
                picture.add(part)
        for picture in pictures:
            picture.close()
        microscopy = grid.calibrated and grid.georeference is None
        file.write(_directories(pictures, grid, nested=microscopy))
        for picture in reversed(pictures):
            picture.spool.seek(0)
            shutil.copyfileobj(picture.spool, file, 1 << 22)


@dataclass
class _Picture:
    """One resolution: its tiles, compressed, in the order in which they came."""

    shape: tuple[int, ...]
    dtype: np.dtype
    spool: IO[bytes]
    counts: list[int] = field(default_factory=list)
    rows: Stack = field(default_factory=lambda: Stack(TILE))

    def add(self, band: np.ndarray) -> None:
        for block in self.rows.add(band):
            self._pack(block)

    def close(self) -> None:
        for block in self.rows.rest():
            self._pack(block)

    def _pack(self, block: np.ndarray) -> None:
        for left in range(0, self.shape[1], TILE):
            part = block[:, left : left + TILE]
            tile = np.zeros((TILE, TILE), self.dtype)
            tile[: part.shape[0], : part.shape[1]] = part
            data = zlib.compress(tile.data, 6)
            self.spool.write(data)
            self.counts.append(len(data))

    def tags(self, offsets: np.ndarray, *, first: bool) -> list[Tag]:
        """What its directory says; ``offsets`` of its tiles in the file."""
        count = len(self.counts)
        return [
            (254, _LONG, 1, 0 if first else _REDUCED),
            (256, _LONG, 1, self.shape[1]),
            (257, _LONG, 1, self.shape[0]),
            (258, SHORT, 1, 8 * self.dtype.itemsize),
            (259, SHORT, 1, _DEFLATE),
            (262, SHORT, 1, _BLACK_IS_ZERO),
            (277, SHORT, 1, 1),
            (284, SHORT, 1, 1),
            (322, SHORT, 1, TILE),
            (323, SHORT, 1, TILE),
            (324, _LONG8, count, tuple(int(at) for at in offsets)),
            (325, _LONG8, count, tuple(self.counts)),
            (339, SHORT, 1, _UNSIGNED),
        ]


def _directories(pictures: list[_Picture], grid: Grid, *, nested: bool) -> bytes:
    """The header and all directories; their size does not depend on the offsets in them."""
    places = [0] * len(pictures)
    data = [0] * len(pictures)
    packed: list[bytes] = []
    for _ in range(2):  # with zeros, to learn the sizes; then as it is
        packed = []
        for number, picture in enumerate(pictures):
            starts = data[number] + np.cumsum([0, *picture.counts[:-1]], dtype=np.int64)
            tags = picture.tags(starts, first=number == 0)
            if number == 0:
                tags += _place(picture, grid, nested=nested)
                if nested:
                    tags.append((330, _IFD8, len(places) - 1, tuple(places[1:])))
            following = 0 if nested or number + 1 == len(pictures) else places[number + 1]
            packed.append(_directory(tags, places[number], following))
        ends = np.cumsum([_FIRST_DIRECTORY, *(len(each) for each in packed)])
        places = [int(at) for at in ends[:-1]]
        sizes = [sum(picture.counts) for picture in pictures]
        data = [int(ends[-1]) + sum(sizes[number + 1 :]) for number in range(len(pictures))]
    return struct.pack("<2sHHHQ", b"II", 43, 8, 0, _FIRST_DIRECTORY) + b"".join(packed)


def _place(picture: _Picture, grid: Grid, *, nested: bool) -> list[Tag]:
    """Where the labels lie, in the words of one of the two kinds of file."""
    if not nested:
        return georeference_tags(grid.georeference)
    down, across = grid.spacing_mm
    kind, (height, width) = quoteattr(picture.dtype.name), picture.shape
    text = _OME.format(kind=kind, x=width, y=height, across=across, down=down)
    return [(270, ASCII, len(text) + 1, text)]


def _directory(tags: list[Tag], at: int, following: int) -> bytes:
    """One directory of a BigTIFF at byte ``at``; values that do not fit into an entry follow it."""
    head, tail = struct.pack("<Q", len(tags)), b""
    behind = at + len(head) + 20 * len(tags) + 8
    for code, kind, count, value in sorted(tags, key=lambda tag: tag[0]):
        data = _bytes(kind, value)
        entry = data.ljust(8, b"\0")
        if len(data) > 8:
            entry = struct.pack("<Q", behind + len(tail))
            tail += data.ljust(-(-len(data) // 8) * 8, b"\0")
        head += struct.pack("<HHQ", code, kind, count) + entry
    return head + struct.pack("<Q", following) + tail


def _bytes(kind: int, value: object) -> bytes:
    if isinstance(value, str):
        return value.encode("ascii") + b"\0"
    numbers = value if isinstance(value, tuple) else (value,)
    return struct.pack(f"<{len(numbers)}{_LETTERS[kind]}", *numbers)
