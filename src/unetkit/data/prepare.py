"""From a file to a network input: crop, normalise, resample; and a cache that is whole or not there."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from unetkit.data.cascade import prepare_previous, read_previous
from unetkit.data.entries import load_entry, store_entry, sweep_parts
from unetkit.data.foreground import foreground
from unetkit.data.formats import files_of
from unetkit.data.intensities import measured_intensities
from unetkit.data.labels import read_label, read_pixels, resampled_alike
from unetkit.data.readers import prepare_marks, read_marks
from unetkit.errors import DataError, ResourceError
from unetkit.records.case import Case, Grid, Placement, Sample
from unetkit.records.files import disk_error, sha256
from unetkit.records.plan import DataPlan, PreparationPlan
from unetkit.spatial.grid import nonzero_box, resample, resampled_shape
from unetkit.spatial.intensity import apply_intensity
from unetkit.spatial.regions import cut

CACHE_VERSION = 1
"""Raised whenever the same files and plan would be prepared into other numbers."""

_ATTEMPTS = 3
# How the network sees a prepared volume, which changes nothing in it.
_OF_THE_NETWORK = {"slice_axis", "context_slices", "cascade"}


@dataclass(frozen=True)
class _Label:
    ids: np.ndarray
    known: np.ndarray | None


def prepare(case: Case, data: DataPlan, preparation: PreparationPlan) -> Sample:
    """Read one case and make it a network input: crop, then normalise, then resample.

    Where nothing is resampled the pixels keep the file's type and ``Sample.intensity`` says how a patch is
    normalised, so that a picture stays one byte per pixel; resampled pixels are ready-made float32.

    Args:
        case: The address.
        data: Rank, channels and classes the plan expects.
        preparation: What to do.

    Returns:
        The sample in memory, with its label where the case has one.

    Raises:
        DataError: The case has other channels or axes than planned, a label of another size, or values
            that are not finite; the reader's errors go through.
    """
    pixels, grid = read_pixels(case, data)
    if pixels.shape[0] != len(data.channels) or pixels.ndim - 1 != data.rank:
        raise DataError(
            f"expected {len(data.channels)} channels on {data.rank} axes, got {pixels.shape[0]} channels "
            f"of shape {pixels.shape[1:]}",
            cure="leave this case out, or plan anew with data like it",
            where=case.id,
        )
    label = None
    if case.label is not None:
        ids, known, _ = read_label(case, data)
        if ids.shape != pixels.shape[1:]:
            raise DataError(
                f"the image has shape {pixels.shape[1:]} and its label {ids.shape}",
                cure="export the label on the image's own grid",
                where=case.label,
            )
        label = _Label(ids, known)
    sample = _prepared(pixels, grid, label, preparation, id=case.id)
    if case.previous is not None:
        said = prepare_previous(read_previous(case.previous, data), sample, preparation)
        sample = replace(sample, previous=said)
    if case.readers is None:
        return sample
    marks = prepare_marks(read_marks(case), sample, preparation)
    return replace(sample, readers=marks, reader_count=case.reader_count)


def prepare_pixels(pixels: np.ndarray, grid: Grid, preparation: PreparationPlan, *, id: str) -> Sample:
    """Make an array a network input, exactly as ``prepare`` does for a file.

    Args:
        pixels: ``(C, *S)`` of any number type.
        grid: Where they lie.
        preparation: What to do.
        id: Name, for errors and results.

    Raises:
        DataError: The channels are not as many as planned, or values are not finite.

    Example:
        >>> from unetkit.records.plan import Normalization
        >>> plan = PreparationPlan(normalization=(Normalization(scheme="zscore"),))
        >>> sample = prepare_pixels(np.array([[[1, 3]]], np.uint8), Grid.plain(2), plan, id="x")
        >>> sample.pixels.dtype, sample.intensity[0].shift, sample.intensity[0].scale
        (dtype('uint8'), 2.0, 1.0)
    """
    return _prepared(pixels, grid, None, preparation, id=id)


class Cache:
    """Prepared samples in a folder; each is prepared once, for every process that shares the folder.

    An entry's name is the SHA-256 of what it follows from: the bytes of the case's files, its region, the
    plan's data and preparation, and the version of this code. It appears by one rename, and is used only
    when every file in it has the size it was written with.

    Args:
        folder: Where the entries lie; made when absent.
        data: What goes in and what comes out.
        preparation: From a file to a network input.
    """

    def __init__(self, folder: Path, data: DataPlan, preparation: PreparationPlan) -> None:
        self._folder = folder
        self._data = data
        self._preparation = preparation
        self._digests: dict[tuple[str, int, int], str] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            sweep_parts(folder)
        except OSError as wrong:
            raise disk_error(wrong, folder) from wrong

    def get(self, case: Case) -> Sample:
        """The prepared sample of a case, memory-mapped; made first where it is absent or damaged.

        Args:
            case: The address.

        Raises:
            DataError: The case is refused.
            ResourceError: The disk is full, cannot be written or does not give back what was written.
        """
        entry = self._folder / self.key(case)
        for _ in range(_ATTEMPTS):
            sample = load_entry(entry, case.id)
            if sample is not None:
                return sample
            store_entry(entry, prepare(case, self._data, self._preparation))
        sample = load_entry(entry, case.id)
        if sample is None:
            raise ResourceError(
                "a prepared case cannot be read back after writing it",
                cure="check this disk, or choose another cache folder",
                where=entry,
            )
        return sample

    def key(self, case: Case) -> str:
        """The name of a case's entry: 64 hex digits that change with anything the entry follows from.

        Args:
            case: The address.

        Raises:
            DataError: A file of the case cannot be read.
        """
        files = [*case.images, *(() if case.label is None else (case.label,))]
        read = (
            {} if case.readers is None else {"readers": [self._digests_of(case.readers), case.reader_count]}
        )
        if case.previous is not None:
            read["previous"] = [self._digests_of(case.previous)]
        facts = {
            "version": CACHE_VERSION,
            "files": [self._digests_of(path) for path in files],
            "labelled": case.label is not None,
            "label_kind": case.label_kind,
            "region": case.region,
            "data": self._data.model_dump(mode="json", exclude=_OF_THE_NETWORK),
            "preparation": self._preparation.model_dump(mode="json"),
            **read,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _digests_of(self, path: Path) -> str:
        """The digest of a file; of a folder of slices or a header beside its data one of all their files."""
        parts = files_of(path)
        if parts == (path,):
            return self._digest(path)
        within = path if path.is_dir() else path.parent  # a chunk's name says nothing without its folder
        rows = "".join(f"{part.relative_to(within).as_posix()} {self._digest(part)}\n" for part in parts)
        return hashlib.sha256(rows.encode()).hexdigest()

    def _digest(self, path: Path) -> str:
        """The file's SHA-256; kept while size and time stay, because many regions can share one file."""
        try:
            facts = path.stat()
            known = (str(path), facts.st_size, facts.st_mtime_ns)
            if known not in self._digests:
                self._digests[known] = sha256(path)
        except OSError as wrong:
            raise DataError(
                f"expected a readable file, got: {wrong.strerror or wrong}",
                cure="put the file back, or take the case out of the data set",
                where=path,
            ) from wrong
        return self._digests[known]


