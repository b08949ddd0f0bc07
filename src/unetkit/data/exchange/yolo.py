"""YOLO segmentation, as Ultralytics and Roboflow lay it out: a text file of outlines for each image."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice, takewhile
from pathlib import Path

from unetkit.data.exchange import Content, Foreign, Item
from unetkit.data.exchange.finding import case_ids, split_word
from unetkit.data.exchange.shapes import Classes, Shape, corner_points, no_area, number_classes, picture
from unetkit.data.formats import SUFFIXES, format_of, suffix_of
from unetkit.data.tables import read_text
from unetkit.errors import DataError

IMAGES, LABELS = "images", "labels"
_PICTURES = tuple(suffix for suffix, kind in SUFFIXES.items() if kind in ("raster", "tiff"))
_FEWEST_POINTS = 3
_BOX = 5
_LOOKED_AT = 20
_REPAIR = "export the segmentation again: each line is a class and x y x y …, all between 0 and 1"
_PAIR = re.compile(r"\s*(?:-|(\d+)\s*:)\s+(.+)")


class Yolo:
    """``images/`` and ``labels/`` with equal folders inside; the classes are those of ``data.yaml``.

    An image without a text file, beside others with one, shows background only, as Ultralytics reads it.
    """

    def holds(self, source: Path) -> bool:
        """Whether the first text files in folders ``labels`` are lines of numbers."""
        return any(_begins(path) for path in islice(_texts(source), _LOOKED_AT))

    def find(self, source: Path) -> Foreign:
        """List the images; those in a folder without any text file have no label."""
        images = [path for folder in _image_folders(source) for path in _pictures(folder)]
        labels = {path: label_path(path, source) for path in images}
        marked = [path for path in images if any(labels[path].parent.glob("*.txt"))]
        if not marked:
            raise DataError(
                "no YOLO segmentation here: expected images/ and labels/ with a text file for each image",
                cure="name the folder that holds both",
                where=source,
            )
        names = _names(source)
        numbers = sorted({row[0] for path in marked for row in _known(labels[path])})
        every = {number: names.get(number, f"class {number}") for number in sorted({*names, *numbers})}
        classes = number_classes(every.values(), where=source)
        stated = [path.relative_to(source).as_posix() for path in marked]
        items = tuple(
            Item(
                id,
                path,
                partial(_read, path, labels[path], every, classes),
                split=split_word(words.split("/")[:-1]),
            )
            for id, path, words in zip(case_ids(stated), marked, stated, strict=True)
        )
        bare = sum(not labels[path].is_file() for path in marked)
        note = f"{bare} images have no text file: they show background only, as Ultralytics reads them"
        return Foreign(
            items,
            classes.names,
            ignore_value=classes.ignore_value,
            unseen=tuple((path,) for path in sorted(set(images) - set(marked))),
            notes=(note,) if bare else (),
        )


def label_path(image: Path, source: Path) -> Path:
    """The text file of an image: the last folder ``images`` becomes ``labels``.

    Example:
        >>> label_path(Path("d/images/train/a.jpg"), Path("d")).as_posix()
        'd/labels/train/a.txt'
    """
    parts = list(image.relative_to(source).parts)
    last = len(parts) - 1 - parts[::-1].index(IMAGES)
    return source.joinpath(*parts[:last], LABELS, *parts[last + 1 :]).with_suffix(".txt")


def _texts(source: Path) -> list[Path]:
    if not source.is_dir():
        return []
    return [path for folder in sorted(source.rglob(LABELS)) for path in sorted(folder.rglob("*.txt"))]


def _image_folders(source: Path) -> list[Path]:
    """Folders named ``images``, but for those inside of one."""
    found = sorted(path for path in source.rglob(IMAGES) if path.is_dir()) if source.is_dir() else []
    return [path for path in found if not any(other in path.parents for other in found)]


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and suffix_of(path) in _PICTURES)


def _begins(path: Path) -> bool:
    try:
        return any(len(row) > _BOX for row in _rows(path))
    except DataError:
        return False


def _known(path: Path) -> Sequence[tuple[int, ...]]:
    """The classes of a file's rows; a damaged one is met when its case is read."""
    try:
        return [(int(row[0]),) for row in _rows(path)] if path.is_file() else []
    except DataError:
        return []


def _rows(path: Path) -> list[list[float]]:
    """Class and coordinates of every line.

    Raises:
        DataError: A line is no class and numbers, or its class no whole number.
    """
    rows = []
    for number, line in enumerate(read_text(path, "label file", _REPAIR).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        try:
            row = [float(word) for word in words]
        except ValueError:
            row = []
        if not row or not all(map(math.isfinite, row)) or row[0] != int(row[0]) or row[0] < 0:
            raise DataError(f"line {number}: expected a class and numbers", cure=_REPAIR, where=path)
        rows.append(row)
    return rows


def _names(source: Path) -> dict[int, str]:
    """Class names of the first ``.yaml`` of the folder that has some; only the forms that exporters write."""
    for path in sorted(source.glob("*.y*ml")):
        lines = iter(read_text(path, "YAML file", "correct it, or remove it").splitlines())
        for line in lines:
            if not line.startswith("names:"):
                continue
            rest = line.removeprefix("names:").partition(" #")[0].strip()
            if rest.startswith("{"):
                hits = [_PAIR.fullmatch(f" {part.strip()}") for part in rest.strip("{}").split(",")]
                return {int(hit[1]): hit[2].strip(" '\"") for hit in hits if hit and hit[1]}
            if rest:
                words = [word.strip(" '\"") for word in rest.strip("[]").split(",")]
                return {n: word for n, word in enumerate(words) if word}
            hits = [hit for hit in takewhile(bool, map(_PAIR.fullmatch, lines)) if hit]
            return {int(hit[1] or n): hit[2].partition(" #")[0].strip(" '\"") for n, hit in enumerate(hits)}
    return {}


def _read(image: Path, label: Path, names: Mapping[int, str], classes: Classes) -> Content:
    rows = _rows(label) if label.is_file() else []
    shape = format_of(image).describe(image).shape
    shapes = (_shape(row, names, (shape[0], shape[-1]), label) for row in rows)
    return picture(image, shapes, classes, size=None, where=label)


def _shape(row: Sequence[float], names: Mapping[int, str], shape: tuple[int, int], path: Path) -> Shape:
    """One outline.

    Raises:
        DataError: It is a box, or its numbers are no pairs between 0 and 1.
    """
    points = row[1:]
    if len(row) == _BOX:
        raise no_area("box", path)
    if (
        len(points) < 2 * _FEWEST_POINTS
        or len(points) % 2
        or not all(-0.01 <= each <= 1.01 for each in points)
    ):
        raise DataError("an outline is no list of pairs between 0 and 1", cure=_REPAIR, where=path)
    pixels = [value * shape[1 - axis % 2] for axis, value in enumerate(points)]
    return Shape(names[int(row[0])], (corner_points(pixels, where=path),))
