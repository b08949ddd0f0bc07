"""LIDC-IDRI's XML: what each reader drew and thought of it, as written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree.ElementTree import Element

import numpy as np

from unetkit.data.markup import read_xml
from unetkit.errors import DataError

ROOT = "LidcReadMessage"
TRAITS = {
    "subtlety": ("subtlety", 5),
    "internalStructure": ("internal_structure", 4),
    "calcification": ("calcification", 6),
    "sphericity": ("sphericity", 5),
    "margin": ("margin", 5),
    "lobulation": ("lobulation", 5),
    "spiculation": ("spiculation", 5),
    "texture": ("texture", 5),
    "malignancy": ("malignancy", 5),
}
"""Element to column and highest rating; the lowest one is 1, and 0 stands for "not rated"."""

PointKind = Literal["nodule < 3 mm", "non-nodule"]


@dataclass(frozen=True)
class Place:
    """Which slice something was drawn on.

    Args:
        instance: SOPInstanceUID of the slice; may be empty.
        height_mm: Its z in the patient (LPS), NaN where it is not stated.
    """

    instance: str
    height_mm: float


@dataclass(frozen=True)
class Outline:
    """One closed line on one slice.

    Args:
        place: The slice.
        included: Whether its inside belongs to the nodule; False for what is cut out of it.
        ring: ``(n, 2)`` rows and columns of the pixels it runs through, the first pixels outside.
    """

    place: Place
    included: bool
    ring: np.ndarray


@dataclass(frozen=True)
class Nodule:
    """A nodule of at least 3 mm as one reader saw it.

    Args:
        reader: Number of the reading session, from 0; not the same person from file to file.
        outlines: At least one.
        traits: Ratings by column of ``TRAITS``; those that were not given are left out.
    """

    reader: int
    outlines: tuple[Outline, ...]
    traits: dict[str, int]


@dataclass(frozen=True)
class Point:
    """Something that was only pointed at: a nodule below 3 mm, or no nodule of 3 mm and more.

    Args:
        reader: Number of the reading session, from 0.
        kind: Which of the two.
        place: The slice.
        row: Of its centre.
        column: Of its centre.
    """

    reader: int
    kind: PointKind
    place: Place
    row: int
    column: int


@dataclass(frozen=True)
class Reading:
    """One XML.

    Args:
        series: SeriesInstanceUID of the CT; may be empty.
        readers: Number of reading sessions, those without a mark included.
        nodules: Of all readers.
        points: Of all readers.
    """

    series: str
    readers: int
    nodules: tuple[Nodule, ...]
    points: tuple[Point, ...]


def read_reading(path: Path) -> Reading | None:
    """Read a file.

    Args:
        path: The XML.

    Returns:
        None where it is not of a CT's readers: the archive also has readings of chest films.

    Raises:
        DataError: It is damaged, or a number is none.
    """
    root = read_xml(path)
    if root.tag != ROOT:
        return None
    header = root.find("ResponseHeader")
    found = [] if header is None else [each for each in header if each.tag.lower() == "seriesinstanceuid"]
    sessions = root.findall("readingSession")
    if not sessions:
        raise _damaged("it has no reading session", path)
    return Reading(
        series=(found[0].text or "").strip() if found else "",
        readers=len(sessions),
        nodules=tuple(each for number, one in enumerate(sessions) for each in _nodules(number, one, path)),
        points=tuple(each for number, one in enumerate(sessions) for each in _points(number, one, path)),
    )


def _nodules(reader: int, session: Element, path: Path) -> Iterator[Nodule]:
    for drawn in session.findall("unblindedReadNodule"):
        outlines = tuple(_outline(roi, path) for roi in drawn.findall("roi"))
        if not outlines:
            raise _damaged("a nodule has no outline", path)
        if not _is_point(outlines):
            yield Nodule(reader, outlines, _traits(drawn))


def _points(reader: int, session: Element, path: Path) -> Iterator[Point]:
    for drawn in session.findall("unblindedReadNodule"):
        outlines = tuple(_outline(roi, path) for roi in drawn.findall("roi"))
        if _is_point(outlines):
            row, column = outlines[0].ring[0]
            yield Point(reader, "nodule < 3 mm", outlines[0].place, int(row), int(column))
    for drawn in session.findall("nonNodule"):
        for locus in drawn.findall("locus"):
            row, column = _coordinates(locus, path)
            yield Point(reader, "non-nodule", _place(drawn, path), row, column)


def _is_point(outlines: tuple[Outline, ...]) -> bool:
    """Whether a nodule was only pointed at: the ratings do not tell, some outlined ones lack them."""
    return len(outlines) == 1 and len(outlines[0].ring) == 1


def _outline(roi: Element, path: Path) -> Outline:
    included = (roi.findtext("inclusion") or "TRUE").strip().upper()
    if included not in ("TRUE", "FALSE"):
        raise _damaged(f"'inclusion' is '{included[:20]}'", path)
    ring = np.array([_coordinates(each, path) for each in roi.findall("edgeMap")]).reshape(-1, 2)
    if not len(ring):
        raise _damaged("an outline has no point", path)
    return Outline(_place(roi, path), included == "TRUE", ring)


def _place(element: Element, path: Path) -> Place:
    text = (element.findtext("imageZposition") or "").strip()
    instance = (element.findtext("imageSOP_UID") or "").strip()
    if not text and not instance:
        raise _damaged("a mark names no slice", path)
    return Place(instance, _number(text, "imageZposition", path) if text else float("nan"))


def _coordinates(element: Element, path: Path) -> tuple[int, int]:
    """Row and column."""
    x, y = (_number(element.findtext(name) or "", name, path) for name in ("xCoord", "yCoord"))
    if x != int(x) or y != int(y) or min(x, y) < 0:
        raise _damaged(f"the point ({x:g}, {y:g}) is no pixel", path)
    return int(y), int(x)


def _traits(drawn: Element) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, (column, highest) in TRAITS.items():
        text = (drawn.findtext(f"characteristics/{name}") or "").strip()
        if text.isdecimal() and 1 <= int(text) <= highest:
            found[column] = int(text)
    return found


def _number(text: str, name: str, path: Path) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise _damaged(f"'{name}' is no number", path)
    return value


def _damaged(problem: str, path: Path) -> DataError:
    return DataError(
        f"this reading cannot be used: {problem}",
        cure="download the XML again, or take its series out",
        where=path,
    )
