"""LabelMe: one JSON beside each image."""

from __future__ import annotations

import base64
import binascii
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unetkit.data.exchange import Content, Foreign, Item
from unetkit.data.exchange.finding import case_ids, find_image
from unetkit.data.exchange.shapes import (
    Classes,
    Shape,
    class_name,
    corner_points,
    no_area,
    number_classes,
    picture,
    stated_size,
)
from unetkit.data.formats import SUFFIXES, suffix_of
from unetkit.data.formats.raster import RasterFormat
from unetkit.data.problems import Problem, from_error, refused
from unetkit.data.tables import read_json
from unetkit.errors import DataError
from unetkit.spatial.polygons import ellipse

_LOOKED_AT = 2**20
_PICTURES = tuple(suffix for suffix, kind in SUFFIXES.items() if kind in ("raster", "tiff"))


class LabelMe:
    """LabelMe's files anywhere below a folder; the classes are numbered by name.

    ``__ignore__`` is not labelled, ``_background_`` is 0; of overlapping shapes the later one counts.
    """

    def holds(self, source: Path) -> bool:
        """Whether a JSON of the folder, or of a folder below it, has shapes and an image path."""
        return any(_begins(path) for path in _files(source)[:3])

    def find(self, source: Path) -> Foreign:
        """List the JSON files; images without one have no label."""
        root = source if source.is_dir() else source.parent
        every = _files(source)
        files = [path for path in every if _begins(path)]
        if not files:
            raise DataError(
                "no LabelMe annotations here: expected a JSON with 'shapes' and 'imagePath' for each image",
                cure="name the folder that holds them",
                where=source,
            )
        known: dict[Path, set[str]] = {}
        problems: list[Problem] = []
        for path in files:
            try:
                rows = _rows(path, read_json(path))
                known[path] = {class_name(row.get("label"), where=path) for row in rows}
            except DataError as wrong:
                problems.append(from_error("labelme", wrong, path))
        problems += [_headless(path) for path in every if path not in files and _has_picture(path)]
        if not known:
            return Foreign((), {}, problems=tuple(problems))
        classes = number_classes(sorted(set().union(*known.values())), where=source)
        names = [f"{path.relative_to(root).with_suffix('').as_posix()}.json" for path in known]
        items = tuple(
            Item(id, path, partial(_read, path, classes, root))
            for id, path in zip(case_ids(names), known, strict=True)
        )
        unseen = tuple((path,) for folder in {path.parent for path in files} for path in _alone(folder))
        return Foreign(
            items,
            classes.names,
            ignore_value=classes.ignore_value,
            unseen=tuple(sorted(unseen)),
            problems=tuple(problems),
        )


def _files(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source] if source.suffix.lower() == ".json" else []
    return sorted(path for path in source.rglob("*.json") if not path.name.startswith("."))


def _begins(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(_LOOKED_AT)
    except OSError:
        return False
    return b'"shapes"' in start and (b'"imagePath"' in start or b'"imageData"' in start)


def _has_picture(path: Path) -> bool:
    """Whether a picture of its name lies beside a JSON."""
    return any(path.with_suffix(suffix).is_file() for suffix in _PICTURES)


def _headless(path: Path) -> Problem:
    """The JSON of a picture without what LabelMe writes into it: cut short, or another tool's."""
    return refused(
        "labelme",
        path,
        "this JSON has the name of the picture beside it, but no 'shapes' and 'imagePath'",
        "copy it again from its source, or remove it",
    )


def _alone(folder: Path) -> list[Path]:
    """Pictures of a folder that have no JSON of their name."""
    pictures = [path for path in folder.iterdir() if suffix_of(path) in _PICTURES]
    return [path for path in pictures if not path.with_suffix(".json").exists()]


def _rows(path: Path, content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    rows = content.get("shapes")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError("expected a list 'shapes' of objects", cure="save it again in LabelMe", where=path)
    return rows


def _read(path: Path, classes: Classes, root: Path) -> Content:
    content = read_json(path)
    stated = content.get("imagePath")
    folders = list(dict.fromkeys([path.parent, path.parent / "images", root, root / "images"]))
    image = find_image(stated if isinstance(stated, str) else "", folders, inside=root, where=path)
    size = None
    if content.get("imageHeight") is not None:
        size = stated_size(content["imageHeight"], content.get("imageWidth"), where=path)
    shapes = (_shape(row, path) for row in _rows(path, content))
    return picture(image, shapes, classes, size=size, where=path)


def _shape(row: Mapping[str, Any], path: Path) -> Shape:
    """One shape.

    Raises:
        DataError: It encloses nothing, or its points are damaged.
    """
    name = class_name(row.get("label"), where=path)
    kind, stated = str(row.get("shape_type") or "polygon"), row.get("points")
    if not isinstance(stated, list) or not all(isinstance(each, list) and len(each) == 2 for each in stated):
        raise DataError("the points of a shape are no pairs of numbers", cure="save it again", where=path)
    points = corner_points([number for each in stated for number in each], where=path)
    if kind == "polygon" and len(points) > 2:
        return Shape(name, (points,))
    if len(points) == 2:
        (top, left), (bottom, right) = points
        if kind == "rectangle":
            return Shape(name, (np.array([(top, left), (top, right), (bottom, right), (bottom, left)]),))
        if kind == "circle":  # its centre, and a point on it
            radius = float(np.hypot(bottom - top, right - left))
            return Shape(name, (ellipse((top, left), (radius, radius)),))
        if kind == "mask":
            first = np.floor(points.min(axis=0) + 0.5).astype(int)
            return Shape(name, corner=(int(first[0]), int(first[1])), mask=_mask(row.get("mask"), path))
    raise no_area(kind, path)


def _mask(packed: object, path: Path) -> np.ndarray:
    """The pixels of a painted shape: a PNG as text; it is read with the care any other PNG is."""
    try:
        data = base64.b64decode(packed if isinstance(packed, str) else "", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mask.png"
        file.write_bytes(data)
        try:
            return RasterFormat().read_label(file)[0] > 0
        except DataError as wrong:
            raise DataError(
                f"the mask of a shape: {wrong.problem}", cure="save it again in LabelMe", where=path
            ) from None
