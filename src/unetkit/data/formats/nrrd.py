"""NRRD: a text header and raw or gzipped numbers behind it (.nrrd) or in a file beside it (.nhdr)."""

from __future__ import annotations

import gzip
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from unetkit.data.formats import Header
from unetkit.data.formats.block_volume import BlockVolume, label_block
from unetkit.data.formats.blocks import beside, read_lines
from unetkit.data.formats.checks import TRUNCATED, file_bytes, one_channel, whole_numbers
from unetkit.data.formats.spacing import unit_lengths
from unetkit.data.formats.world import grid_from_steps, steps_of, swap_lps
from unetkit.errors import DataError
from unetkit.records.case import Grid
from unetkit.records.files import atomic

_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_PACKINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip"}
_ENDS = {"little": "<", "big": ">"}
_SPACES = {
    "right-anterior-superior": (1, 1, 1), "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1), "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1), "lps": (-1, -1, 1),
}  # fmt: skip
"""What turns a named space into RAS."""

_SPATIAL_KINDS = ("", "domain", "space", "???", "none")
_VECTOR = re.compile(r"\(([^()]*)\)|none", re.IGNORECASE)


class NrrdFormat:
    """NRRD with 2 or 3 axes in space and at most one of channels, first or last."""

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
        """Write labels ``(*S)`` gzipped in one file, in the space LPS that ITK and Slicer use."""
        values, data = label_block(path, labels, beside=".nhdr", whole=".nrrd")
        lines = [
            "NRRD0004",
            f"type: {values.dtype.name}",
            f"dimension: {values.ndim}",
            f"sizes: {' '.join(map(str, values.shape[::-1]))}",
            *_place(grid),
            *(["endian: little"] if values.dtype.itemsize > 1 else []),
            "encoding: gzip",
        ]
        with atomic(path) as file:
            file.write("\n".join([*lines, "", ""]).encode() + gzip.compress(data, 6, mtime=0))

    def parts(self, path: Path) -> tuple[Path, ...]:
        """The header and its data file, where that lies beside it."""
        return _volume(path).parts()


def _place(grid: Grid) -> list[str]:
    """The header lines that say where a volume lies; nothing is said of a place that was not stated."""
    if not grid.placed:
        spacing = " ".join(repr(v) for v in grid.spacing_mm[::-1])
        return [f"spacings: {spacing}"] if grid.calibrated else []
    steps = swap_lps(steps_of(grid))[::-1]
    space = ["space: left-posterior-superior"] if grid.rank > 2 else ["space dimension: 2"]
    return [
        *space,
        f"space directions: {' '.join(_vector(step) for step in steps)}",
        f"space origin: {_vector(swap_lps(np.asarray(grid.origin_mm)))}",
    ]


def _vector(values: np.ndarray) -> str:
    return "(" + ",".join(repr(float(v) + 0.0) for v in values) + ")"


def _volume(path: Path) -> BlockVolume:
    fields, start = _fields(path)
    sizes = _numbers(path, fields, "sizes")
    whole = all(math.isfinite(size) and size >= 1 and size == int(size) for size in sizes)
    if not whole or len(sizes) != _one(path, fields, "dimension"):
        raise _damaged(path, "its sizes do not fit its dimension")
    kind = fields.get("type", "").lower()
    code = next((code for code, known in _TYPES.items() if kind in known), None)
    packing = _PACKINGS.get(fields.get("encoding", "").lower())
    if code is None or packing is None:
        got = f"type '{kind}', encoding '{fields.get('encoding', '')}'"
        raise DataError(
            f"expected numbers in raw or gzip encoding, got {got[:80]}", cure="save it gzipped", where=path
        )
    end = _ENDS.get(fields.get("endian", "").lower(), "" if code[1] == "1" else None)
    if end is None:
        raise _damaged(path, "it does not say its byte order ('endian')")
    name = fields.get("datafile")
    skip = int(_one(path, fields, "byteskip", 0))
    if fields.get("lineskip", "0") != "0" or (packing != "raw" and skip) or skip < -1:
        raise _damaged(path, "'line skip', or 'byte skip' before a gzip stream, cannot be followed")
    channel, shape = _axes(path, fields, [int(size) for size in sizes])
    grid, notes = _grid(path, fields, len(sizes), channel)
    return BlockVolume(
        path=path,
        data=path if name is None else beside(path, name),
        start=skip if skip < 0 else (start if name is None else 0) + skip,
        packing=packing,
        dtype=np.dtype(end + code),
        channels=1 if channel is None else int(sizes[channel]),
        interleaved=channel == 0,  # the fastest axis of the file is the last of the array
        shape=shape,
        grid=grid,
        notes=notes,
    )


