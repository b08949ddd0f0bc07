"""The elements of a DICOM file, walked before any reader believes it: is it whole, and where are its pixels?

pydicom reads a file that is cut between two elements without a word, and unfolds a deflated one without a
limit; this walk does neither. It looks at tags and lengths only, never at a value of a patient.
"""

from __future__ import annotations

import mmap
import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unetkit.data.formats.checks import TRUNCATED, file_bytes
from unetkit.errors import DataError

PIXEL_DATA = 0x7FE00010
_SYNTAX = 0x00020010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_IMPLICIT, _BIG_ENDIAN, _DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
_MARK_AT = 128
_FILE_GROUP = b"\x02\x00"
_DEEPEST = 32


@dataclass(frozen=True)
class Elements:
    """What the walk found.

    Args:
        syntax: UID of the transfer syntax.
        pixel_bytes: Bytes of Pixel Data as stored; None where the file has none.
        tags: The tags on the first level.
    """

    syntax: str
    pixel_bytes: int | None
    tags: frozenset[int]


@dataclass(frozen=True)
class _Coding:
    order: str
    explicit: bool


class _Cut(Exception):  # noqa: N818 - never leaves this file
    """The bytes end before what they promise."""


class _Odd(Exception):  # noqa: N818 - never leaves this file
    """The bytes are no elements."""


def walk_elements(path: Path) -> Elements:
    """Walk a DICOM file from its first element to its last byte.

    Args:
        path: The file.

    Raises:
        DataError: It is no DICOM file, is cut anywhere, or is packed as a whole (deflated).
    """
    length = file_bytes(path)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[_MARK_AT : _MARK_AT + 4] != b"DICM":
            raise DataError(
                "these bytes are no DICOM file (the mark 'DICM' is missing)",
                cure="copy the file again from its source, or take it out of the folder",
                where=path,
            )
        try:
            syntax, start = _syntax(data, length)
            if syntax == _DEFLATED:
                raise DataError(
                    "a deflated DICOM file is not unpacked: a small one can fill the memory",
                    cure="convert it to Explicit VR Little Endian (gdcmconv --raw, or dcmconv +te)",
                    where=path,
                )
            coding = _Coding(">" if syntax == _BIG_ENDIAN else "<", syntax != _IMPLICIT)
            found: dict[int, int] = {}
            for tag, at, stop in _elements(data, start, length, coding, 0):
                found[tag] = stop - at
        except (_Cut, struct.error):
            raise DataError(
                f"this DICOM file is truncated: an element ends behind its {length:,} bytes",
                cure=TRUNCATED,
                where=path,
            ) from None
        except _Odd as wrong:
            raise DataError(
                f"this DICOM file is truncated or damaged: {wrong}", cure=TRUNCATED, where=path
            ) from None
    return Elements(syntax, found.get(PIXEL_DATA), frozenset(found))


def _syntax(data: mmap.mmap, length: int) -> tuple[str, int]:
    """The transfer syntax, and where the elements behind the file's own begin."""
    at, coding, syntax = _MARK_AT + 4, _Coding("<", explicit=True), ""
    while data[at : at + 2] == _FILE_GROUP:  # what follows may be coded in another way
        tag, _, start, size = _head(data, at, coding)
        if start + size > length:
            raise _Cut
        if tag == _SYNTAX:
            syntax = data[start : start + size].decode("ascii", "replace").rstrip("\0 ")
        at = start + size
    if not syntax:
        raise _Odd("it names no transfer syntax")
    if at >= length:
        raise _Odd("it ends behind its file header")
    return syntax, at


def _elements(
    data: mmap.mmap, at: int, end: int, coding: _Coding, depth: int
) -> Iterator[tuple[int, int, int]]:
    """Tag, first byte and end of each element's value; of a nested item the last one is its end mark."""
    if depth > _DEEPEST:
        raise _Odd(f"sequences within sequences, more than {_DEEPEST} deep")
    while at < end:
        tag, kind, start, size = _head(data, at, coding)
        if tag == 0 and depth == 0 and not any(data[at:end]):
            return  # some scanners fill a file with zeros
        if tag == _ITEM_END:
            yield tag, start, start
            return
        stop = _after(data, start, end, coding, kind, depth) if size == _UNDEFINED else start + size
        if stop > end:
            raise _Cut
        yield tag, start, stop
        at = stop


def _head(data: mmap.mmap, at: int, coding: _Coding) -> tuple[int, bytes, int, int]:
    """Tag, type, first byte of the value and its length."""
    order = coding.order
    group, element = struct.unpack_from(order + "HH", data, at)
    tag = group << 16 | element
    if group == 0xFFFE or not coding.explicit:
        return tag, b"", at + 8, struct.unpack_from(order + "I", data, at + 4)[0]
    kind = data[at + 4 : at + 6]
    if len(kind) < 2:
        raise _Cut
    if not (kind.isalpha() and kind.isupper()):
        if tag == 0:
            return tag, kind, at + 8, 0
        raise _Odd("an element has no type")
    if kind in _LONG:
        return tag, kind, at + 12, struct.unpack_from(order + "I", data, at + 8)[0]
    return tag, kind, at + 8, struct.unpack_from(order + "H", data, at + 6)[0]


def _after(data: mmap.mmap, at: int, end: int, coding: _Coding, kind: bytes, depth: int) -> int:
    """The end of a value of undefined length: items up to the end mark of the sequence."""
    inner = _Coding("<", explicit=False) if kind == b"UN" else coding
    while True:
        tag, _, start, size = _head(data, at, inner)
        if tag == _SEQUENCE_END:
            return start
        if tag != _ITEM:
            raise _Odd("a sequence holds something that is no item")
        if size != _UNDEFINED:
            at = start + size
        else:
            inside = deque(_elements(data, start, end, inner, depth + 1), maxlen=1)
            if not inside or inside[0][0] != _ITEM_END:
                raise _Cut
            at = inside[0][2]
        if at > end:
            raise _Cut
