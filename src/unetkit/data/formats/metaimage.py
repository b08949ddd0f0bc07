"""MetaImage: a text header and numbers behind it (.mha) or in a file beside it (.mhd with .raw or .zraw)."""

from __future__ import annotations

import math
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from unetkit.data.formats import Header
from unetkit.data.formats.block_volume import BlockVolume, label_block
from unetkit.data.formats.blocks import beside, read_lines
from unetkit.data.formats.checks import TRUNCATED, file_bytes, one_channel, whole_numbers
from unetkit.data.formats.spacing import unit_lengths
from unetkit.data.formats.world import grid_from_steps, swap_lps
from unetkit.errors import DataError
from unetkit.records.case import Grid
from unetkit.records.files import atomic

_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2",
    "MET_INT": "i4", "MET_UINT": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
"""``MET_LONG`` is left out: four bytes on one machine, eight on another."""

_WRITTEN = {"uint8": "MET_UCHAR", "uint16": "MET_USHORT"}
_LAST = "elementdatafile="
_PLACE = ("Offset", "Position", "Origin")
_TURN = ("TransformMatrix", "Rotation", "Orientation")


class MetaImageFormat:
    """MetaImage with 2 or 3 axes; the channels of a voxel lie together."""

    def describe(self, path: Path) -> Header:
        """Size, channels, type and geometry from the header alone; see ``Format``."""
        return _volume(path).header()

    def read(self, path: Path) -> tuple[np.ndarray, Grid]:
        """Pixels ``(C, *S)`` as stored."""
        volume = _volume(path)
        return volume.pixels(), volume.grid

    def read_label(self, path: Path) -> tuple[np.ndarray, Grid]:
        """Values ``(*S)``; whole numbers stored as floats are cast, others refused."""
        pixels, grid = self.read(path)
        return whole_numbers(path, one_channel(path, pixels)), grid

    def write(self, path: Path, labels: np.ndarray, grid: Grid) -> None:
        """Write labels ``(*S)`` compressed in one file."""
        values, data = label_block(path, labels, beside=".mhd", whole=".mha")
        packed = zlib.compress(data, 6)
        lines = [
            "ObjectType = Image",
            f"NDims = {values.ndim}",
            "BinaryData = True",
            "BinaryDataByteOrderMSB = False",
            "CompressedData = True",
            f"CompressedDataSize = {len(packed)}",
            *_place(grid),
            f"DimSize = {' '.join(map(str, values.shape[::-1]))}",
            f"ElementType = {_WRITTEN[values.dtype.name]}",
            "ElementDataFile = LOCAL",
        ]
        with atomic(path) as file:
            file.write("\n".join([*lines, ""]).encode() + packed)

    def parts(self, path: Path) -> tuple[Path, ...]:
        """The header and its data file, where that lies beside it."""
        return _volume(path).parts()


def _place(grid: Grid) -> list[str]:
    """The header lines that say where a volume lies; nothing is said of a place that was not stated."""
    lines: list[str] = []
    if grid.placed:
        turns = swap_lps(np.asarray(grid.direction))[::-1]
        lines.append(f"TransformMatrix = {_words(turns.ravel())}")
        lines.append(f"Offset = {_words(swap_lps(np.asarray(grid.origin_mm)))}")
    if grid.placed or grid.calibrated:
        lines.append(f"ElementSpacing = {_words(np.asarray(grid.spacing_mm[::-1]))}")
    return lines


def _words(values: np.ndarray) -> str:
    return " ".join(repr(float(v) + 0.0) for v in values)


