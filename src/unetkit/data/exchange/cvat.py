"""CVAT for images 1.1: one XML for many images."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from unetkit.data.exchange import Content, Foreign, Item
from unetkit.data.exchange.finding import case_ids, find_image, split_word
from unetkit.data.exchange.runs import unpack_runs
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
from unetkit.data.markup import read_xml
from unetkit.errors import DataError
from unetkit.spatial.polygons import ellipse, rotate

_NAMES = ("annotations.xml", "*.xml")
_LOOKED_AT = 2**12
_NO_SHAPES = ("tag", "attribute")


class Cvat:
    """CVAT's export "CVAT for images 1.1": an XML, or the folder that holds it.

    Classes are numbered as the task lists its labels. Of overlapping shapes the one with the higher z order
    counts, then the later one.
    """

    def holds(self, source: Path) -> bool:
        """Whether the file, or one in the folder, begins as CVAT's do."""
        return _file(source) is not None

    def find(self, source: Path) -> Foreign:
        """List the images; a subset named train, val or test is their split."""
        path = _file(source)
        if path is None:
            raise DataError(
                "no CVAT annotations here: expected annotations.xml (CVAT for images 1.1)",
                cure="export the task as 'CVAT for images 1.1'",
                where=source,
            )
        root = read_xml(path)
        images = root.findall("image")
        if root.tag != "annotations" or not images:
            what = "a video (tracks)" if root.find("track") is not None else "no images"
            raise DataError(
                f"these annotations are of {what}",
                cure="export the task as 'CVAT for images 1.1'",
                where=path,
            )
        listed = [each.findtext("name") or "" for each in root.iterfind("meta//labels/label")]
        drawn = sorted({shape.get("label", "") for image in images for shape in _shapes(image)})
        classes = number_classes((name for name in (*listed, *drawn) if name), where=path)
        splits = [split_word([image.get("subset", "")]) for image in images]
        names = [f"{image.get('subset', '')}/{image.get('name', '')}" for image in images]
        items = tuple(
            Item(
                id,
                path,
                partial(_read, image, classes, path),
                split=split if len(set(splits)) > 1 else None,
            )
            for id, image, split in zip(case_ids(names), images, splits, strict=True)
        )
        return Foreign(items, classes.names, ignore_value=classes.ignore_value)


def _file(source: Path) -> Path | None:
    if not source.is_dir():
        return source if source.suffix.lower() == ".xml" and _begins(source) else None
    found = [path for pattern in _NAMES for path in sorted(source.glob(pattern))]
    return next((path for path in found if _begins(path)), None)


def _begins(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return b"<annotations" in file.read(_LOOKED_AT)
    except OSError:
        return False


def _shapes(image: Element) -> list[Element]:
    shapes = [each for each in image if each.tag not in _NO_SHAPES]
    return sorted(shapes, key=lambda each: _order(each.get("z_order", "0")))


def _order(text: str) -> int:
    return int(text) if text.lstrip("-").isdecimal() and len(text) < 10 else 0


def _read(image: Element, classes: Classes, path: Path) -> Content:
    folder, subset = path.parent, image.get("subset", "")
    places = [folder / "images", folder]
    places = [place / subset for place in places if subset and "/" not in subset] + places
    found = find_image(image.get("name", ""), places, inside=folder, where=path)
    size = stated_size(image.get("height"), image.get("width"), where=path)
    shapes = (_shape(each, size, path) for each in _shapes(image))
    return picture(found, shapes, classes, size=size, where=path)


def _shape(drawn: Element, size: tuple[int, int], path: Path) -> Shape:
    """One shape on an image of some rows and columns.

    Raises:
        DataError: It encloses nothing, or its numbers are damaged.
    """
    name = class_name(drawn.get("label"), where=path)
    if drawn.tag == "polygon":
        ring = corner_points(drawn.get("points", "").replace(";", ",").split(","), where=path)
        return Shape(name, (ring,))
    if drawn.tag == "box":
        left, top, right, bottom, degrees = _numbers(drawn, ("xtl", "ytl", "xbr", "ybr"), path)
        ring = corner_points([left, top, right, top, right, bottom, left, bottom], where=path)
        middle = corner_points([(left + right) / 2, (top + bottom) / 2], where=path)[0]
        return Shape(name, (rotate(ring, degrees, about=(middle[0], middle[1])),))
    if drawn.tag == "ellipse":
        across, down, wide, high, degrees = _numbers(drawn, ("cx", "cy", "rx", "ry"), path)
        middle = corner_points([across, down], where=path)[0]
        corner_points([across + wide, down + high], where=path)  # its far corner must lie somewhere, too
        ring = ellipse((middle[0], middle[1]), (high, wide))
        return Shape(name, (rotate(ring, degrees, about=(middle[0], middle[1])),))
    if drawn.tag == "mask":
        left, top, width, height, _ = _numbers(drawn, ("left", "top", "width", "height"), path)
        shape = stated_size(height, width, where=path)
        if shape[0] > size[0] or shape[1] > size[1]:
            raise DataError(
                f"a mask of {shape[0]} × {shape[1]} pixels on an image of {size[0]} × {size[1]}",
                cure="export the annotations again",
                where=path,
            )
        counts = [int(word) if word.strip().isdecimal() else -1 for word in drawn.get("rle", "").split(",")]
        mask = unpack_runs(counts, shape, order="rows", where=path)
        return Shape(name, corner=(int(top), int(left)), mask=mask)
    raise no_area(drawn.tag, path)


def _numbers(drawn: Element, names: tuple[str, ...], path: Path) -> tuple[float, ...]:
    """Numbers of a shape, and the degrees by which it is turned."""
    try:
        values = [float(drawn.get(name, "")) for name in names]
        values.append(float(drawn.get("rotation") or 0))
    except ValueError:
        values = [np.inf]
    if not (np.abs(values) < 1e6).all():
        raise DataError(
            f"the numbers of a shape '{drawn.tag}' cannot be read",
            cure="export the annotations again",
            where=path,
        )
    return tuple(values)
