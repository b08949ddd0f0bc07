"""NumPy's .npy files: one array of numbers; of one in C order any part is read without the rest."""

from __future__ import annotations

import tokenize
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unetkit.data.formats import Header
from unetkit.data.formats.axes import (
    ArrayWindows,
    channels_first,
    header_of,
    label_axes,
    nameless_axes,
    refuse_channels,
)
from unetkit.data.formats.checks import file_bytes, refuse_claim, smallest_unsigned, whole_numbers
from unetkit.data.formats.rows import counted
from unetkit.data.formats.stored import StoredArray
from unetkit.data.formats.tiff_windows import shown
from unetkit.errors import DataError
from unetkit.records.case import Grid
from unetkit.records.files import atomic

_NO_LIMIT = 2**62
_BROKEN = (
    OSError, ValueError, EOFError, LookupError, MemoryError, RecursionError, SyntaxError, TypeError,
    tokenize.TokenError,
)  # fmt: skip
"""What numpy's parser of a header lets through: it hands the text to Python's own."""

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class NpyFormat:
    """Arrays ``(y, x)`` or ``(z, y, x)``, with a few channels as first or last axis; no place is stated.

    Reference:
        NEP 1, https://numpy.org/neps/nep-0001-npy-format.html.
    """

    def describe(self, path: Path) -> Header:
        """Size, channels and type from the header alone; see ``Format``."""
        return _header(path, _opened(path))

    def read(self, path: Path) -> tuple[np.ndarray, Grid]:
        """Pixels ``(C, *S)`` in the file's type."""
        stored = _opened(path)
        axes, _ = nameless_axes(stored.shape, path)
        pixels = shown(channels_first(_whole(path, stored), axes), None)
        return np.ascontiguousarray(pixels), Grid.plain(pixels.ndim - 1)

    def read_label(self, path: Path) -> tuple[np.ndarray, Grid]:
        """Values ``(*S)`` as stored."""
        stored = _opened(path)
        values = channels_first(_whole(path, stored), label_axes(stored.shape, path))
        refuse_channels(path, len(values))
        return whole_numbers(path, np.ascontiguousarray(values[0])), Grid.plain(values.ndim - 1)

    def write(self, path: Path, labels: np.ndarray, grid: Grid) -> None:
        """Write labels ``(*S)``; a grid has no place in this format."""
        values = smallest_unsigned(labels, path)
        self.write_rows(path, [values], shape=values.shape, dtype=values.dtype, grid=grid)

    @contextmanager
    def windows(self, path: Path) -> Iterator[ArrayWindows | None]:
        """The file, to be read in parts; None where it is in Fortran order; see ``Windows``."""
        stored = _opened(path, limit=_NO_LIMIT)
        header, opened = _header(path, stored), None
        if not stored.fortran:
            axes, _ = nameless_axes(stored.shape, path)
            opened = ArrayWindows(
                header, axes, _stored_array(path, stored, first=axes.index("ZYX"[-len(header.shape)])).read
            )
        yield opened

    def write_rows(
        self,
        path: Path,
        bands: Iterable[np.ndarray],
        *,
        shape: tuple[int, ...],
        dtype: np.dtype,
        grid: Grid,
        levels: int = 0,
    ) -> None:
        """Write labels while their rows come; see ``WindowedFormat``. No levels have a place here."""
        facts = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": tuple(map(int, shape))}
        with atomic(path) as file:
            np.lib.format.write_array_header_1_0(file, facts)
            for band in counted(bands, shape):
                file.write(np.ascontiguousarray(band, dtype).data)


@dataclass(frozen=True)
class _Stored:
    """What a header states, and where the numbers begin."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    offset: int


def _opened(path: Path, *, limit: int | None = None) -> _Stored:
    """A header, its claims checked."""
    length = file_bytes(path)
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy advises people to save files of Python 2 anew
            version = np.lib.format.read_magic(file)
            if version not in _HEADERS:
                raise ValueError(f"version {version[0]}.{version[1]} holds no plain numbers")
            shape, fortran, dtype = _HEADERS[version](file)
            offset = file.tell()
    except _BROKEN as wrong:
        said = str(wrong).split("\n")[0].rstrip(". ")
        raise DataError(
            f"this .npy file is damaged, or none at all ({said})",
            cure="write it anew with numpy.save(path, array, allow_pickle=False)",
            where=path,
        ) from wrong
    if dtype.kind not in "biuf" or any(size < 1 for size in shape):
        raise DataError(
            f"an array of {dtype} and shape {shape} cannot be used", cure="save real numbers", where=path
        )
    claimed = int(np.prod(shape, dtype=object)) * dtype.itemsize
    refuse_claim(path, claimed, held=length - offset, limit=limit)
    return _Stored(shape, fortran, dtype, offset)


def _header(path: Path, stored: _Stored) -> Header:
    axes, note = nameless_axes(stored.shape, path)
    return header_of(axes, stored.shape, stored.dtype, notes=(note,) if note else ())


def _stored_array(path: Path, stored: _Stored, *, first: int) -> StoredArray:
    """The numbers in the order in which they lie in the file."""
    shape = stored.shape[::-1] if stored.fortran else stored.shape
    return StoredArray(path, offset=stored.offset, shape=shape, dtype=stored.dtype, rows_axis=first)


def _whole(path: Path, stored: _Stored) -> np.ndarray:
    array = _stored_array(path, stored, first=0)
    numbers = array.read(tuple((0, size) for size in array.shape))
    return numbers.T if stored.fortran else numbers
