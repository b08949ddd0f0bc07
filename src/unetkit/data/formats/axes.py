"""Which axis of a stored array is which, and parts of it with the channels first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from unetkit.data.formats import Box, Header
from unetkit.data.formats.tiff_windows import Range, shown
from unetkit.errors import DataError
from unetkit.records.case import Grid

MOST_CHANNELS = 4
"""A nameless axis up to this length is one of channels; a longer one is that of a volume's slices."""

StoredPart = Callable[[tuple[Range, ...]], np.ndarray]
"""Start and stop per stored axis → that part of the array."""


def nameless_axes(shape: tuple[int, ...], path: Path) -> tuple[str, str]:
    """Guess the axes of an array whose file does not name them.

    Args:
        shape: As stored.
        path: The file, for the error.

    Returns:
        A letter per axis (``C`` for channels), and what had to be decided.

    Raises:
        DataError: It is neither a picture nor a volume.

    Example:
        >>> nameless_axes((3, 64, 64), Path("a.npy"))[0], nameless_axes((40, 64, 64), Path("a.npy"))[0]
        ('CYX', 'ZYX')
    """
    space = "ZYX" if len(shape) == 4 else "YX"
    if len(shape) == 2:
        return "YX", ""
    if len(shape) in (3, 4) and shape[0] <= MOST_CHANNELS:
        return f"C{space}", f"its first axis, of {shape[0]}, was taken as channels"
    if len(shape) in (3, 4) and shape[-1] <= MOST_CHANNELS:
        return f"{space}C", f"its last axis, of {shape[-1]}, was taken as channels"
    if len(shape) == 3:
        return "ZYX", f"its first axis, of {shape[0]}, was taken as the slices of a volume"
    raise DataError(
        f"an array of shape {shape} is neither a picture nor a volume",
        cure=f"store (y, x) or (z, y, x), with at most {MOST_CHANNELS} channels as first or last axis",
        where=path,
    )


def label_axes(shape: tuple[int, ...], path: Path) -> str:
    """The axes of a label whose file does not name them: all are of space, but for one of a single channel.

    Args:
        shape: As stored.
        path: The file, for the error.

    Raises:
        DataError: There are too many or too few axes.

    Example:
        >>> label_axes((3, 64, 64), Path("a.npy")), label_axes((1, 64, 64), Path("a.npy"))
        ('ZYX', 'CYX')
    """
    if len(shape) == 3 and 1 not in (shape[0], shape[-1]):
        return "ZYX"
    return nameless_axes(shape, path)[0]


def space_of(axes: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """``*S`` of an array with these axes."""
    return tuple(size for axis, size in zip(axes, shape, strict=True) if axis in "ZYX")


def channels_of(axes: str, shape: tuple[int, ...]) -> int:
    """Number of channels of an array with these axes."""
    return shape[axes.index("C")] if "C" in axes else 1


def channels_first(array: np.ndarray, axes: str) -> np.ndarray:
    """An array as ``(C, *S)``.

    Args:
        array: As stored.
        axes: A letter per axis; ``.`` for one of a single number that is left out.

    Example:
        >>> channels_first(np.zeros((5, 6, 3)), "YXC").shape, channels_first(np.zeros((1, 5, 6)), ".YX").shape
        ((3, 5, 6), (1, 5, 6))
    """
    kept = array.reshape([size for axis, size in zip(axes, array.shape, strict=True) if axis != "."])
    named = axes.replace(".", "")
    if "C" not in named:
        return kept[None]
    return np.moveaxis(kept, named.index("C"), 0)


def header_of(
    axes: str,
    shape: tuple[int, ...],
    dtype: np.dtype,
    grid: Grid | None = None,
    *,
    notes: tuple[str, ...] = (),
) -> Header:
    """What an array with these axes claims; bits count as bytes.

    Args:
        axes: A letter per stored axis.
        shape: As stored.
        dtype: As stored.
        grid: Where the pixels lie; spacing 1 where nothing states it.
        notes: What had to be decided.

    Example:
        >>> header = header_of("CYX", (3, 5, 6), np.dtype(">u2"))
        >>> header.channels, header.shape, header.dtype
        (3, (5, 6), 'uint16')
    """
    kind = "uint8" if dtype.kind == "b" else dtype.newbyteorder("=").name
    space = space_of(axes, shape)
    return Header(channels_of(axes, shape), space, kind, grid or Grid.plain(len(space)), notes=notes)


def refuse_channels(path: Path, count: int) -> None:
    """Refuse an array with several channels as a label.

    Args:
        path: The file, for the error.
        count: Its channels.

    Raises:
        DataError: They are not one.
    """
    if count != 1:
        raise DataError(
            f"expected one label per pixel, got {count} channels",
            cure="save the label as one array of class numbers",
            where=path,
        )


class ArrayWindows:
    """An open array of which parts are read; see ``Windows``.

    Args:
        header: What ``describe`` says of it.
        axes: A letter per stored axis, those of space in the order Z, Y, X.
        read: What reads a part as it is stored.
    """

    def __init__(self, header: Header, axes: str, read: StoredPart) -> None:
        self.header, self.channels = header, header.channels
        self._axes, self._read = axes, read

    def read(self, region: Box) -> np.ndarray:
        """Pixels ``(C, *region)`` in the file's type."""
        spans = dict(zip("ZYX"[-len(region) :], region, strict=True)) | {"C": (0, self.channels)}
        part = self._read(tuple(spans.get(axis, (0, 1)) for axis in self._axes))
        return np.ascontiguousarray(shown(channels_first(part, self._axes), None))
