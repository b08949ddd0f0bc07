"""A case as a report shows it: its planes side by side in one PNG, small enough to send, and its objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from unetkit.records.case import Grid
from unetkit.records.files import write_bytes
from unetkit.records.run import Run
from unetkit.records.saved import Saved
from unetkit.spatial.regions import bounding_box
from unetkit.workflows.object_places import ObjectPlace, object_places
from unetkit.workflows.pictures import factors_for, fullest, grey, is_colour, percentiles, png, reduced

INDEX = "cases.json"
SHOWN_BYTES = 16_000_000
"""Uncompressed bytes of all images of a report together; the page is about as large, or half of it."""
_MARGIN = 16
_ORIENTED = ("axial", "coronal", "sagittal")
_UNKNOWN = ("first axis", "second axis", "third axis")
_AIR, _DENSEST = -1024, 3071
_HOUNSFIELD = (
    ("soft tissue", -160, 240),
    ("lung", -1350, 150),
    ("mediastinum", -125, 225),
    ("bone", -500, 1300),
    ("brain", 0, 80),
    ("liver", -45, 105),
)
_PERCENTILES = ((0.5, 99.5), (2, 98), (10, 90))


class Window(Saved):
    """What is black and what is white, in stored levels.

    Args:
        name: What a person picks.
        low: This level and below is black.
        high: This one and above is white.
    """

    name: str
    low: float
    high: float


class CasePictures(Saved):
    """The pictures of one case; file names lie in the run's ``pictures`` folder.

    Planes are ordered from feet to head, rows from front to back, columns from the patient's right to left,
    where the file says how it lies; otherwise as stored.

    Args:
        id: The case.
        shape: Planes, rows and columns of what is kept; one plane of a picture.
        across: Planes side by side in a file; further ones lie below.
        spacing: Distance between kept pixels along each axis.
        numbers: Per axis: the file's number of the first kept plane, the step to the next, how many it has.
        planes: What planes across each axis are called; empty for a picture.
        plane: The axis across which the file's own planes lie.
        best: The plane across that axis to show first.
        kind: ``grey`` (a byte), ``wide`` (16 bits) or ``colour``.
        scale: Value of a stored level: level × scale + offset.
        offset: See ``scale``.
        windows: Windows to choose from, the first to begin with; none for colour.
        image: PNG.
        reference: PNG of class ids, None without a label.
        prediction: PNG of class ids, None without one.
        objects: What was missed, made up or found, worst first.
        words: What is kept of the image, and how it was made smaller; empty where it is whole.
    """

    id: str
    shape: tuple[int, int, int]
    across: int
    spacing: tuple[float, float, float]
    numbers: tuple[tuple[int, int, int], ...]
    planes: tuple[str, ...] = ()
    plane: int = 0
    best: int = 0
    kind: Literal["grey", "wide", "colour"]
    scale: float = 1.0
    offset: float = 0.0
    windows: tuple[Window, ...] = ()
    image: str
    reference: str | None
    prediction: str | None
    objects: tuple[ObjectPlace, ...] = ()
    words: str = ""


class PictureIndex(Saved):
    """``pictures/cases.json``.

    Args:
        cases: Worst first.
    """

    version: int = 1
    cases: tuple[CasePictures, ...]


@dataclass(frozen=True)
class Shown:
    """What is to be seen of a case.

    Args:
        id: The case.
        pixels: ``(C, *S)`` as in the file.
        grid: Where they lie.
        reference: ``(*S)`` class ids, or None.
        prediction: ``(*S)`` class ids, or None.
        known: ``(*S)`` bool, False where the reference says nothing, or None.
        classes: Foreground class names.
        channel: Name of the first channel, the one that is shown.
    """

    id: str
    pixels: np.ndarray
    grid: Grid
    reference: np.ndarray | None
    prediction: np.ndarray | None
    known: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    channel: str = ""


@dataclass(frozen=True)
class _Cut:
    """A case turned, cut out and made smaller."""

    pixels: np.ndarray
    reference: np.ndarray | None
    prediction: np.ndarray | None
    spacing: tuple[float, float, float]
    numbers: tuple[tuple[int, int, int], ...]
    plane: int
    oriented: bool
    words: str


def save_pictures(run: Run, number: int, shown: Shown, *, budget: int) -> CasePictures:
    """Write the pictures of one case: one PNG of pixels, one of each label.

    A volume that is larger than the budget is cut to where its objects are, and what is still too large is
    averaged in blocks.

    Args:
        run: Into its ``pictures`` folder.
        number: Makes the file names (a case's id may hold anything).
        shown: What is to be seen.
        budget: Uncompressed bytes of its image.

    Returns:
        What was written.
    """
    pixels, kind, (scale, offset), windows = _levels(shown)
    small = _small(shown, pixels, budget // {"grey": 1, "wide": 2, "colour": 3}[kind])
    shape = (small.pixels.shape[0], small.pixels.shape[1], small.pixels.shape[2])
    across = _across(shape)
    files = {}
    parts = {"image": small.pixels, "reference": small.reference, "prediction": small.prediction}
    for name, planes in parts.items():
        if planes is not None:
            files[name] = f"{number:0>3}.{name}.png"
            write_bytes(run.folder / "pictures" / files[name], png(_side_by_side(planes, across)))
    volume = shown.grid.rank == 3
    labels = [each for each in (small.reference, small.prediction) if each is not None]
    busy = next((each for each in labels if each.any()), np.zeros(shape, np.uint8))
    return CasePictures(
        id=shown.id,
        shape=shape,
        across=across,
        spacing=small.spacing,
        numbers=small.numbers,
        planes=(_ORIENTED if small.oriented else _UNKNOWN) if volume else (),
        plane=small.plane,
        best=fullest(busy, small.plane),
        kind=kind,
        scale=scale,
        offset=offset,
        windows=windows,
        image=files["image"],
        reference=files.get("reference"),
        prediction=files.get("prediction"),
        objects=_places(shown, small),
        words=small.words,
    )


def read_planes(run: Run, case: CasePictures, name: str | None) -> np.ndarray | None:
    """The planes of one PNG again.

    Args:
        run: The run.
        case: What ``save_pictures`` returned.
        name: A file name of it.

    Returns:
        ``(planes, rows, columns)``, of colours with a last axis of 3; None without a name.
    """
    if name is None:
        return None
    with Image.open(run.folder / "pictures" / Path(name).name, formats=["PNG"]) as picture:
        flat = np.asarray(picture)
    count, rows, columns = case.shape
    tiles = flat.reshape(-1, rows, case.across, columns, *flat.shape[2:])
    return np.moveaxis(tiles, 2, 1).reshape(-1, rows, columns, *flat.shape[2:])[:count]


def plane_of(volume: np.ndarray, axis: int, at: int, *, oriented: bool) -> np.ndarray:
    """One plane the way it is hung: the head up, or the front, or, where nothing is known, the first row.

    Args:
        volume: ``(planes, rows, columns, …)`` as ``read_planes`` gives it.
        axis: Across which axis.
        at: Which plane.
        oriented: Whether the axes are the patient's.
    """
    plane = volume[(slice(None),) * axis + (at,)]
    return plane[::-1] if oriented and axis else plane


def _levels(
    shown: Shown,
) -> tuple[np.ndarray, Literal["grey", "wide", "colour"], tuple[float, float], tuple[Window, ...]]:
    """Pixels ``(*S)`` (of colours ``(*S, 3)``) in few bits, the value of a level, and windows."""
    if is_colour(shown.pixels):
        return np.moveaxis(shown.pixels, 0, -1), "colour", (1.0, 0.0), ()
    values = shown.pixels[0]
    if shown.channel.lower() == "ct" and values.min() < 0:  # shifted ones are no Hounsfield units
        stored = np.clip(np.rint(values), _AIR, _DENSEST).astype(np.int16) - _AIR
        own = tuple(Window(name=name, low=low - _AIR, high=high - _AIR) for name, low, high in _HOUNSFIELD)
        return stored.astype(np.uint16), "wide", (1.0, float(_AIR)), own
    shares = [share for pair in _PERCENTILES for share in pair]
    ends = percentiles(values, (0.05, 99.95, *shares))
    low, high = (float(values.min()), float(values.max())) if values.dtype == np.uint8 else ends[:2]
    scale = max(high - low, 1e-6) / 255
    windows = [
        Window(
            name=f"percentiles {first:g} to {last:g}", low=(below - low) / scale, high=(above - low) / scale
        )
        for (first, last), below, above in zip(_PERCENTILES, ends[2::2], ends[3::2], strict=True)
    ]
    return grey(values, low, high), "grey", (scale, low), (*windows, Window(name="all", low=0, high=255))


def _small(shown: Shown, pixels: np.ndarray, most: int) -> _Cut:
    """Turn, cut and reduce pixels ``(*S, …)`` and labels alike to ``most`` pixels."""
    rank = shown.grid.rank
    maps = [None if each is None else np.minimum(each, 255).astype(np.uint8)
            for each in (shown.reference, shown.prediction)]  # fmt: skip
    if rank == 2:
        pixels, maps = pixels[None], [None if each is None else each[None] for each in maps]
    grid_spacing = (*(1.0,) * (3 - rank), *shown.grid.spacing_mm)
    order, flips = _turned(shown.grid)
    spacing = tuple(grid_spacing[axis] for axis in order)
    total = tuple(pixels.shape[axis] for axis in order)
    turned = [None if each is None else _turn(each, order, flips) for each in (pixels, *maps)]
    whole = tuple((0, length) for length in total)
    box = whole if int(np.prod(total)) <= most or rank == 2 else _around(turned[1:], whole)
    lead = 3 - rank  # a picture is one plane
    sides = [stop - start for start, stop in box]
    factors = (*(1,) * lead, *factors_for(sides[lead:], spacing[lead:], most))
    inside = tuple(slice(*ends) for ends in box)  # the first axes: those of colours come last
    image, reference, prediction = (
        None if each is None else reduced(each[inside], factors, labels=place > 0)
        for place, each in enumerate(turned)
    )
    assert image is not None  # pixels are there
    numbers = []
    for axis in range(3):
        first, step = (box[axis][0] + 1, factors[axis])
        numbers.append(
            (total[axis] + 1 - first, -step, total[axis]) if flips[axis] else (first, step, total[axis])
        )
    kept = [step * factor for step, factor in zip(spacing, factors, strict=True)]
    return _Cut(
        image,
        reference,
        prediction,
        (kept[0], kept[1], kept[2]),
        tuple(numbers),
        order.index(0),
        rank == 3 and shown.grid.placed,
        _words(total[lead:], box[lead:], factors[lead:]),
    )


def _around(
    maps: Sequence[np.ndarray | None], whole: tuple[tuple[int, int], ...]
) -> tuple[tuple[int, int], ...]:
    """Where any label is, with a margin; everything where none is."""
    boxes = [box for each in maps if each is not None and (box := bounding_box(each > 0, margin=_MARGIN))]
    if not boxes:
        return whole
    return tuple(
        (min(start for start, _ in ends), max(stop for _, stop in ends)) for ends in zip(*boxes, strict=True)
    )


def _turned(grid: Grid) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Which axis of the file becomes planes, rows and columns, and which run the other way.

    Planes go up (S), rows to the back (against A), columns to the left (against R): the way films are hung.
    """
    if grid.rank == 2 or not grid.placed:
        return (0, 1, 2), (False, False, False)
    wanted = np.array([[0, 0, 1], [0, -1, 0], [-1, 0, 0]], float)
    toward = wanted @ np.array(grid.direction, float).T  # (planes, rows, columns) × axes of the file
    order = max(
        permutations(range(3)), key=lambda axes: sum(abs(toward[i, axis]) for i, axis in enumerate(axes))
    )
    flips = tuple(bool(toward[i, axis] < 0) for i, axis in enumerate(order))
    return (order[0], order[1], order[2]), (flips[0], flips[1], flips[2])


def _turn(array: np.ndarray, order: tuple[int, ...], flips: tuple[bool, ...]) -> np.ndarray:
    rest = tuple(range(3, array.ndim))
    turned = np.transpose(array, (*order, *rest))
    return turned[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]


def _places(shown: Shown, small: _Cut) -> tuple[ObjectPlace, ...]:
    """Objects of the case, placed where the kept pixels show them."""
    if shown.reference is None or shown.prediction is None:
        return ()
    first, second = shown.reference, shown.prediction
    if shown.known is not None:
        first, second = np.where(shown.known, first, 0), np.where(shown.known, second, 0)
    order, _ = _turned(shown.grid)
    lead = 3 - shown.grid.rank
    places = []
    for found in object_places(first, second, classes=shown.classes, grid=shown.grid):
        own = (*(0,) * lead, *found.at)
        at = []
        for axis in range(3):
            start, step, _ = small.numbers[axis]
            at.append(int(np.clip((own[order[axis]] + 1 - start) // step, 0, small.pixels.shape[axis] - 1)))
        places.append(found.model_copy(update={"at": tuple(at)}))
    return tuple(places)


def _across(shape: tuple[int, int, int]) -> int:
    """How many planes side by side make a picture about as wide as high: browsers limit both."""
    count, rows, columns = shape
    return max(1, min(count, round((count * rows / columns) ** 0.5)))


def _side_by_side(planes: np.ndarray, across: int) -> np.ndarray:
    count, rows, columns = planes.shape[:3]
    deep = -(-count // across)
    full = np.zeros((deep * across, *planes.shape[1:]), planes.dtype)
    full[:count] = planes
    tiles = full.reshape(deep, across, rows, columns, *planes.shape[3:])
    return np.moveaxis(tiles, 1, 2).reshape(deep * rows, across * columns, *planes.shape[3:])


def _words(total: Sequence[int], box: Sequence[tuple[int, int]], factors: Sequence[int]) -> str:
    kept = [stop - start for start, stop in box]
    said = []
    if list(total) != kept:
        said.append(f"the {_times(kept)} pixels around the objects, of {_times(total)}")
    if max(factors) > 1:
        said.append(f"{_times(factors)} pixels shown as one")
    return "; ".join(said)


def _times(values: Sequence[int]) -> str:
    return " × ".join(map(str, values))
