"""The numbers behind a text header or in a file beside it: bounded, whole, and never from elsewhere."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from unetkit.data.formats.checks import DEFLATE_RATIO, TRUNCATED, file_bytes, refuse_claim
from unetkit.errors import DataError

LONGEST_HEADER = 2**16
_PIECE = 2**22


def read_lines(path: Path, last: str) -> tuple[list[str], int]:
    """The lines of a text header up to its last one, and where the next byte lies.

    Args:
        path: The file.
        last: How the header's last line begins, in small letters without spaces; empty for an empty line.

    Returns:
        The lines, and the first byte behind them.

    Raises:
        DataError: The header does not end.
    """
    file_bytes(path)
    lines: list[str] = []
    with path.open("rb") as file:
        while file.tell() < LONGEST_HEADER:
            raw = file.readline(LONGEST_HEADER)
            if not raw.endswith(b"\n"):
                break
            text = _text(raw).rstrip("\r\n")
            if (not text and not last) or (last and text.replace(" ", "").lower().startswith(last)):
                return [*lines, text] if last else lines, file.tell()
            lines.append(text)
    raise DataError("this file is truncated: its header is not complete", cure=TRUNCATED, where=path)


def _text(raw: bytes) -> str:
    """A line of a header: UTF-8, or what older programs write."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def beside(path: Path, name: str) -> Path:
    """The data file that a header names; it must lie beside the header.

    Args:
        path: The header.
        name: What it says.

    Raises:
        DataError: The name leads elsewhere (a folder, a link, several files), or there is no such file.
    """
    found = path.parent / name
    if (
        not name
        or Path(name).name != name
        or "\\" in name
        or "%" in name
        or name == ".."
        or found.is_symlink()
    ):
        raise DataError(
            "the header's data file must be one plain file beside it, its name leads elsewhere",
            cure="save the volume as one file with its header (.nrrd, .mha)",
            where=path,
        )
    if not found.is_file():
        raise DataError(f"its data file '{name}' is missing", cure="copy it beside the header", where=path)
    return found


def check_block(path: Path, data: Path, *, start: int, size: int, packing: str = "raw") -> None:
    """Compare what a header claims with the bytes that are there, and with our limit.

    Args:
        path: The file a person knows, for errors.
        data: Where the bytes lie.
        start: First byte; -1 for the last ones of a raw file.
        size: Bytes once unpacked.
        packing: ``raw``, ``gzip`` or ``zlib``.

    Raises:
        DataError: There are fewer bytes, or the claim is beyond the limit.
    """
    held = max(file_bytes(data) - max(start, 0), 0)
    refuse_claim(path, size, held=held if packing == "raw" else held * DEFLATE_RATIO)


def read_block(
    path: Path, data: Path, *, start: int, dtype: np.dtype, count: int, packing: str = "raw"
) -> np.ndarray:
    """Read ``count`` numbers, after the claim was compared with what the file can hold.

    Args:
        path: The file a person knows, for errors.
        data: Where the bytes lie: the same file or the one beside it.
        start: First byte; -1 for the last ``count`` numbers of a raw file.
        dtype: Type with byte order.
        count: How many numbers.
        packing: ``raw``, ``gzip`` or ``zlib``.

    Returns:
        ``(count,)`` in this machine's byte order.

    Raises:
        DataError: There are fewer, the stream is damaged, or the claim is beyond the limit.
    """
    size = count * dtype.itemsize
    check_block(path, data, start=start, size=size, packing=packing)
    try:
        with data.open("rb") as file:
            file.seek(file_bytes(data) - size if start < 0 else start)
            stream = gzip.GzipFile(fileobj=file) if packing == "gzip" else file
            stored = _unpacked(file, size) if packing == "zlib" else _filled(stream, size)
    except (OSError, EOFError, zlib.error) as wrong:
        raise DataError(
            f"this volume is truncated or damaged ({wrong})", cure=TRUNCATED, where=path
        ) from wrong
    if len(stored) < size:
        raise DataError(
            f"this volume is truncated: expected {size:,} bytes of voxels, got {len(stored):,}",
            cure=TRUNCATED,
            where=path,
        )
    return np.frombuffer(stored, dtype).astype(dtype.newbyteorder("="), copy=False)


def _filled(stream: IO[bytes] | gzip.GzipFile, size: int) -> bytearray:
    """At most ``size`` bytes; a gzip stream is read on to its end, where its checksum is compared."""
    stored = bytearray()
    while len(stored) < size and (piece := stream.read(min(_PIECE, size - len(stored)))):
        stored += piece
    if isinstance(stream, gzip.GzipFile):
        while stream.read(_PIECE):
            pass
    return stored


def _unpacked(file: IO[bytes], size: int) -> bytearray:
    """At most ``size`` bytes of a zlib stream, which must reach its checksum.

    Raises:
        EOFError: The stream is cut.
    """
    stored, unpacker = bytearray(), zlib.decompressobj()
    while not unpacker.eof:
        piece = unpacker.unconsumed_tail or file.read(_PIECE)
        if not piece:
            raise EOFError("the compressed stream does not end")
        stored += unpacker.decompress(piece, max(1, size - len(stored) + 1))
        if len(stored) > size:
            raise EOFError("the compressed stream holds more than its header claims")
    return stored