def _fields(path: Path) -> tuple[dict[str, str], int]:
    file_bytes(path)
    with path.open("rb") as file:
        if file.read(7) != b"NRRD000":
            raise DataError("these bytes are no NRRD file", cure="export it as .nrrd again", where=path)
    try:
        lines, start = read_lines(path, "")
    except DataError:
        # a header beside its data may end with the file; its last line then names the data
        lines, start = read_lines(path, "datafile:")
        if start < file_bytes(path):
            raise
    fields: dict[str, str] = {}
    for line in lines[1:]:
        name, mark, value = line.partition(":")
        if mark and not line.startswith("#") and not value.startswith("="):  # "key:=value" is a remark
            fields[name.strip().lower().replace(" ", "")] = value.strip()
    return fields, start


def _axes(path: Path, fields: dict[str, str], sizes: list[int]) -> tuple[int | None, tuple[int, ...]]:
    """Which axis of the file holds channels, and the shape of the others in array order."""
    kinds = fields.get("kinds", "").lower().split() or [""] * len(sizes)
    directions = [hit[0].lower() for hit in _VECTOR.finditer(fields.get("spacedirections", ""))]
    channel = [
        axis
        for axis, kind in enumerate(kinds[: len(sizes)])
        if kind not in _SPATIAL_KINDS or (len(directions) == len(sizes) and directions[axis] == "none")
    ]
    if not channel and len(sizes) == 4:
        channel = [3]
    space = [size for axis, size in enumerate(sizes) if axis not in channel]
    if len(channel) > 1 or len(space) not in (2, 3) or (channel and channel[0] not in (0, len(sizes) - 1)):
        raise DataError(
            f"expected 2 or 3 axes and one for channels, got the sizes {sizes}",
            cure="save one volume per file",
            where=path,
        )
    return (channel[0] if channel else None), tuple(space[::-1])


def _grid(
    path: Path, fields: dict[str, str], count: int, channel: int | None
) -> tuple[Grid, tuple[str, ...]]:
    rank = count - (channel is not None)
    found = [hit[1] for hit in _VECTOR.finditer(fields.get("spacedirections", "")) if hit[1] is not None]
    space = fields.get("space", "").lower()
    signs = _SPACES.get(space) if rank > 2 else (-1, -1)
    if found:
        rows = [_floats(path, text) for text in found]
        if [len(row) for row in rows] != [rank] * rank:
            raise _damaged(path, f"expected {rank} space directions of {rank} numbers")
        hit = _VECTOR.search(fields.get("spaceorigin", ""))
        origin = np.array(_floats(path, hit[1])) if hit and hit[1] else np.zeros(rank)
        if origin.shape != (rank,):
            raise _damaged(path, f"expected a space origin of {rank} numbers")
        lengths, unknown = _lengths(fields, "spaceunits", rank)
        turned = np.array(signs if signs else (1,) * rank, np.float64) * lengths
        grid, notes = grid_from_steps(path, np.array(rows)[::-1] * turned, origin * turned)
        notes = (*notes, *unknown)
        if signs is None:
            text = "its space is not RAS, LAS or LPS: its place in the world was not used"
            return replace(grid, placed=False), (*notes, text)
        return grid, notes
    plain = Grid.plain(rank)
    stated = _numbers(path, fields, "spacings", ())
    spatial = [axis for axis in range(count) if axis != channel]
    if len(stated) != count or any(math.isnan(stated[axis]) for axis in spatial):
        return plain, ("it states no spacing: axes were taken as they are stored",)
    lengths, unknown = _lengths(fields, "units", count)
    spacings = [stated[axis] * lengths[axis] for axis in spatial]
    if not all(math.isfinite(v) and v > 0 for v in spacings):
        raise _damaged(path, f"its spacings are {spacings}")
    return replace(plain, spacing_mm=tuple(spacings[::-1]), calibrated=True), unknown


def _lengths(fields: dict[str, str], name: str, count: int) -> tuple[list[float], tuple[str, ...]]:
    """Millimetres of each axis's unit, and a note on what is no unit of length."""
    words = re.findall(r'"([^"]*)"', fields.get(name, ""))
    return unit_lengths(words if len(words) == count else [""] * count)


def _numbers(
    path: Path, fields: dict[str, str], name: str, default: tuple[float, ...] | None = None
) -> tuple[float, ...]:
    if name not in fields:
        if default is None:
            raise _damaged(path, f"its header has no '{name}'")
        return default
    return tuple(_floats(path, fields[name]))


def _one(path: Path, fields: dict[str, str], name: str, default: float | None = None) -> float:
    values = _numbers(path, fields, name, None if default is None else (default,))
    if len(values) != 1 or not math.isfinite(values[0]):
        raise _damaged(path, f"'{name}' must be one number")
    return values[0]


def _floats(path: Path, text: str) -> list[float]:
    try:
        return [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        raise _damaged(path, "a number of its header cannot be read") from None


def _damaged(path: Path, problem: str) -> DataError:
    return DataError(f"this NRRD is truncated or damaged: {problem}", cure=TRUNCATED, where=path)