def _volume(path: Path) -> BlockVolume:
    file_bytes(path)
    with path.open("rb") as file:
        if b"=" not in file.read(256).partition(b"\n")[0]:
            raise DataError("these bytes are no MetaImage file", cure="export it as .mha again", where=path)
    lines, start = read_lines(path, _LAST)
    fields = {
        key.strip(): value.strip() for key, mark, value in (each.partition("=") for each in lines) if mark
    }
    sizes = _numbers(path, fields, "DimSize")
    channels = int(_numbers(path, fields, "ElementNumberOfChannels", (1,))[0])
    rank = len(sizes)
    if any(size < 1 or size != int(size) for size in sizes) or channels < 1:
        raise _damaged(path, "its sizes are no whole numbers above 0")
    if (rank,) != _numbers(path, fields, "NDims"):
        raise _damaged(path, "its sizes do not fit its number of axes")
    if rank not in (2, 3):
        raise DataError(f"expected 2 or 3 axes, got {rank}", cure="save one volume per file", where=path)
    kind = fields.get("ElementType", "")
    if kind not in _TYPES or not _true(fields, "BinaryData", default=True):
        raise DataError(
            f"expected binary numbers of a known size, got '{kind[:40]}'",
            cure="save it again in one of the types " + ", ".join(_TYPES),
            where=path,
        )
    high = _true(fields, "BinaryDataByteOrderMSB") or _true(fields, "ElementByteOrderMSB")
    name = lines[-1].partition("=")[2].strip()
    local = name.upper() == "LOCAL"
    skip = int(_numbers(path, fields, "HeaderSize", (0,))[0])
    packed = _true(fields, "CompressedData")
    if packed and skip:
        raise _damaged(path, "a 'HeaderSize' before a compressed stream cannot be followed")
    grid, notes = _grid(path, fields, rank)
    return BlockVolume(
        path=path,
        data=path if local else beside(path, name),
        start=-1 if skip < 0 else (start if local else 0) + skip,
        packing="zlib" if packed else "raw",
        dtype=np.dtype((">" if high else "<") + _TYPES[kind]),
        channels=channels,
        interleaved=True,
        shape=tuple(int(size) for size in sizes[::-1]),
        grid=grid,
        notes=notes,
    )


def _true(fields: dict[str, str], name: str, *, default: bool = False) -> bool:
    """A flag as MetaIO reads it: by its first letter."""
    return fields[name][:1] in ("T", "t", "1") if name in fields else default


def _grid(path: Path, fields: dict[str, str], rank: int) -> tuple[Grid, tuple[str, ...]]:
    stated = "ElementSpacing" if "ElementSpacing" in fields else "ElementSize"  # as MetaIO has it
    spacing = np.array(_numbers(path, fields, stated, ()))
    (unit,), unknown = unit_lengths([fields.get("DistanceUnits", "")])
    place = next((name for name in _PLACE if name in fields), None)
    turn = next((name for name in _TURN if name in fields), None)
    if spacing.shape not in ((0,), (rank,)):
        raise _damaged(path, f"expected {rank} spacings")
    if place is None and turn is None:
        plain = Grid.plain(rank)
        if not spacing.size:
            return plain, ("it states no spacing: axes were taken as they are stored",)
        grid, _ = grid_from_steps(path, np.diag(spacing[::-1] * unit), np.zeros(rank))
        return replace(plain, spacing_mm=grid.spacing_mm, calibrated=True), unknown
    lengths = spacing if spacing.size else np.ones(rank)
    turns = np.array(_numbers(path, fields, turn or "", tuple(np.eye(rank).ravel().tolist())))
    origin = np.array(_numbers(path, fields, place or "", (0.0,) * rank))
    if turns.shape != (rank * rank,) or origin.shape != (rank,):
        raise _damaged(path, f"expected a direction of {rank * rank} numbers and an offset of {rank}")
    # row i is the direction of the i-th axis of the file: the columns of ITK's direction matrix
    steps = swap_lps(turns.reshape(rank, rank) * lengths[:, None])[::-1]
    grid, notes = grid_from_steps(path, steps * unit, swap_lps(origin) * unit)
    return replace(grid, calibrated=bool(spacing.size)), (*notes, *unknown)


def _numbers(
    path: Path, fields: dict[str, str], name: str, default: tuple[float, ...] | None = None
) -> tuple[float, ...]:
    if name not in fields:
        if default is None:
            raise _damaged(path, f"its header has no '{name}'")
        return default
    try:
        values = tuple(float(word) for word in fields[name].split())
    except ValueError:
        raise _damaged(path, f"'{name}' holds no numbers") from None
    if not values or not all(math.isfinite(value) for value in values):
        raise _damaged(path, f"'{name}' holds no numbers")
    return values


def _damaged(path: Path, problem: str) -> DataError:
    return DataError(f"this MetaImage is truncated or damaged: {problem}", cure=TRUNCATED, where=path)
