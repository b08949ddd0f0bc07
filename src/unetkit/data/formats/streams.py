"""What a compressed stream says of its own size: decoders believe it, whatever the header around it says."""

from __future__ import annotations

import struct
from pathlib import Path

from unetkit.data.formats.checks import TRUNCATED
from unetkit.errors import DataError

LOOKED_AT = 2**16
"""Bytes from the start of a stream within which it states its size."""

_JPEG, _WAVELETS, _BOX = b"\xff\xd8", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_BARE = frozenset((0x01, *range(0xD0, 0xD9)))
_ENDS = (0xD9, 0xDA)
_SPARE_PIXELS = 2**16


def stream_size(data: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG, JPEG-LS or JPEG 2000 stream states.

    Args:
        data: Its first bytes.

    Returns:
        None where it is another kind of stream, or does not come to say it.

    Reference:
        ITU-T T.81, B.2.2; ISO/IEC 15444-1, A.5.1.

    Example:
        >>> stream_size(bytes.fromhex("ffd8 ffe00004abcd ffc0000b08 0018 001e 01011100"))
        (24, 30)
    """
    if data[:2] == _JPEG:
        return _frame_size(data)
    at = data.find(_WAVELETS, 0, LOOKED_AT) if data.startswith((_WAVELETS, _BOX)) else -1
    if at < 0 or len(data) < at + 24:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", data, at + 8)
    return bottom - top, right - left


def _frame_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        kind = data[at + 1]
        if kind in _FRAMES:
            rows, columns = struct.unpack_from(">HH", data, at + 5)
            return rows, columns
        if kind in _ENDS:
            return None
        if kind == 0xFF:  # fill bytes before a marker
            at += 1
        elif kind in _BARE:
            at += 2
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None


def check_stream(path: Path, data: bytes, *, pixels: int) -> None:
    """Refuse a stream that would unpack to far more than the header around it says.

    Args:
        path: The file, for the error.
        data: The first bytes of the stream.
        pixels: What the header says; a stream may be padded, and hold some more.

    Raises:
        DataError: It claims more than twice as many.
    """
    found = stream_size(data)
    if found is not None and found[0] * found[1] > 2 * pixels + _SPARE_PIXELS:
        raise DataError(
            f"this file is damaged: a stream in it claims {found[0]:,} × {found[1]:,} pixels, its header "
            f"{pixels:,} pixels",
            cure=TRUNCATED,
            where=path,
        )
