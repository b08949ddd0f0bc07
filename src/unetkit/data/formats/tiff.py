"""TIFF through tifffile: 8 to 32 bits, several channels, several pages."""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import tifffile

from unetkit.data.formats import Box, Header
from unetkit.data.formats.axes import MOST_CHANNELS
from unetkit.data.formats.checks import (
    TRUNCATED,
    file_bytes,
    refuse_claim,
    smallest_unsigned,
    whole_numbers,
)
from unetkit.data.formats.georeference import georeference_tags, read_georeference
from unetkit.data.formats.rows import counted, label_tiles
from unetkit.data.formats.spacing import (
    Spacing,
    aperio_spacing,
    grid_of,
    imagej_spacing,
    ome_spacing,
    read_density,
    tag_spacing,
)
from unetkit.data.formats.stored import StoredArray
from unetkit.data.formats.tiff_levels import TILE, write_levels
from unetkit.data.formats.tiff_pages import RATIOS, UNCOMPRESSED, check_pages
from unetkit.data.formats.tiff_windows import Parts, Segments, TiffWindows, check_streams, shown
from unetkit.errors import DataError
from unetkit.records.case import Georeference, Grid
from unetkit.records.files import atomic, write_bytes

SEGMENT_LIMIT_BYTES = 2**28
"""Decoded size of a row of strips or tiles above which a file is read as a whole or not at all."""

_NO_LIMIT = 2**62

_BROKEN = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    EOFError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    struct.error,
    zlib.error,
)
_JPEGS = (6, 7)
_PALETTE = 3
_SLIDES = ("svs", "ndpi")


class TiffFormat:
    """TIFF pictures and stacks."""

    def describe(self, path: Path) -> Header:
        """Size, channels and type from the tags alone; see ``Format``."""
        with _opened(path) as stack:
            return _header(stack)

    def read(self, path: Path) -> tuple[np.ndarray, Grid]:
        """Pixels ``(C, *S)`` in the file's type."""
        with _opened(path) as stack:
            place, pixels = stack.grid, _arranged(stack)
            colours = stack.keyframe.colormap if stack.keyframe.photometric == _PALETTE else None
        pixels = shown(pixels, colours)
        if pixels.dtype.kind in "u" and pixels.shape[0] == 4 and bool((pixels[3] == _top(pixels)).all()):
            pixels = pixels[:3]
        return np.ascontiguousarray(pixels), place(pixels.ndim - 1)

    def read_label(self, path: Path) -> tuple[np.ndarray, Grid]:
        """Values ``(*S)`` as stored, never colours."""
        with _opened(path) as stack:
            if int(stack.keyframe.compression) in _JPEGS:
                raise DataError(
                    "a mask with JPEG compression is refused: it invents label values",
                    cure="export the mask without compression or with deflate",
                    where=path,
                )
            values, place = _arranged(stack), stack.grid
        if values.shape[0] != 1:
            raise DataError(
                f"an RGB mask: expected one channel of class numbers, got {values.shape[0]}",
                cure="save the mask as one grey channel whose values are the class numbers",
                where=path,
            )
        return whole_numbers(path, values[0]), place(values.ndim - 1)

    def write(self, path: Path, labels: np.ndarray, grid: Grid) -> None:
        """Write labels ``(*S)`` with lossless compression; a volume's first axis becomes the pages.

        A calibrated grid is written as ImageJ does, in mm; its origin and direction have no place in a TIFF,
        a georeference has.
        """
        values = smallest_unsigned(labels, path)
        stated: dict[str, Any] = {"metadata": {"axes": "ZYX"[-values.ndim :]}}
        if grid.calibrated:
            *deep, down, across = grid.spacing_mm
            stated["imagej"], stated["resolution"] = True, (1 / across, 1 / down)
            stated["metadata"] |= {"unit": "mm", **({"spacing": deep[0]} if deep else {})}
        stated["extratags"] = _extra(grid)
        buffer = io.BytesIO()  # the writer wants a file with a name
        tifffile.imwrite(buffer, values, compression="zlib", photometric="minisblack", **stated)
        write_bytes(path, buffer.getvalue())

    @contextmanager
    def windows(self, path: Path) -> Iterator[TiffWindows | None]:
        """The file, to be read in parts; None where it is one large compressed piece; see ``Windows``.

        An opaque alpha is left out as in ``read``; to know it, every pixel of four channels is looked at.
        """
        opening = _opened(path, limit=_NO_LIMIT)
        stack = opening.__enter__()
        try:
            with _named(path):
                header, parts, page = _header(stack), _parts(path, stack), stack.keyframe
            colours = page.colormap if page.photometric == _PALETTE else None
            yield parts and TiffWindows(header, parts, colours=colours, named=partial(_named, path))
        finally:
            opening.__exit__(None, None, None)  # what fails in the caller's hands is no fault of this file

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
        """Write labels as a tiled BigTIFF while their rows come; see ``WindowedFormat``.

        A calibrated grid is written as OME-XML, in mm; a picture with levels as a Cloud Optimized GeoTIFF.
        """
        with atomic(path) as file:
            if levels and len(shape) == 2:
                rows = counted(bands, shape)
                write_levels(
                    file, rows, shape=shape, dtype=dtype, grid=grid, levels=levels, folder=path.parent
                )
                return
            stated: dict[str, Any] = {"axes": "ZYX"[-len(shape) :]}
            if grid.calibrated:
                for axis, step in zip(stated["axes"], grid.spacing_mm, strict=True):
                    stated |= {f"PhysicalSize{axis}": step, f"PhysicalSize{axis}Unit": "mm"}
            handle = tifffile.FileHandle(file, name="labels.tif", size=0)
            # left open when something fails: closing would write the end of a file that has none
            writer = tifffile.TiffWriter(handle, bigtiff=True, ome=grid.calibrated)
            writer.write(
                label_tiles(counted(bands, shape), rank=len(shape), edge=TILE),
                shape=shape,
                dtype=dtype,
                tile=(TILE, TILE),
                compression="zlib",
                photometric="minisblack",
                maxworkers=1,
                metadata=stated,
                extratags=_extra(grid),
            )
            writer.close()


