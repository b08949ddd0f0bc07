"""The directories of a TIFF, followed to their end before any library reads them."""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from unetkit.data.formats.checks import DEFLATE_RATIO, TRUNCATED
from unetkit.errors import DataError

MOST_PAGES = 1_000_000

UNCOMPRESSED = 1
RATIOS = {
    8: DEFLATE_RATIO, 32946: DEFLATE_RATIO, 5: 2**12, 32773: 2**7, 6: 2**11, 7: 2**11,
    34925: 2**14, 34926: 2**16, 50000: 2**16,
}  # fmt: skip
"""Compression → no stream of it unpacks to more than this many times its own length: a code of LZW names
up to 4,096 bytes, a block of Zstandard holds 2**17 bytes and takes four."""

_TYPE_BYTES = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8,
}  # fmt: skip
_NUMBERS = {3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
_CLASSIC, _LARGE = 42, 43
_PIXELS, _INNER, _LSM = ((273, 279), (324, 325)), 330, 34412


@dataclass(frozen=True)
class _Layout:
    """How a file counts; a ``wide`` one, NDPI, keeps the upper halves of its offsets behind the tags."""

    order: str
    large: bool
    length: int
    wide: bool = False

    @property
    def count(self) -> str:
        return self.order + ("Q" if self.large else "H")

    @property
    def following(self) -> str:
        return self.order + ("Q" if self.large or self.wide else "I")

    @property
    def entry(self) -> int:
        return 20 if self.large else 12

    @property
    def room(self) -> int:
        """Bytes of a value that lies in its entry."""
        return 8 if self.large else 4


def check_pages(path: Path, length: int) -> None:
    """Follow every chain of pages to its end; the reader would quietly leave out what lies behind a cut.

    Smaller copies (SubIFDs) and further pictures are followed as well, though nobody reads them: where their
    pixels are missing, the file is not whole.

    Args:
        path: The file.
        length: Its bytes.

    Raises:
        DataError: These are no bytes of a TIFF, or tags or pixels of a page lie behind the end.
    """
    with path.open("rb") as file:
        start = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(start[:2])
        if order is None or len(start) < 8:
            raise DataError(
                "these bytes are no TIFF file", cure="export the picture as TIFF again", where=path
            )
        version = struct.unpack(f"{order}H", start[2:4])[0]
        wide = path.suffix.lower() == ".ndpi" and order == "<" and version == _CLASSIC
        layout = _Layout(order, version == _LARGE, length, wide)
        seen: set[int] = set()
        first = 8 if layout.large else 4
        open_ends = deque(struct.unpack_from(layout.following, start, first))
        while open_ends and len(seen) < MOST_PAGES:
            at = open_ends.popleft()
            if not at or at in seen:
                continue
            seen.add(at)
            open_ends.extend(_follow(path, file, at, layout))


def _follow(path: Path, file: IO[bytes], at: int, layout: _Layout) -> list[int]:
    """Check one directory; returns where others begin."""
    file.seek(at)
    tags = struct.unpack(layout.count, file.read(struct.calcsize(layout.count)))[0]
    block = file.read(min(tags, 4096) * layout.entry + struct.calcsize(layout.following))
    ends = list(struct.unpack(layout.following, block[tags * layout.entry :]))
    upper = file.read(4 * tags) if layout.wide else b""
    entries = _entries(path, block[: tags * layout.entry], layout, upper)
    for starts, counts in _PIXELS:
        if starts in entries and counts in entries and _LSM not in entries:  # LSM states other counts
            places = _values(file, entries[starts], layout)
            _check_pixels(path, places, _values(file, entries[counts], layout), layout)
    if _INNER in entries:
        ends += _values(file, entries[_INNER], layout).tolist()
    return ends


def _entries(path: Path, block: bytes, layout: _Layout, upper: bytes) -> dict[int, tuple[int, int, bytes]]:
    """Code → type, count, and the bytes of the value or of where it lies; none may lie behind the end."""
    head = f"{layout.order}HH{'Q' if layout.large else 'I'}"
    found: dict[int, tuple[int, int, bytes]] = {}
    for at in range(0, len(block), layout.entry):
        code, kind, count = struct.unpack_from(head, block, at)
        inside = block[at + struct.calcsize(head) : at + layout.entry] + upper[at // 3 : at // 3 + 4]
        size = count * _TYPE_BYTES.get(kind, 1)
        offset = struct.unpack(layout.following, inside)[0]
        if size > layout.room and offset + size > layout.length:
            raise DataError(
                f"this TIFF is truncated: its tags end at byte {offset + size:,}, "
                f"the file at {layout.length:,}",
                cure=TRUNCATED,
                where=path,
            )
        found[code] = kind, count, inside
    return found


def _values(file: IO[bytes], entry: tuple[int, int, bytes], layout: _Layout) -> np.ndarray:
    """The whole numbers of a tag; none where they are of another type."""
    kind, count, inside = entry
    if kind not in _NUMBERS:
        return np.empty(0, np.uint64)
    dtype = np.dtype(layout.order + _NUMBERS[kind])
    size = count * dtype.itemsize
    if layout.wide and count == 1 and size == layout.room:
        return np.frombuffer(inside, "<u8")
    if size > layout.room:
        file.seek(struct.unpack(layout.following, inside)[0])
        inside = file.read(size)
    return np.frombuffer(inside[:size], dtype).astype(np.uint64)


def _check_pixels(path: Path, starts: np.ndarray, counts: np.ndarray, layout: _Layout) -> None:
    if starts.size == 0 or starts.size != counts.size:
        return  # the reader has its own word on this
    ends = starts + counts
    beyond = (ends > layout.length) | (ends < starts)
    beyond &= counts > 0  # what is left out lies nowhere
    if beyond.any():
        end = int(starts[beyond][-1]) + int(counts[beyond][-1])
        raise DataError(
            f"this TIFF is truncated: its pixels end at byte {end:,}, the file at {layout.length:,}",
            cure=TRUNCATED,
            where=path,
        )
