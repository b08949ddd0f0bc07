"""Parts of a TIFF: its strips or tiles are decoded where a region needs them and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from unetkit.data.formats import Box, Header
from unetkit.data.formats.streams import LOOKED_AT, check_stream

Range = tuple[int, int]

Parts = Callable[[int, Box], np.ndarray]
"""Number of stored channels and a region → the stored values ``(channels, *region)``."""

_LOOK_NUMBERS = 1 << 22

_JPEGS = (6, 7, 33007, 34892)
_STREAMS = (*_JPEGS, 33003, 33004, 33005, 34712)
"""Compressions of which each piece says its own size: JPEG, JPEG 2000."""


class TiffWindows:
    """An open TIFF of which parts are read; see ``Windows``.

    Args:
        header: What ``describe`` says of it.
        read: What reads stored values.
        colours: The palette ``(3, n)``, None without one.
        named: What turns a failure of the reader into an error that names the file.
    """

    def __init__(
        self,
        header: Header,
        read: Parts,
        *,
        colours: np.ndarray | None,
        named: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._read, self._colours, self._named = read, colours, named
        self._stored = 1 if colours is not None else header.channels
        self.header = header

    @cached_property
    def channels(self) -> int:
        """Channels that ``read`` gives; a fourth that is opaque everywhere is left out."""
        alpha = self.header.channels == 4 and np.dtype(self.header.dtype).kind == "u"
        return 3 if alpha and self._opaque() else self.header.channels

    def read(self, region: Box) -> np.ndarray:
        """Pixels ``(C, *region)`` in the file's type."""
        return np.ascontiguousarray(self._pixels(region)[: self.channels])

    def _pixels(self, region: Box) -> np.ndarray:
        with self._named():
            return shown(self._read(self._stored, region), self._colours)

    def _opaque(self) -> bool:
        first, *rest = self.header.shape
        rows = max(1, _LOOK_NUMBERS // math.prod(rest))
        inner = tuple((0, length) for length in rest)
        bands = (self._pixels(((top, min(top + rows, first)), *inner)) for top in range(0, first, rows))
        return all(bool((band[3] == np.iinfo(band.dtype).max).all()) for band in bands)


def shown(pixels: np.ndarray, colours: np.ndarray | None) -> np.ndarray:
    """Stored values as an image's: a palette's colours looked up, bits as 0 and 255.

    Args:
        pixels: ``(C, *S)``.
        colours: The palette ``(3, n)`` of 16 bits, None without one.
    """
    if colours is not None and pixels.shape[0] == 1:
        return (colours[:, pixels[0]] >> 8).astype(np.uint8)
    return pixels.astype(np.uint8) * 255 if pixels.dtype == np.bool_ else pixels


def check_streams(pages: Sequence[Any], keyframe: Any) -> None:  # noqa: ANN401 - tifffile has one home
    """Compare what each strip or tile says of its own size with the tags, where its compression says one.

    Args:
        pages: Of equal size and type.
        keyframe: The page that says how all are stored.

    Raises:
        DataError: One would unpack to far more.
    """
    if not _states_its_size(keyframe):
        return
    file, pixels = keyframe.parent.filehandle, math.prod(keyframe.chunks)
    for page in pages:
        for start, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            file.seek(start)
            check_stream(Path(file.path), file.read(min(count, LOOKED_AT)), pixels=pixels)


def _states_its_size(keyframe: Any) -> bool:  # noqa: ANN401 - tifffile has one home
    """Whether its pieces are whole streams: those of NDPI are parts of one, without a head."""
    return int(keyframe.compression) in _STREAMS and keyframe.jpegheader is None


class Segments:
    """Pages of one kind, of which any box can be read.

    Decoded segments that reach below the box stay until the next box is read: rows that are read one after
    another decode every segment once, and no more than one row of segments is held.

    Args:
        pages: Of equal size and type, the last of the ``lead`` axes fastest.
        keyframe: The page that says how all are stored.
        lead: Name and length of each axis that runs over the pages.
        depth: Name of the axis among them that is a spatial one, empty for none.
    """

    def __init__(
        self,
        pages: Sequence[Any],
        keyframe: Any,  # noqa: ANN401 - tifffile has one home
        lead: Sequence[tuple[str, int]],
        *,
        depth: str,
    ) -> None:
        self._pages, self._keyframe, self._lead, self._depth = pages, keyframe, tuple(lead), depth
        self._planes, _, self._length, self._width, self._samples = keyframe.shaped
        tiled = bool(keyframe.is_tiled)
        self._rows = min(keyframe.tilelength if tiled else keyframe.rowsperstrip, self._length)
        self._columns = min(keyframe.tilewidth if tiled else self._width, self._width)
        self._kept: dict[tuple[int, int], np.ndarray | None] = {}

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of decoded segments, all channels of one page."""
        samples = self._planes * self._samples
        return self._rows * self._width * samples * np.dtype(self._keyframe.dtype).itemsize

    def read(self, channels: int, region: Sequence[Range]) -> np.ndarray:
        """Decode a box.

        Args:
            channels: How many the pages hold together.
            region: Start and stop per spatial axis.

        Returns:
            ``(channels, *region)`` in the file's type.

        Raises:
            ValueError: A segment holds less than it should.
        """
        *deep, rows, columns = region
        sizes = tuple(stop - start for start, stop in region)
        result = np.zeros((channels, *sizes), np.dtype(self._keyframe.dtype).newbyteorder("="))
        planes = result.reshape(channels, -1, *sizes[-2:])
        inside = self._planes * self._samples
        touched: set[tuple[int, int]] = set()
        for number, depth in enumerate(range(*deep[0]) if deep else (0,)):
            for first in range(0, channels, inside):
                page = self._page_number(first, depth)
                touched |= self._fill(page, planes[first : first + inside, number], rows, columns)
        self._kept = {key: part for key, part in self._kept.items() if key in touched}
        return result

    def _page_number(self, channel: int, depth: int) -> int:
        number = 0
        for name, length in self._lead:
            number = number * length + (depth if name == self._depth else channel)
        return number

    def _fill(self, number: int, into: np.ndarray, rows: Range, columns: Range) -> set[tuple[int, int]]:
        """Copy the box out of one page ``(c, rows, columns)``; returns the segments that reach below it."""
        below: set[tuple[int, int]] = set()
        for index, plane, top, left in self._touched(rows, columns):
            segment = self._segment(number, index, top, left)
            if top + self._rows > rows[1]:
                below.add((number, index))
            else:
                self._kept.pop((number, index), None)
            up, down = max(top, rows[0]), min(top + self._rows, rows[1])
            near, far = max(left, columns[0]), min(left + self._columns, columns[1])
            target = into[plane : plane + 1] if self._planes > 1 else into
            place = target[:, up - rows[0] : down - rows[0], near - columns[0] : far - columns[0]]
            if segment is None:
                place[...] = self._keyframe.nodata
            else:
                place[...] = np.moveaxis(segment[up - top : down - top, near - left : far - left], -1, 0)
        return below

    def _touched(self, rows: Range, columns: Range) -> Iterator[tuple[int, int, int, int]]:
        """Index, plane, first row and first column of each segment that a box meets."""
        down, across = -(-self._length // self._rows), -(-self._width // self._columns)
        for plane in range(self._planes):
            for row in range(rows[0] // self._rows, -(-rows[1] // self._rows)):
                for column in range(columns[0] // self._columns, -(-columns[1] // self._columns)):
                    index = (plane * down + row) * across + column
                    yield index, plane, row * self._rows, column * self._columns

    def _segment(self, number: int, index: int, top: int, left: int) -> np.ndarray | None:
        """A decoded segment ``(rows, columns, samples)``; None where the file leaves it out."""
        key = (number, index)
        if key not in self._kept:
            page = self._pages[number]
            start, count = page.dataoffsets[index], page.databytecounts[index]
            data, file = None, page.parent.filehandle
            if start and count:
                file.seek(start)
                data = file.read(count)
            if data and _states_its_size(self._keyframe):
                check_stream(Path(file.path), data[:LOOKED_AT], pixels=math.prod(self._keyframe.chunks))
            words: dict[str, Any] = {}
            if int(self._keyframe.compression) in _JPEGS:
                words = {"jpegtables": page.jpegtables, "jpegheader": self._keyframe.jpegheader}
            decoded = self._keyframe.decode(data, index, **words)[0]
            self._kept[key] = None if decoded is None else self._whole(decoded[0], top, left)
        return self._kept[key]

    def _whole(self, segment: np.ndarray, top: int, left: int) -> np.ndarray:
        height, width = min(self._rows, self._length - top), min(self._columns, self._width - left)
        if segment.shape[0] < height or segment.shape[1] < width:
            raise ValueError(f"a segment holds {segment.shape[:2]} pixels, {(height, width)} were expected")
        return segment[:height, :width]