@dataclass(frozen=True)
class _Stack:
    """What is read of a file: one series, or equal single pages put on top of one another."""

    axes: str
    shape: tuple[int, ...]
    parts: tuple[tifffile.TiffPageSeries, ...]
    note: str = ""
    spacing: Spacing = field(default_factory=dict)
    georeference: Georeference | None = None

    def grid(self, rank: int) -> Grid:
        return replace(grid_of(self.spacing, rank), georeference=self.georeference)

    @property
    def keyframe(self) -> tifffile.TiffPage:
        return cast("tifffile.TiffPage", self.parts[0].keyframe)

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.parts[0].dtype)

    def pages(self) -> list[tifffile.TiffPage | tifffile.TiffFrame | None]:
        return [page for part in self.parts for page in part.pages]

    def asarray(self) -> np.ndarray:
        arrays = [part.asarray() for part in self.parts]
        return (arrays[0] if len(arrays) == 1 else np.stack(arrays)).reshape(self.shape)


def _stack(file: tifffile.TiffFile, path: Path) -> _Stack:
    if not file.series or file.series[0].dtype is None:
        raise DataError("this TIFF holds no picture", cure=TRUNCATED, where=path)
    series = file.series
    first = series[0]
    alike = all((s.shape, s.dtype, s.axes) == (first.shape, first.dtype, first.axes) for s in series)
    if len(series) > 1 and alike and first.axes == "YX":
        return _Stack("IYX", (len(series), *first.shape), tuple(series))
    kept = [
        (axis, size) for axis, size in zip(first.axes, first.shape, strict=True) if axis in "YX" or size != 1
    ]
    note = f"it holds {len(series)} different pictures: the first was read" if len(series) > 1 else ""
    if note and first.kind in _SLIDES:
        note = "a slide: its full resolution was read, its label and the picture of the glass were not"
    return _Stack("".join(a for a, _ in kept), tuple(n for _, n in kept), (first,), note)


