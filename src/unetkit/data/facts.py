"""What one case is: everything that is wanted of its pixels, taken in one look at them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from unetkit.records.case import Case, Grid
from unetkit.spatial.grid import nonzero_box
from unetkit.spatial.regions import boxes, components, sizes

MOST_SAMPLES = 10_000
MOST_SAMPLES_TOGETHER = 20_000_000
FEWEST_SAMPLES = 200
MOST_OBJECTS = 1_000
_CHUNK = 2**22
_LARGEST_SEARCH = 2**24


@dataclass(frozen=True)
class CaseFacts:
    """What one case is.

    Args:
        id: The case's id.
        group: The case's group.
        shape: ``*S`` as stored.
        cropped_shape: ``*S`` of the box around what is not zero in any channel.
        spacing_mm: Spacing per axis, mm.
        calibrated: Whether the file states its spacing.
        dtype: numpy type name of the pixels.
        channels: Number of channels.
        label_counts: Raw label value to number of pixels.
        digest: SHA-256 of the decoded pixels; equal pictures have equal digests whatever their files.
        sampled: ``(C, n)`` float32 intensities of some foreground pixels.
        minima: Smallest value per channel.
        maxima: Largest value per channel.
        integer: Whether all values of a channel are whole numbers.
        object_sizes: Raw label value to pixels per connected object, ascending; at most 1000, evenly chosen.
        sampled_values: ``(n,)`` raw label values of the sampled pixels.
        label_digest: SHA-256 of the raw label values and of where they lie, as far as that is stated.
        thickness: Raw label value to the width (pixels) of a tube with as many pixels and boundary faces.
    """

    id: str
    group: str
    shape: tuple[int, ...]
    cropped_shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    calibrated: bool
    dtype: str
    channels: int
    label_counts: dict[int, int]
    digest: str
    sampled: np.ndarray
    minima: tuple[float, ...]
    maxima: tuple[float, ...]
    integer: tuple[bool, ...]
    object_sizes: dict[int, tuple[int, ...]]
    sampled_values: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))
    label_digest: str = ""
    thickness: dict[int, float] = field(default_factory=dict)

    @property
    def content_digest(self) -> str:
        """SHA-256 that changes with the pixels, the label or its place."""
        return hashlib.sha256(f"{self.digest}{self.label_digest}".encode()).hexdigest()


def take_facts(case: Case, pixels: np.ndarray, values: np.ndarray, grid: Grid, *, samples: int) -> CaseFacts:
    """Measure one case.

    Args:
        case: The address.
        pixels: ``(C, *S)`` as stored.
        values: ``(*S)`` raw label values.
        grid: Where the pixels lie.
        samples: Most foreground pixels to keep.

    Example:
        >>> case = Case("a", (), None, "a")
        >>> facts = take_facts(case, np.ones((1, 2, 2)), np.array([[0, 3], [0, 3]]), Grid.plain(2), samples=9)
        >>> facts.label_counts, facts.object_sizes
        ({0: 2, 3: 2}, {3: (2,)})
    """
    counts = count_values(values)
    sampled, sampled_values = _sample(case.id, pixels, values, counts, samples)
    object_sizes, thickness = measure_objects(values, counts)
    return CaseFacts(
        id=case.id,
        group=case.group,
        shape=pixels.shape[1:],
        cropped_shape=tuple(stop - start for start, stop in nonzero_box(pixels)),
        spacing_mm=grid.spacing_mm,
        calibrated=grid.calibrated,
        dtype=pixels.dtype.name,
        channels=pixels.shape[0],
        label_counts=counts,
        digest=digest_of(pixels),
        sampled=sampled,
        sampled_values=sampled_values,
        minima=tuple(float(channel.min()) for channel in pixels),
        maxima=tuple(float(channel.max()) for channel in pixels),
        integer=tuple(_is_integer(channel) for channel in pixels),
        object_sizes=object_sizes,
        thickness=thickness,
        label_digest=label_digest_of(values, counts, grid),
    )


def count_values(values: np.ndarray) -> dict[int, int]:
    """Pixels per value, without a second array of the image's size.

    Example:
        >>> count_values(np.array([[0, 7], [7, -1]]))
        {-1: 1, 0: 1, 7: 2}
    """
    totals: dict[int, int] = {}
    for chunk in _chunks(values):
        if int(chunk.min()) >= 0 and int(chunk.max()) <= 65535:
            table = np.bincount(chunk)
            present = np.flatnonzero(table)
            pairs = zip(present.tolist(), table[present].tolist(), strict=True)
        else:
            found, table = np.unique(chunk, return_counts=True)
            pairs = zip(found.tolist(), table.tolist(), strict=True)
        for value, count in pairs:
            totals[value] = totals.get(value, 0) + count
    return dict(sorted(totals.items()))


def digest_of(pixels: np.ndarray) -> str:
    """SHA-256 of shape, type and values.

    Example:
        >>> digest_of(np.zeros((1, 2, 2), np.uint8)) == digest_of(np.zeros((1, 4, 1), np.uint8))
        False
    """
    hashed = hashlib.sha256(f"{pixels.dtype.str}{pixels.shape}".encode())
    hashed.update(np.ascontiguousarray(pixels).reshape(-1).view(np.uint8).data)
    return hashed.hexdigest()


def label_digest_of(values: np.ndarray, counts: Mapping[int, int], grid: Grid) -> str:
    """SHA-256 of label values and their place; how many bits the file spends on a value does not matter.

    Args:
        values: ``(*S)`` raw label values.
        counts: Pixels per value.
        grid: Where they lie; left out unless the file says so.

    Example:
        >>> one, grid = np.array([[0, 2]], np.uint8), Grid.plain(2)
        >>> label_digest_of(one, {0: 1, 2: 1}, grid) == label_digest_of(one.astype(int), {0: 1, 2: 1}, grid)
        True
    """
    kind = np.uint8 if not counts or (min(counts) >= 0 and max(counts) <= 255) else np.dtype("<i8")
    axes = (grid.spacing_mm, grid.origin_mm, *grid.direction) if grid.calibrated else ()
    place = [[round(float(number), 6) for number in axis] for axis in axes]
    hashed = hashlib.sha256(f"{values.shape}{place}".encode())
    for chunk in _chunks(values):
        hashed.update(np.ascontiguousarray(chunk, dtype=kind).view(np.uint8).data)
    return hashed.hexdigest()


def _chunks(array: np.ndarray) -> Iterator[np.ndarray]:
    flat = array.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        yield flat[start : start + _CHUNK]


def _is_integer(channel: np.ndarray) -> bool:
    return channel.dtype.kind != "f" or all(bool((np.rint(part) == part).all()) for part in _chunks(channel))


def _sample(
    id: str, pixels: np.ndarray, values: np.ndarray, counts: dict[int, int], most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels whose label is not 0, chosen by a generator that follows from the case's id alone."""
    total = sum(count for value, count in counts.items() if value != 0)
    seed = int.from_bytes(hashlib.sha256(id.encode()).digest()[:8], "big")
    # every foreground pixel has a rank in reading order: choose ranks first, then meet them in one pass
    random = np.random.Generator(np.random.Philox(seed))
    ranks = np.sort(random.choice(total, most, replace=False)) if total > most else np.arange(total)
    places, passed = [np.empty(0, np.int64)], 0
    for number, chunk in enumerate(_chunks(values)):
        here = np.flatnonzero(chunk)
        low, high = np.searchsorted(ranks, (passed, passed + here.size))
        places.append(here[ranks[low:high] - passed] + number * _CHUNK)
        passed += here.size
    chosen = np.concatenate(places)
    flat = pixels.reshape(pixels.shape[0], -1)
    return flat[:, chosen].astype(np.float32), values.reshape(-1)[chosen].astype(np.int32)


