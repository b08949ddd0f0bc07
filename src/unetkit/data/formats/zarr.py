"""OME-Zarr and plain Zarr arrays: a folder of chunks, read and written a band at a time."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from unetkit.data.formats import Box, Header
from unetkit.data.formats.axes import ArrayWindows, channels_of, header_of, refuse_channels, space_of
from unetkit.data.formats.checks import TRUNCATED, refuse_claim, smallest_unsigned, whole_numbers
from unetkit.data.formats.rows import KeptRows, Stack, counted, level_shapes, with_levels
from unetkit.data.formats.tiff_windows import Range
from unetkit.data.formats.zarr_metadata import DESCRIBING, ZarrArray, find_array, ome_metadata
from unetkit.errors import DataError, MissingPackageError
from unetkit.records.case import Grid
from unetkit.records.files import atomic_folder

CHUNK = 512
"""Edge of a chunk that is written, along y and x; along z a sixteenth of it."""

CHUNK_LIMIT_BYTES = 2**28
"""Decoded size of a row of chunks above which an array is read as a whole or not at all."""

_NO_LIMIT = 2**62
_INDEX_BYTES, _LEAST_CHUNK = 16, 2**16
_BLOSC_LENGTH = slice(12, 16)
_BROKEN = (
    OSError, ValueError, LookupError, TypeError, EOFError, RuntimeError, ArithmeticError, MemoryError,
    SystemError, AssertionError, AttributeError, zlib.error,
)  # fmt: skip


class ZarrFormat:
    """Images with named axes (OME-Zarr 0.1 to 0.5, Zarr 2 and 3) and arrays without names.

    A chunk that is not there counts as filled with the array's fill value, as the format has it.

    Reference:
        OME-Zarr, https://ngff.openmicroscopy.org/0.5/; Zarr, https://zarr-specs.readthedocs.io.
    """

    def describe(self, path: Path) -> Header:
        """Size, channels, type and spacing from the metadata alone; see ``Format``."""
        return _header(_checked(path))

    def read(self, path: Path) -> tuple[np.ndarray, Grid]:
        """Pixels ``(C, *S)`` of the full resolution, in the array's type."""
        array = _checked(path)
        header = _header(array)
        whole = tuple((0, size) for size in header.shape)
        return ArrayWindows(header, array.axes, _Reader(path, array).stored).read(whole), array.grid

    def read_label(self, path: Path) -> tuple[np.ndarray, Grid]:
        """Values ``(*S)`` as stored."""
        array = _checked(path, label=True)
        refuse_channels(path, channels_of(array.axes, array.shape))
        part = _Reader(path, array).stored(tuple((0, size) for size in array.shape))
        return whole_numbers(path, part.reshape(space_of(array.axes, array.shape))), array.grid

    def write(self, path: Path, labels: np.ndarray, grid: Grid) -> None:
        """Write labels ``(*S)`` as OME-Zarr 0.5; direction has no place there."""
        values = smallest_unsigned(labels, path)
        self.write_rows(path, [values], shape=values.shape, dtype=values.dtype, grid=grid)

    @contextmanager
    def windows(self, path: Path) -> Iterator[_ZarrWindows | None]:
        """The image, to be read in parts; None where its chunks are too large for that; see ``Windows``."""
        array = _checked(path, limit=_NO_LIMIT)
        reader, header = _Reader(path, array), _header(array)
        deep = reader.chunk[array.axes.index("ZYX"[-len(header.shape)])]
        row = math.prod(header.shape[1:]) * deep * header.channels * array.dtype.itemsize
        opened = None
        if max(row, math.prod(reader.chunk) * array.dtype.itemsize) <= CHUNK_LIMIT_BYTES:
            opened = _ZarrWindows(ArrayWindows(header, array.axes, reader.stored), step=deep)
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
        """Write labels as OME-Zarr 0.5 while their rows come, see ``WindowedFormat``.

        The folder gets its name when everything is in it. Levels halve y and x; slices stay.
        """
        zarr, names = _package(), "zyx"[-len(shape) :]
        chunk = tuple(CHUNK // 16 if axis == "z" else CHUNK for axis in names)
        with atomic_folder(path) as folder:
            facts = ome_metadata(path.name.partition(".")[0], grid, levels=levels)
            group = zarr.create_group(store=str(folder), zarr_format=3, attributes=facts)
            sinks = []
            for level, size in enumerate(level_shapes(shape, levels)):
                deep = min(chunk[0], size[0])
                array = group.create_array(
                    name=str(level),
                    shape=size,
                    chunks=(deep, *map(min, chunk[1:], size[1:])),
                    dtype=np.dtype(dtype),
                    fill_value=0,
                    dimension_names=list(names),
                )
                sinks.append(_Sink(array, rows=deep))
            for parts in with_levels(counted(bands, shape), levels):
                for sink, part in zip(sinks, parts, strict=True):
                    sink.put(part)
            for sink in sinks:
                sink.close()


class _Sink:
    """Rows into an array, a row of chunks at a time."""

    def __init__(self, array: Any, *, rows: int) -> None:  # noqa: ANN401 - zarr has one home
        self._array, self._stack, self._top = array, Stack(rows), 0

    def put(self, band: np.ndarray) -> None:
        self._write(self._stack.add(band))

    def close(self) -> None:
        self._write(self._stack.rest())

    def _write(self, blocks: Iterable[np.ndarray]) -> None:
        for block in blocks:
            self._array[self._top : self._top + len(block)] = block
            self._top += len(block)


class _ZarrWindows:
    """An open image of which no chunk is decoded twice as long as rows are read from top to bottom."""

    def __init__(self, plain: ArrayWindows, *, step: int) -> None:
        self.header, self.channels = plain.header, plain.channels
        self._rows = KeptRows(plain.read, step=step, length=plain.header.shape[0])

    def read(self, region: Box) -> np.ndarray:
        """Pixels ``(C, *region)`` in the array's type."""
        return self._rows.read(region)


class _Reader:
    """Parts of an array as they are stored."""

    def __init__(self, path: Path, array: ZarrArray) -> None:
        self._path = path
        with _named(path):
            self._array: Any = _package().open_array(
                store=_bounded_store(array), mode="r", zarr_format=array.version
            )
            if (self._array.shape, self._array.dtype) != (array.shape, array.dtype):
                raise ValueError("its metadata changed while it was opened")
            self.chunk: tuple[int, ...] = tuple(self._array.chunks)

    def stored(self, spans: tuple[Range, ...]) -> np.ndarray:
        """The part between start and stop per axis, in this machine's byte order."""
        with _named(self._path):
            part = np.asarray(self._array[tuple(slice(*span) for span in spans)])
        return part.astype(part.dtype.newbyteorder("="), copy=False)


def _bounded_store(array: ZarrArray) -> Any:  # noqa: ANN401 - zarr has one home
    """The array's files, of which none is unpacked that is empty, cut, or larger than what it can hold.

    Decoders know no limit: two kilobytes of pixels may stand in a gigabyte of zeros, well packed. A chunk
    that was packed for nothing is little longer than its pixels; a shard has an index besides. Blosc reads
    on behind the end of a chunk that is cut, and one of no bytes may count as one that was left out.
    """
    from zarr.storage import LocalStore

    most = math.prod(array.chunk) * (2 * array.dtype.itemsize + _INDEX_BYTES) + _LEAST_CHUNK

    class BoundedStore(LocalStore):
        def refuse_size(self, key: str) -> None:
            path = self.root / key
            if path.name in DESCRIBING or not path.is_file() or 0 < (size := path.stat().st_size) <= most:
                return
            raise ValueError(f"'{key}' has {size:,} bytes, its pixels fill {most:,} at most")

        def whole(self, key: str, found: Any) -> Any:  # noqa: ANN401
            if found is not None and array.packing == "blosc" and Path(key).name not in DESCRIBING:
                stated = int.from_bytes(found.as_numpy_array()[_BLOSC_LENGTH].tobytes(), "little")
                if not _BLOSC_LENGTH.stop <= stated <= len(found):
                    raise ValueError(f"'{key}' has {len(found):,} bytes and states {stated:,}")
            return found

        async def get(self, key: str, *words: Any, **named: Any) -> Any:  # noqa: ANN401
            self.refuse_size(key)
            return self.whole(key, await super().get(key, *words, **named))

        def get_sync(self, key: str, **named: Any) -> Any:  # noqa: ANN401
            self.refuse_size(key)
            return self.whole(key, super().get_sync(key, **named))

    return BoundedStore(array.folder, read_only=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Every failure of the library becomes one ``DataError``."""
    try:
        yield
    except _BROKEN as wrong:
        said = str(wrong).split("\n")[0].rstrip(". ")[:200]
        raise DataError(f"this Zarr is truncated or damaged ({said})", cure=TRUNCATED, where=path) from wrong


def _checked(path: Path, *, limit: int | None = None, label: bool = False) -> ZarrArray:
    """The array, its claims checked."""
    array = find_array(path, label=label)
    refuse_claim(path, array.claimed_bytes, limit=limit)
    return array


def _header(array: ZarrArray) -> Header:
    return header_of(array.axes, array.shape, array.dtype, array.grid, notes=array.notes)


def _package() -> ModuleType:
    try:
        import zarr
    except ModuleNotFoundError as missing:
        raise MissingPackageError(
            "Zarr images need the package 'zarr', which is not installed", cure="pip install 'unetkit[zarr]'"
        ) from missing
    return zarr