@contextmanager
def _opened(path: Path, *, limit: int | None = None) -> Iterator[_Stack]:
    """The pictures of a file, its claims checked."""
    length = file_bytes(path)
    with _named(path):
        check_pages(path, length)
        with tifffile.TiffFile(path) as file:
            tags = cast("tifffile.TiffPage", file.pages.first).tags
            place = {"spacing": _spacing(file), "georeference": read_georeference(tags.valueof)}
            stack = replace(_stack(file, path), **place)
            _check(path, stack, length, limit)
            yield stack


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Every failure of the reader becomes one ``DataError``."""
    try:
        yield
    except (tifffile.TiffFileError, *_BROKEN) as wrong:
        if "imagecodecs" in str(wrong):
            raise DataError(
                f"this TIFF's compression needs one more package ({wrong})",
                cure="pip install 'unetkit[tiff]'",
                where=path,
            ) from wrong
        raise DataError(f"this TIFF is truncated or damaged ({wrong})", cure=TRUNCATED, where=path) from wrong


def _check(path: Path, stack: _Stack, length: int, limit: int | None) -> None:
    """Compare what the tags promise with what the file holds, before a pixel is decoded."""
    if stack.dtype.kind not in "biuf":
        raise DataError(f"pixels of type {stack.dtype} cannot be used", cure="save real numbers", where=path)
    claimed = math.prod(stack.shape) * stack.dtype.itemsize
    stored = 0
    kind = int(stack.keyframe.compression)
    for page in stack.pages():
        if page is None:
            raise DataError("this TIFF is truncated: a page is missing", cure=TRUNCATED, where=path)
        pieces = 0 if kind == UNCOMPRESSED else math.prod(page.chunked)
        if len(page.dataoffsets) < pieces:
            raise DataError(
                f"this TIFF is damaged: its size needs {pieces:,} strips or tiles, it names "
                f"{len(page.dataoffsets):,}",
                cure=TRUNCATED,
                where=path,
            )
        for start, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            stored += count
            if start + count > length:
                raise DataError(
                    f"this TIFF is truncated: its pixels end at byte {start + count:,}, "
                    f"the file at {length:,}",
                    cure=TRUNCATED,
                    where=path,
                )
    bits = 8 if stack.keyframe.bitspersample < 8 else 1
    if kind == UNCOMPRESSED:
        refuse_claim(path, claimed // bits, held=length, limit=limit)
    elif kind in RATIOS:
        refuse_claim(path, claimed // bits, held=stored * RATIOS[kind], limit=limit)
    refuse_claim(path, claimed, limit=limit)


def _extra(grid: Grid) -> list[tuple[int, int, int, object, bool]]:
    """What the writer is told of a georeference: on the first page alone."""
    return [(*tag, True) for tag in georeference_tags(grid.georeference)]


def _spacing(file: tifffile.TiffFile) -> Spacing:
    """What the first of the four places that states a length says."""
    tags = cast("tifffile.TiffPage", file.pages.first).tags
    density = read_density(tags.valueof(282), tags.valueof(283))
    unit = tags.valueof(296)
    return (
        ome_spacing(file.ome_metadata or "")
        or aperio_spacing(cast("tifffile.TiffPage", file.pages.first).description)
        or imagej_spacing(file.imagej_metadata or {}, density)
        or tag_spacing(density, unit if isinstance(unit, int) else 0)
    )


def _order(stack: _Stack) -> tuple[str, str]:
    """The file's axes as channel, then space (``.`` where there is no channel), and what was decided."""
    axes, sizes = stack.axes, stack.shape
    others = axes.replace("Y", "").replace("X", "")
    unnamed = [axis for axis in others if axis not in "SCZ"]
    depth, channel, note = "Z" if "Z" in others else "", "".join(a for a in others if a in "SC"), stack.note
    if len(unnamed) == 1:
        count = sizes[axes.index(unnamed[0])]
        if not depth and (channel or count > MOST_CHANNELS):
            depth = unnamed[0]
            note = f"its {count} pages were taken as the slices of a volume"
        else:
            channel += unnamed[0]
            note = f"its {count} pages were taken as channels (up to {MOST_CHANNELS} are)"
    if len(unnamed) > 1 or len(channel) > 1 or "Y" not in axes or "X" not in axes:
        raise ValueError(f"axes {axes} of sizes {sizes} are neither a picture nor a volume with channels")
    return f"{channel or '.'}{depth}YX", note


def _header(stack: _Stack) -> Header:
    order, note = _order(stack)
    sizes = dict(zip(stack.axes, stack.shape, strict=True))
    page = stack.keyframe
    shape = tuple(sizes[axis] for axis in order[1:])
    return Header(
        channels=3 if page.photometric == _PALETTE else sizes.get(order[0], 1),
        shape=shape,
        dtype="uint8" if stack.dtype == np.bool_ else str(stack.dtype),
        grid=stack.grid(len(shape)),
        lossy=int(page.compression) in _JPEGS,
        notes=(note,) if note else (),
    )


def _parts(path: Path, stack: _Stack) -> Parts | None:
    """What reads a region of the stored values; None where they come only all at once."""
    order, _ = _order(stack)
    page, pages = stack.keyframe, stack.pages()
    if any(each is None or each.parent is not page.parent for each in pages):
        return None
    offset = stack.parts[0].dataoffset if len(stack.parts) == 1 else None
    if offset is not None and page.bitspersample >= 8:
        return _stored_parts(path, stack, offset)
    planes, deep, length, width, samples = page.shaped
    inside = (*((planes,) if planes > 1 else ()), length, width, *((samples,) if samples > 1 else ()))
    lead = tuple(zip(stack.axes, stack.shape, strict=True))[: len(stack.axes) - len(inside)]
    alike = stack.shape[len(lead) :] == inside and math.prod(size for _, size in lead) == len(pages)
    if deep != 1 or min(planes, samples) > 1 or not alike:
        return None
    segments = Segments(pages, page, lead, depth=order[1] if len(order) == 4 else "")
    return segments.read if segments.row_bytes <= SEGMENT_LIMIT_BYTES else None


def _stored_parts(path: Path, stack: _Stack, offset: int) -> Parts:
    """What reads a region of values that lie in the file one behind the other, uncompressed."""
    order, _ = _order(stack)
    kind = stack.dtype.newbyteorder(stack.keyframe.parent.byteorder)
    first = stack.axes.index(order[1])
    stored = StoredArray(path, offset=offset, shape=stack.shape, dtype=kind, rows_axis=first)
    places = [stack.axes.index(axis) for axis in order if axis != "."]

    def read(channels: int, region: Box) -> np.ndarray:
        ranges = {order[0]: (0, channels)} | dict(zip(order[1:], region, strict=True))
        part = stored.read(tuple(ranges[axis] for axis in stack.axes)).transpose(places)
        return part[None] if order[0] == "." else part

    return read


def _arranged(stack: _Stack) -> np.ndarray:
    order, _ = _order(stack)
    check_streams(stack.pages(), stack.keyframe)
    array = stack.asarray().transpose([stack.axes.index(axis) for axis in order if axis != "."])
    return array[None] if order[0] == "." else array


def _top(pixels: np.ndarray) -> int:
    return int(np.iinfo(pixels.dtype).max)
