"""What every format checks: a claim before it is believed, a label before it is an integer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unetkit.errors import DataError

LIMIT_BYTES = 8 * 2**30
"""Decoded size above which a file is refused: a header of 100 bytes can claim terabytes."""

DEFLATE_RATIO = 1032
"""No deflate stream (PNG, gzip, TIFF) unpacks to more than this many times its own length."""

TRUNCATED = "copy the file again from its source; nothing of it was used"


def file_bytes(path: Path) -> int:
    """The length of a file.

    Raises:
        DataError: It is not there, cannot be read or is empty.
    """
    try:
        length = path.stat().st_size
    except OSError as wrong:
        raise DataError(
            f"this file cannot be read ({wrong.strerror})", cure="correct the path", where=path
        ) from None
    if path.is_dir():
        raise DataError("expected a file, got a folder", cure="correct the path", where=path)
    if length == 0:
        raise DataError("this file is empty (0 bytes)", cure=TRUNCATED, where=path)
    return length


def refuse_claim(path: Path, claimed: int, *, held: int | None = None, limit: int | None = None) -> None:
    """Refuse a header whose claim the file or the memory cannot hold, before anything is allocated.

    Args:
        path: The file.
        claimed: Bytes the decoded pixels would take.
        held: The most bytes that can come out of this file, None when unknown.
        limit: The most bytes we decode; ``LIMIT_BYTES`` when None.

    Raises:
        DataError: The claim is larger than either.
    """
    if held is not None and claimed > held:
        raise DataError(
            f"this file is truncated: its header claims {claimed:,} bytes, it can hold at most {held:,}",
            cure=TRUNCATED,
            where=path,
        )
    most = LIMIT_BYTES if limit is None else limit
    if claimed > most:
        raise DataError(
            f"this file would unpack to {claimed:,} bytes, the limit is {most:,}",
            cure="cut it into smaller pieces",
            where=path,
        )


def whole_numbers(path: Path, values: np.ndarray) -> np.ndarray:
    """Label values as integers, unchanged; whole numbers stored as floats are cast.

    Args:
        path: The file, for the error.
        values: ``(*S)`` of any numeric type.

    Raises:
        DataError: A value is not a whole number.
    """
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    if values.dtype.kind in "iu":
        return values
    if values.dtype.kind != "f":
        raise DataError(f"a label of type {values.dtype} has no class ids", cure=WHOLE, where=path)
    with np.errstate(invalid="ignore"):
        cast = values.astype(np.int64)
    odd = values[cast != values]
    if odd.size:
        raise DataError(
            f"float labels: expected whole numbers, got {odd.flat[0]:g} ({odd.size} such pixels)",
            cure=WHOLE,
            where=path,
        )
    return cast


def one_channel(path: Path, pixels: np.ndarray) -> np.ndarray:
    """The values ``(*S)`` of a volume that can be a label.

    Args:
        path: The file, for the error.
        pixels: ``(C, *S)``.

    Raises:
        DataError: It has more than one channel.
    """
    if len(pixels) != 1:
        raise DataError(
            f"expected one label per voxel, got {len(pixels)} channels",
            cure="save the label as one volume of class numbers",
            where=path,
        )
    return pixels[0]


WHOLE = "save the label as whole class numbers (uint8), without interpolation or smoothing"


def smallest_unsigned(labels: np.ndarray, path: Path) -> np.ndarray:
    """Class ids in the smallest unsigned type that holds them.

    Args:
        labels: ``(*S)`` integers from 0 on.
        path: The file that is going to be written, for the error.

    Raises:
        DataError: A label is negative or does not fit 16 bits.

    Example:
        >>> smallest_unsigned(np.array([0, 300]), Path("a.png")).dtype
        dtype('uint16')
    """
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if low < 0 or high > 65535 or labels.dtype.kind not in "biu":
        raise DataError(
            f"labels must be whole numbers from 0 to 65535, got {low} to {high} ({labels.dtype})",
            cure="number the classes from 0 on",
            where=path,
        )
    return labels.astype(np.uint8 if high < 256 else np.uint16)