def measure_objects(
    values: np.ndarray, counts: dict[int, int]
) -> tuple[dict[int, tuple[int, ...]], dict[int, float]]:
    """Connected objects per value and how thick they are, each searched in its own bounding box.

    Args:
        values: ``(*S)`` label values.
        counts: Pixels per value.

    Returns:
        ``object_sizes`` and ``thickness`` as in ``CaseFacts``.

    Example:
        >>> measure_objects(np.array([[3, 0, 3]]), {0: 1, 3: 2})
        ({3: (1, 1)}, {3: 2.0})
    """
    present = [value for value in counts if 0 < value <= 65535]
    if not present or len(present) > 256:
        return {}, {}
    result: dict[int, tuple[int, ...]] = {}
    widths: dict[int, float] = {}
    for value, box in zip(present, _boxes(values, present), strict=True):
        # a pixel more on every side, where there is one: the faces of the boundary are counted
        inside = values[tuple(slice(max(start - 1, 0), stop + 1) for start, stop in box)]
        while inside.size > _LARGEST_SEARCH:  # a part of a huge picture tells the sizes as well
            axis = int(np.argmax(inside.shape))
            quarter = inside.shape[axis] // 4
            inside = inside.take(range(quarter, inside.shape[axis] - quarter), axis=axis)
        mask = inside == value
        widths[value] = _width(mask)
        found = np.sort(sizes(*components(mask)))
        if found.size > MOST_OBJECTS:
            found = found[np.linspace(0, found.size - 1, MOST_OBJECTS).round().astype(np.int64)]
        result[value] = tuple(int(size) for size in found)
    return result, widths


def _width(mask: np.ndarray) -> float:
    """Edge of the square tube that has as many pixels per boundary face; the image's edge is no boundary.

    Of a tube of any length all but its ends are faces: ``2 · (rank - 1)`` per pixel of width and length.
    """
    faces = sum(int(np.count_nonzero(np.diff(mask, axis=axis))) for axis in range(mask.ndim))
    return 2 * (mask.ndim - 1) * int(np.count_nonzero(mask)) / faces if faces else 0.0


def _boxes(values: np.ndarray, present: list[int]) -> list[tuple[tuple[int, int], ...]]:
    table = np.zeros(max(present) + 1, np.int32)
    table[present] = np.arange(1, len(present) + 1)
    whole = tuple((0, length) for length in values.shape)
    if max(present) == len(present) and values.dtype.kind in "iu":
        return [box or whole for box in boxes(values, len(present))]
    return [box or whole for box in boxes(table[np.clip(values, 0, max(present))], len(present))]