def _prepared(
    pixels: np.ndarray, grid: Grid, label: _Label | None, preparation: PreparationPlan, *, id: str
) -> Sample:
    shape = pixels.shape[1:]
    if len(preparation.normalization) != pixels.shape[0]:
        raise DataError(
            f"expected {len(preparation.normalization)} channels, got {pixels.shape[0]}",
            cure="give the channels the model was planned for",
            where=id,
        )
    box = nonzero_box(pixels) if preparation.crop_to_nonzero else tuple((0, length) for length in shape)
    placement = Placement(shape, grid, box)
    pixels = plain_type(cut(pixels, box), id)
    if label is not None:
        known = None if label.known is None else cut(label.known, box)
        known = None if known is None or known.all() else np.ascontiguousarray(known)
        label = _Label(np.ascontiguousarray(cut(label.ids, box)), known)
    cropped = pixels
    intensity = measured_intensities(
        lambda start, stop: cropped[:, start:stop], cropped.shape[1:], preparation.normalization
    )
    grid, target = target_grid(grid, box, preparation)
    if target != pixels.shape[1:]:
        order, separate = preparation.order_image, preparation.separate_axis
        pixels = resample(apply_intensity(pixels, intensity), target, order=order, separate_axis=separate)
        intensity = ()
        label = None if label is None else _resampled(label, target, preparation)
    return Sample(
        id=id,
        pixels=np.ascontiguousarray(pixels),
        grid=grid,
        label=None if label is None else label.ids,
        known=None if label is None else label.known,
        placement=placement,
        foreground={} if label is None else foreground(label.ids, label.known),
        intensity=intensity,
    )


def plain_type(pixels: np.ndarray, id: str) -> np.ndarray:
    """The machine's own byte order, float32 for wider floats and for half floats, uint8 for bool.

    Args:
        pixels: Of any number type.
        id: Name, for the error.

    Raises:
        DataError: A value is not finite.
    """
    if pixels.dtype.kind == "f":
        with np.errstate(over="ignore"):
            pixels = pixels.astype(np.float32, copy=False)
        if not np.isfinite(pixels).all():
            raise DataError(
                "expected finite pixels, got NaN or infinity",
                cure="correct the file, or replace these values",
                where=id,
            )
        return pixels
    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def target_grid(
    grid: Grid, box: tuple[tuple[int, int], ...], preparation: PreparationPlan
) -> tuple[Grid, tuple[int, ...]]:
    """The grid and the shape after cropping to a box and resampling to the planned spacing.

    The edges of the box stay where they are in the world, so the spacing follows from the rounded shape.

    Args:
        grid: Where the pixels lie.
        box: Start and stop per axis of what is kept.
        preparation: The spacing that is wanted.
    """
    old = tuple(stop - start for start, stop in box)
    new = resampled_shape(old, grid.spacing_mm, preparation.spacing_mm) if preparation.spacing_mm else old
    rows = tuple(zip(old, new, grid.spacing_mm, strict=True))
    spacing = tuple(step if have == get else step * have / get for have, get, step in rows)
    origin = np.asarray(grid.origin_mm, np.float64)
    for axis, unit in enumerate(grid.direction):
        step = box[axis][0] * grid.spacing_mm[axis] + (spacing[axis] - grid.spacing_mm[axis]) / 2
        origin = origin + step * np.asarray(unit)
    moved = tuple(float(value) for value in origin)
    return replace(grid, spacing_mm=spacing, origin_mm=moved, georeference=None), new


def _resampled(label: _Label, target: tuple[int, ...], preparation: PreparationPlan) -> _Label:
    """The label on the new shape; what is not known takes part as one more class."""
    if label.known is None:
        return _Label(resampled_alike(label.ids, target, preparation), None)
    unknown = int(label.ids.max()) + 1
    marked = np.where(label.known, label.ids, np.uint16(unknown)).astype(np.uint16)
    marked = resampled_alike(marked, target, preparation)
    known = marked != unknown
    return _Label(np.where(known, marked, 0).astype(label.ids.dtype), None if known.all() else known)
