"""COCO: one JSON for many images, objects as polygons or run lengths."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from unetkit.data.exchange import Content, Foreign, Item
from unetkit.data.exchange.finding import case_ids, find_image, split_word
from unetkit.data.exchange.runs import unpack_counts, unpack_runs
from unetkit.data.exchange.shapes import (
    Classes,
    Shape,
    corner_points,
    no_area,
    number_classes,
    picture,
    stated_size,
)
from unetkit.data.tables import read_json
from unetkit.errors import DataError

_LARGEST_BYTES = 2**30
_LOOKED_AT = 2**16
_MARK = re.compile(rb'"(images|annotations|categories|licenses|info)"\s*:')
_OTHER_MARK = re.compile(rb'"(shapes|channel_names|modality|training)"\s*:')
_LISTS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class _Set:
    """One JSON, its objects put to their images."""

    path: Path
    split: str | None
    images: list[dict[str, Any]]
    names: dict[int | str, str]
    drawn: Mapping[int | str, list[dict[str, Any]]]


class Coco:
    """COCO's instance annotations: a JSON, or a folder of such (also as Roboflow lays them out).

    Classes are numbered in the order of their category ids. Of overlapping objects the later one counts.
    """

    def holds(self, source: Path) -> bool:
        """Whether the file, or one in the folder or a folder below it, begins as COCO's do."""
        return bool(_files(source))

    def find(self, source: Path) -> Foreign:
        """List the images of every JSON; ``train``, ``val`` or ``test`` in its path is their split."""
        sets, notes = _sets(source)
        if not any(each.images for each in sets):
            raise DataError(
                "no COCO annotations here: expected a JSON with images, annotations and categories",
                cure="name the JSON, or the folder that holds it and the images",
                where=source,
            )
        classes = number_classes(
            (each.names[key] for each in sets for key in sorted(each.names, key=_order)), where=source
        )
        rows = [(each, image) for each in sets for image in each.images]
        names = [
            f"{each.split or each.path.stem}/{_text(image, 'file_name', each.path)}" for each, image in rows
        ]
        several = len({each.split for each in sets}) > 1
        items = tuple(
            Item(
                id,
                each.path,
                partial(_read, each, image, classes, source),
                split=each.split if several else None,
            )
            for id, (each, image) in zip(case_ids(names), rows, strict=True)
        )
        return Foreign(items, classes.names, ignore_value=classes.ignore_value, notes=notes)


def _files(source: Path) -> list[Path]:
    """JSON files that begin as COCO's do."""
    if not source.is_dir():
        return [source] if source.suffix.lower() == ".json" and _begins(source) else []
    folders = [source, *sorted(each for each in source.iterdir() if each.is_dir())]
    found = [path for folder in folders for path in sorted(folder.glob("*.json"))]
    return [path for path in found if _begins(path)]


