"""What several readers drew, put together: masks, matched nodules, their consensus and their sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from unetkit.data.exchange.lidc_readings import TRAITS, Nodule, Outline, Place
from unetkit.spatial.polygons import fill_polygons, trace_polygon

Box = tuple[slice, slice, slice]
_KINDS_OF = ("internal_structure", "calcification")
"""Ratings that name a kind and form no scale: the most frequent one is given, of others the mean."""


@dataclass(frozen=True)
class Lesion:
    """One reader's nodule in a volume.

    Args:
        reader: From 0.
        box: The part of the volume that it lies in.
        mask: ``(slices, rows, columns)`` of that part.
        diameter_mm: Greatest distance between two points of its outline on one slice.
        traits: Ratings.
    """

    reader: int
    box: Box
    mask: np.ndarray
    diameter_mm: float
    traits: dict[str, int]


def lesion_of(
    nodule: Nodule, *, slice_of: Callable[[Place], int], shape: tuple[int, ...], spacing_mm: tuple[float, ...]
) -> Lesion:
    """Fill the outlines of a nodule.

    The outline runs through the first pixels outside: only what it encloses belongs to the nodule, and in
    the same way only what the outline of an excluded part encloses is cut out.

    Args:
        nodule: As read.
        slice_of: The slice number of a place.
        shape: Of the volume.
        spacing_mm: Of the volume.
    """
    planes: dict[int, np.ndarray] = {}
    ordered = sorted(nodule.outlines, key=lambda outline: not outline.included)
    low = np.min([outline.ring.min(axis=0) for outline in ordered], axis=0)
    size = np.max([outline.ring.max(axis=0) for outline in ordered], axis=0) - low + 1
    for outline in ordered:
        plane = planes.setdefault(slice_of(outline.place), np.zeros((int(size[0]), int(size[1])), bool))
        plane[_inside(outline.ring - low, plane.shape)] = outline.included
    first, last = min(planes), max(planes)
    mask = np.zeros((last - first + 1, *map(int, size)), bool)
    for at, plane in planes.items():
        mask[at - first] = plane
    box = (
        slice(first, last + 1),
        slice(int(low[0]), int(low[0] + size[0])),
        slice(int(low[1]), int(low[1] + size[1])),
    )
    return Lesion(nodule.reader, box, mask, _diameter(ordered, spacing_mm), nodule.traits)


def _inside(ring: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """What an outline encloses, without the outline."""
    plane = np.zeros(shape, bool)
    window, mask = fill_polygons([ring], (shape[0], shape[1]))
    plane[window] = mask
    rows, columns = trace_polygon(ring).T
    plane[rows, columns] = False
    return plane


def _diameter(outlines: Sequence[Outline], spacing_mm: tuple[float, ...]) -> float:
    largest = 0.0
    for outline in outlines:
        if outline.included:
            points = outline.ring * np.array(spacing_mm[1:])
            between = points[:, None] - points[None]
            largest = max(largest, float(np.sqrt((between**2).sum(axis=-1)).max()))
    return largest


def reader_bits(lesions: Sequence[Lesion], shape: tuple[int, ...], readers: int) -> np.ndarray:
    """Who marked what: bit k of a voxel is set where reader k did.

    Args:
        lesions: Of all readers.
        shape: Of the volume.
        readers: How many there are, at most 16.

    Returns:
        ``(*S)`` uint8, or uint16 for more than 8 readers.
    """
    bits = np.zeros(shape, np.uint8 if readers <= 8 else np.uint16)
    for lesion in lesions:
        bits[lesion.box] |= lesion.mask.astype(bits.dtype) << lesion.reader
    return bits


def consensus(bits: np.ndarray, readers: int) -> np.ndarray:
    """The voxels that at least half of the readers marked.

    Args:
        bits: ``(*S)``: bit k is set where reader k marked a voxel.
        readers: How many read it, those who marked nothing included.

    Returns:
        ``(*S)`` uint8, 0 or 1.

    Example:
        >>> consensus(np.array([0b0000, 0b0100, 0b0101, 0b1111], np.uint8), 4).tolist()
        [0, 0, 1, 1]
    """
    counts = np.array([value.bit_count() for value in range(2**readers)])
    return (2 * counts >= readers)[bits].astype(np.uint8)


def match(lesions: Sequence[Lesion]) -> list[list[Lesion]]:
    """Put the readers' marks of one nodule together: those that overlap, the best overlaps first.

    Of one reader at most one mark belongs to a nodule: where a reader saw two nodules and another one of
    them as one, the one with more overlap is matched and the other stands alone.

    Args:
        lesions: Of all readers.

    Returns:
        Groups in the order of their first slice, row and column, the readers of each in order.
    """
    pairs = [
        (overlap, first, second)
        for first in range(len(lesions))
        for second in range(first + 1, len(lesions))
        if (overlap := _dice(lesions[first], lesions[second])) > 0
    ]
    groups = [{number} for number in range(len(lesions))]
    home = list(range(len(lesions)))
    for _, first, second in sorted(pairs, key=lambda pair: (-pair[0], pair[1:])):
        one, other = groups[home[first]], groups[home[second]]
        readers = {lesions[n].reader for n in one} & {lesions[n].reader for n in other}
        if one is other or readers:
            continue
        one |= other
        other.clear()
        for number in one:
            home[number] = home[first]
    found = [
        sorted((lesions[n] for n in group), key=lambda lesion: lesion.reader) for group in groups if group
    ]
    return sorted(found, key=lambda group: [part.start for part in group[0].box])


def _dice(one: Lesion, other: Lesion) -> float:
    """Dice of two marks; marks of one reader never match."""
    if one.reader == other.reader:
        return 0.0
    starts = [max(a.start, b.start) for a, b in zip(one.box, other.box, strict=True)]
    stops = [min(a.stop, b.stop) for a, b in zip(one.box, other.box, strict=True)]
    if any(start >= stop for start, stop in zip(starts, stops, strict=True)):
        return 0.0
    parts = [
        lesion.mask[
            tuple(slice(a - p.start, b - p.start) for a, b, p in zip(starts, stops, lesion.box, strict=True))
        ]
        for lesion in (one, other)
    ]
    both = int((parts[0] & parts[1]).sum())
    return 2 * both / (int(one.mask.sum()) + int(other.mask.sum())) if both else 0.0


def describe_group(group: Sequence[Lesion], spacing_mm: tuple[float, ...]) -> dict[str, str]:
    """The row of a nodule: who marked it, where its middle lies, how large it is, what they thought of it.

    Args:
        group: Its marks by different readers.
        spacing_mm: Of the volume.
    """
    middles, volumes = [], []
    for lesion in group:
        places = np.argwhere(lesion.mask)
        corner = [part.start for part in lesion.box]
        middle = places.mean(axis=0) if len(places) else (np.array(lesion.mask.shape) - 1) / 2
        middles.append(middle + corner)
        volumes.append(len(places) * float(np.prod(spacing_mm)))
    middle = np.mean(middles, axis=0)
    row = {
        "readers": str(len(group)),
        "marked_by": " ".join(str(lesion.reader) for lesion in group),
        **{name: f"{value:.1f}" for name, value in zip(("slice", "row", "column"), middle, strict=True)},
        "diameter_mm": f"{np.mean([lesion.diameter_mm for lesion in group]):.2f}",
        "volume_mm3": f"{np.mean(volumes):.1f}",
    }
    for column, _ in TRAITS.values():
        rated = [lesion.traits[column] for lesion in group if column in lesion.traits]
        if not rated:
            row[column] = ""
        elif column in _KINDS_OF:
            row[column] = str(min(Counter(rated).items(), key=lambda pair: (-pair[1], pair[0]))[0])
        else:
            row[column] = f"{np.mean(rated):.4g}"
    return row
