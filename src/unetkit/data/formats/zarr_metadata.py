"""What the JSON of a Zarr says, read and checked before any library opens it: nothing it names runs code."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from unetkit.data.formats.axes import label_axes, nameless_axes
from unetkit.data.formats.checks import TRUNCATED
from unetkit.data.formats.spacing import UNITS_MM, Spacing, grid_of
from unetkit.errors import DataError
from unetkit.records.case import Grid

NEW, OLD_ARRAY, OLD_GROUP, OLD_ATTRIBUTES = "zarr.json", ".zarray", ".zgroup", ".zattrs"
DESCRIBING = (NEW, OLD_ARRAY, OLD_GROUP, OLD_ATTRIBUTES)

CODECS = frozenset({"bytes", "transpose", "blosc", "gzip", "zstd", "crc32c", "sharding_indexed"})
COMPRESSORS = frozenset({"blosc", "zlib", "gzip", "zstd", "lz4", "bz2", "lzma"})
FILTERS = frozenset({"delta", "shuffle"})
"""Only these: others run what they find in a chunk (pickle), or call on packages nobody knows of."""

_LONGEST_JSON = 2**24
_BROKEN = (
    OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError,
)  # fmt: skip
_SERIES = "bioformats2raw.layout"


@dataclass(frozen=True)
class ZarrArray:
    """One array of numbers, as its metadata describe it.

    Args:
        folder: Where it lies.
        version: Of the Zarr format, 2 or 3.
        shape: As stored.
        chunk: Numbers per axis that are decoded together (of a sharded array: of a shard).
        dtype: Their type.
        axes: A letter per axis, ``.`` for one of length 1 that is left out.
        grid: Where it lies.
        notes: What had to be decided.
        packing: What a chunk was packed with last; empty where it is not.
    """

    folder: Path
    version: int
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    dtype: np.dtype
    axes: str
    grid: Grid
    notes: tuple[str, ...] = ()
    packing: str = ""

    @property
    def claimed_bytes(self) -> int:
        """Bytes of all its numbers, or of one chunk where that is more."""
        return max(math.prod(self.shape), math.prod(self.chunk)) * self.dtype.itemsize


def find_array(path: Path, *, label: bool = False) -> ZarrArray:
    """The array of full resolution of an OME-Zarr image, or a plain Zarr array.

    Args:
        path: The folder.
        label: Whether it is one: of a plain array all axes are of space then.

    Raises:
        DataError: It is no Zarr, not an image, damaged, or of a kind that is refused.

    Reference:
        OME-Zarr 0.4 and 0.5, https://ngff.openmicroscopy.org/0.5/.
    """
    try:
        if not path.is_dir():
            raise DataError("expected a folder in the Zarr format", cure="correct the path", where=path)
        facts = _group(path)
        if facts is None:
            return _nameless(_array(path, path), path, label=label)
        if _SERIES in facts and "multiscales" not in facts:
            path, facts = path / "0", _group(path / "0") or {}
        images = facts.get("multiscales")
        if not images:
            raise DataError(
                "this Zarr group is no OME-Zarr image: it has no 'multiscales'",
                cure="name the array inside it, or write it as OME-Zarr",
                where=path,
            )
        image = images[0]
        level = image["datasets"][0]
        inside = Path(str(level["path"]))
        if inside.is_absolute() or ".." in inside.parts or (path / inside).is_symlink():
            raise DataError("its array must lie inside the folder", cure="write it anew", where=path)
        array = _array(path / inside, path)
        return _named(array, path, image, [image, level])
    except _BROKEN as wrong:
        said = str(wrong).split("\n")[0][:200]
        raise DataError(f"this Zarr is truncated or damaged ({said})", cure=TRUNCATED, where=path) from wrong


def _json(path: Path) -> Any:  # noqa: ANN401 - JSON
    if path.stat().st_size > _LONGEST_JSON:
        raise ValueError(f"{path.name} has more than {_LONGEST_JSON} bytes")
    return json.loads(path.read_bytes())


def _group(path: Path) -> Mapping[str, Any] | None:
    """The attributes of a group, those of OME-Zarr where it has some; None where the folder is an array."""
    if (path / NEW).is_file():
        stated = _json(path / NEW)
        if stated["node_type"] == "array":
            return None
        facts = stated.get("attributes", {})
    elif (path / OLD_ARRAY).is_file():
        return None
    elif (path / OLD_GROUP).is_file():
        facts = _json(path / OLD_ATTRIBUTES) if (path / OLD_ATTRIBUTES).is_file() else {}
    else:
        raise DataError(
            f"this folder is no Zarr: it has no {NEW}, {OLD_GROUP} or {OLD_ARRAY}", cure=TRUNCATED, where=path
        )
    return facts.get("ome", facts)


def _array(folder: Path, path: Path) -> ZarrArray:
    """An array by its own metadata, which say nothing of axes."""
    if (folder / NEW).is_file():
        stated, version = _json(folder / NEW), 3
        chunk = stated["chunk_grid"]["configuration"]["chunk_shape"]
        kind, odd = str(stated["data_type"]), [*_strange_codecs(stated["codecs"])]
        packing = str(stated["codecs"][-1]["name"]) if stated["codecs"] else ""
        odd += [str(each) for each in stated.get("storage_transformers") or ()]
    else:
        stated, version = _json(folder / OLD_ARRAY), 2
        chunk, kind = stated["chunks"], str(stated["dtype"])
        used = [*(stated.get("filters") or ()), *([stated["compressor"]] if stated.get("compressor") else [])]
        packing = str(used[-1]["id"]) if used else ""
        odd = [str(each["id"]) for each in used if each["id"] not in COMPRESSORS | FILTERS]
    if odd:
        raise DataError(
            f"its chunks are packed with '{odd[0]}', which is not opened here",
            cure=f"write it anew with one of {', '.join(sorted(CODECS))}",
            where=path,
        )
    dtype = np.dtype(kind)
    shape, chunk = (tuple(int(size) for size in sizes) for sizes in (stated["shape"], chunk))
    if dtype.kind not in "biuf" or len(shape) != len(chunk) or min(*shape, *chunk, 1) < 1:
        raise DataError(
            f"an array of {dtype}, shape {shape} and chunks {chunk} cannot be used",
            cure="save real numbers",
            where=path,
        )
    return ZarrArray(folder, version, shape, chunk, dtype, axes="", grid=Grid.plain(1), packing=packing)


def _nameless(array: ZarrArray, path: Path, *, label: bool) -> ZarrArray:
    """The array with axes guessed from its shape."""
    axes, note = (label_axes(array.shape, path), "") if label else nameless_axes(array.shape, path)
    grid = Grid.plain(len(axes.replace("C", "")))
    return replace(array, axes=axes, grid=grid, notes=(note,) if note else ())


def _strange_codecs(codecs: Sequence[Mapping[str, Any]]) -> list[str]:
    found = [str(each["name"]) for each in codecs if each["name"] not in CODECS]
    for each in codecs:
        if each["name"] == "sharding_indexed":
            facts = each["configuration"]
            found += _strange_codecs(facts["codecs"]) + _strange_codecs(facts.get("index_codecs", ()))
    return found


def _named(
    array: ZarrArray, path: Path, image: Mapping[str, Any], stated: Sequence[Mapping[str, Any]]
) -> ZarrArray:
    """The array with the axes that OME-Zarr names, and its place."""
    listed = image.get("axes") or list("tczyx")
    rows = [each if isinstance(each, dict) else {"name": each} for each in listed]
    names = [str(row["name"]).upper() for row in rows]
    sizes = dict(zip(names, array.shape, strict=True))
    odd = [name for name in names if sizes[name] > 1 and name not in "CZYX"]
    space = [name for name in names if name in "ZYX" and (name in "YX" or sizes[name] > 1)]
    if odd or space not in (["Y", "X"], ["Z", "Y", "X"]):
        found = ", ".join(f"{name.lower()} {sizes[name]}" for name in names)
        raise DataError(
            f"the axes {found} are neither a picture nor a volume with channels",
            cure="save one time point, with the axes c, z, y and x",
            where=path,
        )
    axes = "".join(name if name in space or name == "C" else "." for name in names)
    scale, shift = np.ones(len(names)), np.zeros(len(names))
    for part in reversed(stated):
        for each in part.get("coordinateTransformations") or ():
            if each["type"] == "scale":
                factor = np.array(each["scale"], float)
                scale, shift = scale * factor, shift * factor
            elif each["type"] == "translation":
                shift = shift + np.array(each["translation"], float)
    units = [UNITS_MM.get(str(row.get("unit", "")).lower(), 0.0) for row in rows]
    spacing: Spacing = {
        name: float(step * unit)
        for name, step, unit in zip(names, scale, units, strict=True)
        if np.isfinite(step) and step * unit > 0
    }
    grid = grid_of(spacing, len(space))
    if grid.calibrated:
        at = {name: float(step * unit) for name, step, unit in zip(names, shift, units, strict=True)}
        grid = replace(grid, origin_mm=tuple(at[name] for name in space))
    return replace(array, axes=axes, grid=grid)


def ome_metadata(name: str, grid: Grid, *, levels: int) -> dict[str, Any]:
    """What OME-Zarr 0.5 says of an image whose levels take every second row and column of the one before.

    Args:
        name: The image's name.
        grid: Where the full resolution lies; the first pixel of every level lies where its own does.
        levels: Smaller copies.
    """
    names = "zyx"[-grid.rank :]
    unit = {"unit": "millimeter"} if grid.calibrated else {}
    datasets = []
    for level in range(levels + 1):
        steps = [s * (1 if axis == "z" else 2**level) for axis, s in zip(names, grid.spacing_mm, strict=True)]
        moves: list[dict[str, Any]] = [{"type": "scale", "scale": steps}]
        if any(grid.origin_mm):
            moves.append({"type": "translation", "translation": list(grid.origin_mm)})
        datasets.append({"path": str(level), "coordinateTransformations": moves})
    axes = [{"name": axis, "type": "space", **unit} for axis in names]
    image = {"name": name, "axes": axes, "datasets": datasets, "type": "nearest"}
    return {"ome": {"version": "0.5", "multiscales": [image]}}
