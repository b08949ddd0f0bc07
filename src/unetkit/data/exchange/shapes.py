"""Drawn shapes to class numbers: what COCO, LabelMe and CVAT share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unetkit.data.exchange import Content
from unetkit.data.formats import format_of
from unetkit.errors import DataError
from unetkit.spatial.polygons import fill_polygons

BACKGROUND = ("background", "_background_")
IGNORED = ("ignore", "__ignore__")
_FARTHEST = 1e6
_MOST_CLASSES = 65534


@dataclass(frozen=True)
class Shape:
    """One object as it was drawn.

    Args:
        name: Its class.
        rings: Outlines ``(n, 2)`` as (row, column), the centre of the first pixel at (0, 0); each is filled,
            and the object is all of them together.
        corner: Row and column of the first pixel of ``mask``.
        mask: Pixels ``(rows, columns)`` of an object that was painted, not outlined.
    """

    name: str
    rings: tuple[np.ndarray, ...] = ()
    corner: tuple[int, int] = (0, 0)
    mask: np.ndarray | None = None


@dataclass(frozen=True)
class Classes:
    """How classes are numbered.

    Args:
        values: Class name to label value.
        names: Label value to class name, the background included.
        ignore_value: The value of what counts as not labelled, None where no class is named so.
    """

    values: Mapping[str, int]
    names: Mapping[int, str]
    ignore_value: int | None


def number_classes(names: Iterable[str], *, where: Path) -> Classes:
    """Number classes from 1 on in the order given; background is 0, and "ignore" means not labelled.

    Args:
        names: Class names; one that occurs again keeps its number.
        where: The data set, for errors.

    Raises:
        DataError: There is no class, or more than a label can hold.

    Example:
        >>> number_classes(["_background_", "cat", "dog", "cat"], where=Path("a")).values
        {'_background_': 0, 'cat': 1, 'dog': 2}
    """
    wanted = list(dict.fromkeys(names))
    counted = [name for name in wanted if name.lower() not in (*BACKGROUND, *IGNORED)]
    if not counted or len(counted) > _MOST_CLASSES:
        raise DataError(
            f"expected 1 to {_MOST_CLASSES} classes, got {len(counted)}",
            cure="name the classes of the shapes",
            where=where,
        )
    values = {name: 0 for name in wanted if name.lower() in BACKGROUND}
    values |= {name: number for number, name in enumerate(counted, start=1)}
    ignored = [name for name in wanted if name.lower() in IGNORED]
    ignore_value = (255 if len(counted) < 255 else _MOST_CLASSES + 1) if ignored else None
    if ignore_value is not None:
        values |= dict.fromkeys(ignored, ignore_value)
    return Classes(values, {0: "background", **{values[name]: name for name in counted}}, ignore_value)


def corner_points(numbers: Sequence[Any], *, where: Path) -> np.ndarray:
    """Points ``x, y, x, y, …`` that count from the corner of the first pixel, as (row, column) of centres.

    Args:
        numbers: As stated.
        where: The annotation, for errors.

    Raises:
        DataError: They are no pairs of numbers, or lie absurdly far out.

    Example:
        >>> corner_points([0.5, 2.5], where=Path("a.json")).tolist()
        [[2.0, 0.0]]
    """
    try:
        points = np.array([float(number) for number in numbers]).reshape(-1, 2)[:, ::-1] - 0.5
    except (TypeError, ValueError, OverflowError):
        raise _damaged("the points of a shape are no pairs of numbers", where) from None
    if not (np.abs(points) < _FARTHEST).all():
        raise _damaged("a point of a shape lies nowhere near its image", where)
    return points


def stated_size(height: Any, width: Any, *, where: Path) -> tuple[int, int]:  # noqa: ANN401 - what a file says
    """Rows and columns of an image as an annotation states them.

    Args:
        height: Rows.
        width: Columns.
        where: The annotation, for errors.

    Raises:
        DataError: They are no whole numbers above 0.
    """
    try:
        size = int(height), int(width)
    except (TypeError, ValueError, OverflowError):
        size = (0, 0)
    if min(size) < 1:
        raise _damaged("the size of an image is no pair of whole numbers above 0", where)
    return size


def draw(
    shapes: Iterable[Shape], shape: tuple[int, int], values: Mapping[str, int]
) -> tuple[np.ndarray, int]:
    """Fill shapes in the order given; a later one covers an earlier one.

    Args:
        shapes: Of one image.
        shape: Rows and columns of the image.
        values: Class name to label value.

    Returns:
        Class numbers ``(rows, columns)``, and how many pixels changed from one class to another.
    """
    labels = np.zeros(shape, np.min_scalar_type(max(values.values())))
    covered = 0
    for each in shapes:
        value = values[each.name]
        for target, mask in _places(each, labels):
            covered += int((mask & (target != 0) & (target != value)).sum())
            target[mask] = value
    return labels, covered


def _places(shape: Shape, labels: np.ndarray) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    for ring in shape.rings:
        window, mask = fill_polygons([ring], (labels.shape[0], labels.shape[1]))
        yield labels[window], mask
    if shape.mask is not None:
        top, left = shape.corner
        first = (max(-top, 0), max(-left, 0))
        target = labels[max(top, 0) :, max(left, 0) :]
        target = target[: max(shape.mask.shape[0] - first[0], 0), : max(shape.mask.shape[1] - first[1], 0)]
        part = shape.mask[first[0] :, first[1] :]
        yield target, part[: target.shape[0], : target.shape[1]]


def picture(
    image: Path, shapes: Iterable[Shape], classes: Classes, *, size: tuple[int, int] | None, where: Path
) -> Content:
    """An image file with the label that its shapes make.

    Args:
        image: The file.
        shapes: What was drawn on it, in order; they are taken once the size is known to be right.
        classes: Their numbers.
        size: Rows and columns as the annotation states them, None where it does not.
        where: The annotation, for errors.

    Raises:
        DataError: The image is damaged, is no picture, or has another size.
    """
    found = format_of(image).describe(image).shape
    if len(found) != 2 or (size is not None and found != size):
        stated = "a picture" if size is None else f"{size[0]} × {size[1]} pixels"
        raise DataError(
            f"the shapes were drawn on {stated}, the image has {' × '.join(map(str, found))}",
            cure="use the very image that was drawn on (not a resized or rotated one)",
            where=image,
        )
    drawn = list(shapes)
    labels, covered = draw(drawn, (found[0], found[1]), classes.values)
    return Content((image,), labels, {"objects": str(len(drawn)), "covered_px": str(covered)})


def class_name(stated: object, *, where: Path) -> str:
    """The class of a shape.

    Args:
        stated: What the annotation says.
        where: The annotation, for errors.

    Raises:
        DataError: It is no text, or empty.
    """
    if not isinstance(stated, str) or not stated.strip():
        raise _damaged("a shape has no class name", where)
    return stated


def no_area(kind: str, where: Path) -> DataError:
    """The error for a shape that encloses nothing."""
    return DataError(
        f"a shape of the kind '{kind[:30]}' encloses no pixels",
        cure="draw it as a polygon or a mask, or take it out",
        where=where,
    )


def _damaged(problem: str, where: Path) -> DataError:
    return DataError(problem, cure="export the annotations again", where=where)