def _begins(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(_LOOKED_AT)
    except OSError:
        return False
    return bool(_MARK.search(start)) and not _OTHER_MARK.search(start)


def _sets(source: Path) -> tuple[list[_Set], tuple[str, ...]]:
    """What every JSON holds, and a note on those beside them that say nothing of outlines.

    COCO's own folder has captions, key points and lists of test images of the very same pictures.
    """
    files, found, poses, left = _files(source), list[_Set](), list[_Set](), list[Path]()
    for path in files:
        content = read_json(path, limit=_LARGEST_BYTES)
        if len(files) > 1 and not all(name in content for name in _LISTS):
            left.append(path)
        else:
            (poses if _of_poses(content) else found).append(_set(path, content, source))
    if not found:
        found, poses = poses, []
    if not found and left:
        found = [_set(left[0], read_json(left[0], limit=_LARGEST_BYTES), source)]  # says what it lacks
    names = [path.name for path in (*left, *(each.path for each in poses))]
    note = f"left out, as captions, key points or images without annotations: {', '.join(names)}"
    return found, (note,) if names else ()


def _of_poses(content: Mapping[str, Any]) -> bool:
    """Whether its categories have key points."""
    rows = content.get("categories")
    return isinstance(rows, list) and any(isinstance(row, dict) and "keypoints" in row for row in rows)


def _set(path: Path, content: Mapping[str, Any], source: Path) -> _Set:
    lists = {name: content.get(name) for name in _LISTS}
    for name, rows in lists.items():
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise DataError(
                f"expected a list '{name}' of objects", cure="export the annotations again", where=path
            )
    known = {_key(image, "id", path) for image in lists["images"] or ()}
    drawn: dict[int | str, list[dict[str, Any]]] = defaultdict(list)
    for row in lists["annotations"] or ():
        if _key(row, "image_id", path) not in known:
            raise DataError(
                f"an annotation belongs to the image {str(row['image_id'])[:30]!r}, which is not listed",
                cure="export the annotations again",
                where=path,
            )
        drawn[row["image_id"]].append(row)
    names = {_key(row, "id", path): _text(row, "name", path) for row in lists["categories"] or ()}
    root = source if source.is_dir() else source.parent
    split = split_word(reversed(path.relative_to(root).parts))
    return _Set(path, split, lists["images"] or [], names, drawn)


def _key(row: Mapping[str, Any], name: str, path: Path) -> int | str:
    """A number or a name by which entries refer to one another."""
    value = row.get(name)
    if not isinstance(value, int | str):
        raise DataError(
            f"an entry has no number '{name}'; it has: {', '.join(map(str, row))[:100]}",
            cure="export the annotations again",
            where=path,
        )
    return value


def _order(key: int | str) -> tuple[int, str]:
    """Numbers in their order, then names in theirs."""
    return (key, "") if isinstance(key, int) else (2**63, key)


def _text(row: Mapping[str, Any], key: str, path: Path) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value:
        raise DataError(
            f"an entry has no '{key}'; it has: {', '.join(map(str, row))[:100]}",
            cure="export the annotations again",
            where=path,
        )
    return value


def _read(each: _Set, image: dict[str, Any], classes: Classes, source: Path) -> Content:
    root = source if source.is_dir() else source.parent
    size = stated_size(image.get("height"), image.get("width"), where=each.path)
    path = find_image(
        _text(image, "file_name", each.path), _folders(each, root), inside=root, where=each.path
    )
    shapes = (_shape(row, each, size) for row in each.drawn.get(image["id"], ()))
    return picture(path, shapes, classes, size=size, where=each.path)


def _folders(each: _Set, root: Path) -> list[Path]:
    """Where images may lie: beside the JSON, or in folders of the data set, those of its own split first."""
    inside = [path for place in (root, root / "images") if place.is_dir() for path in sorted(place.iterdir())]
    others = [path for path in inside if path.is_dir()]
    named = [path for path in others if path.name in each.path.stem or split_word([path.name]) == each.split]
    return list(dict.fromkeys([each.path.parent, *named, each.path.parent / "images", root, *others]))


def _shape(row: Mapping[str, Any], each: _Set, size: tuple[int, int]) -> Shape:
    """One annotation.

    Raises:
        DataError: Its category is not listed, it has no outline, or its run lengths do not fit the image.
    """
    where = each.path
    if _key(row, "category_id", where) not in each.names:
        raise DataError(
            f"an annotation has the category {str(row['category_id'])[:30]!r}, which is not listed",
            cure="export the annotations again",
            where=where,
        )
    name, drawn = each.names[row["category_id"]], row.get("segmentation")
    if isinstance(drawn, list) and drawn and all(isinstance(ring, list) for ring in drawn):
        return Shape(name, tuple(corner_points(ring, where=where) for ring in drawn))
    if isinstance(drawn, dict) and drawn.get("size") == list(size):
        counts = drawn.get("counts")
        runs = unpack_counts(counts, where=where) if isinstance(counts, str) else counts
        if isinstance(runs, list):
            return Shape(name, mask=unpack_runs(runs, size, order="columns", where=where))
    if isinstance(drawn, dict):
        raise DataError(
            f"run lengths for an image of {str(drawn.get('size'))[:30]}, expected {list(size)}",
            cure="export the annotations again",
            where=where,
        )
    raise no_area("box", where)
