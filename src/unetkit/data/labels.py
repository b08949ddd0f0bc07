"""From an address to arrays: the pixels of a case, and its label as class ids."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from unetkit.data.classes import LARGEST
from unetkit.data.formats import DICOM, format_of, kind_of
from unetkit.errors import DataError
from unetkit.records.case import Case, Grid, Sample
from unetkit.records.figures import counted
from unetkit.records.plan import DataPlan, PreparationPlan
from unetkit.spatial.grid import resample_label
from unetkit.spatial.regions import Box, cut

COLOURS = ("red", "green", "blue")
"""Channel names of a colour picture; where they are planned, a grey one counts as three equal channels."""
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def read_pixels(case: Case, data: DataPlan | None = None) -> tuple[np.ndarray, Grid]:
    """The pixels of a case: every channel file, cut to the case's region.

    Args:
        case: The address.
        data: What is planned; with it a grey picture among colour ones gets three equal channels, one that
            was saved in colour among grey ones loses them, and one with an alpha loses that.

    Returns:
        Pixels ``(C, *S)`` in the files' type, and where they lie.

    Raises:
        DataError: A file is missing, damaged or holds NaN, or the channel files do not match.
    """
    parts = [format_of(path).read(path) for path in case.images]
    if not parts:
        raise DataError("the case has no image file", cure="name one", where=case.id)
    first, grid = parts[0]
    for path, (pixels, other) in zip(case.images, parts, strict=True):
        refuse_other_grid((case.images[0], first.shape[1:], grid), (path, pixels.shape[1:], other))
        refuse_nan(pixels, path)
    pixels = first if len(parts) == 1 else np.concatenate([part for part, _ in parts])
    if data is not None and len(data.channels) != len(pixels) and has_alpha(case, pixels):
        pixels = pixels[:-1]
    if data is not None and data.channels == COLOURS and pixels.shape[0] == 1:
        pixels = np.repeat(pixels, len(COLOURS), axis=0)
    if data is not None and len(data.channels) == 1 and is_grey(case, pixels):
        pixels = pixels[:1]
    return cut_region(pixels, grid, case.region, case.id)


def has_alpha(case: Case, pixels: np.ndarray) -> bool:
    """Whether the last channel of a picture is an alpha: a PNG has no other fourth, or second.

    Args:
        case: Its address.
        pixels: ``(C, y, x)`` as read.
    """
    return len(case.images) == 1 and len(pixels) in (2, 4) and kind_of(case.images[0]) == "raster"


def is_grey(case: Case, pixels: np.ndarray) -> bool:
    """Whether a picture is grey though it was saved in colour: its three channels are equal.

    Args:
        case: Its address.
        pixels: ``(C, y, x)`` as read.
    """
    coloured = len(case.images) == 1 and len(pixels) == len(COLOURS) and kind_of(case.images[0]) == "raster"
    return coloured and bool((pixels == pixels[:1]).all())


def read_values(case: Case) -> tuple[np.ndarray, Grid]:
    """The label of a case as its file stores it, cut to the case's region.

    Args:
        case: The address; it has a label.

    Returns:
        Raw label values ``(*S)`` as integers, and where they lie.

    Raises:
        DataError: The label is missing, damaged or no label.
    """
    if case.label is None:
        raise DataError("the case has no label", cure="add its mask", where=case.id)
    values, grid = _read_label(case, case.label)
    cut, grid = cut_region(values[None], grid, case.region, case.id)
    return cut[0], grid


def _read_label(case: Case, label: Path) -> tuple[np.ndarray, Grid]:
    """A label as stored; one that may leave out empty slices is laid on the grid of its image."""
    if kind_of(label) != DICOM or not case.images:
        return format_of(label).read_label(label)
    from unetkit.data.formats.dicom import DicomFormat

    image = format_of(case.images[0]).describe(case.images[0])
    return DicomFormat().read_label_on(label, image.shape, image.grid)


def read_label(case: Case, data: DataPlan) -> tuple[np.ndarray, np.ndarray | None, Grid]:
    """The label of a case as class ids.

    Args:
        case: The address; it has a label.
        data: Which raw value is which class, and which means "not labelled".

    Returns:
        Class ids ``(*S)`` (uint8, or uint16 for more than 256 classes), the known mask ``(*S)`` (False where
        not labelled, whose id is 0; None when all is known), and where they lie.

    Raises:
        DataError: The label is missing, damaged, or holds a value that is no class.
    """
    values, grid = read_values(case)
    ids, known = class_ids(values, data, where=case.label or case.id)
    return ids, known, grid


def class_ids(
    values: np.ndarray, data: DataPlan, *, where: Path | str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Raw label values as class ids, with the known mask.

    Args:
        values: ``(*S)`` integers as stored.
        data: Which raw value is which class.
        where: The file, for the error.

    Raises:
        DataError: A value is neither a class nor the ignore value.

    Example:
        >>> data = DataPlan(rank=2, channels=("image",), classes=("no", "yes"), label_values=(0, 255))
        >>> class_ids(np.array([[0, 255]]), data, where="a.png")[0].tolist()
        [[0, 1]]
    """
    kind = np.uint8 if len(data.classes) <= 256 else np.uint16
    if data.ignore_value is not None and not 0 <= data.ignore_value <= LARGEST:
        return _without(values, data, where=where)
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    table, ignored = dict(zip(data.label_values, range(len(data.classes)), strict=False)), data.ignore_value
    allowed = {*table, *(() if ignored is None else (ignored,))}
    if low < 0 or high > LARGEST:
        raise beyond(low if low < 0 else high, data, where)
    ids = np.zeros(high + 1, kind)
    state = np.zeros(high + 1, np.uint8)  # 0 no class, 1 class, 2 ignored
    for value in allowed:
        if 0 <= value <= high:
            ids[value], state[value] = table.get(value, 0), 2 if value == ignored else 1
    found = state[values]
    if not found.all():
        raise beyond(int(values[found == 0].flat[0]), data, where)
    known = found == 1
    return ids[values], None if bool(known.all()) else known


def _without(
    values: np.ndarray, data: DataPlan, *, where: Path | str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Class ids where "not labelled" is a value that no class can have, such as -1."""
    known = values != data.ignore_value
    rest = np.where(known, values, data.label_values[0])
    ids, _ = class_ids(rest, data.model_copy(update={"ignore_value": None}), where=where)
    return ids, None if bool(known.all()) else known


def beyond(value: int, data: DataPlan, where: Path | str) -> DataError:
    """The error for a label value that is no class."""
    listed = ", ".join(f"{v} {name}" for v, name in zip(data.label_values, data.classes, strict=False))
    return DataError(
        f"the label value {value} is beyond the {len(data.classes)} classes ({listed})",
        cure="correct the mask, or add the class",
        where=where,
    )


def refuse_other_grid(
    first: tuple[Path, tuple[int, ...], Grid], other: tuple[Path, tuple[int, ...], Grid]
) -> None:
    """Refuse a channel file that does not lie where the first one does.

    Args:
        first: The first channel's file, its ``*S`` and where it lies.
        other: The same of another channel.

    Raises:
        DataError: They differ; a file that states no spacing contradicts none.
    """
    (beside, shape, grid), (path, size, at) = first, other
    stated = grid.calibrated and at.calibrated
    if size != shape or (stated and not grid.matches(at)):
        raise DataError(
            f"the channels of one case must lie on one grid: {shape} at {grid.spacing_mm} mm "
            f"in {beside.name}, {size} at {at.spacing_mm} mm here",
            cure="resample the channels onto one grid",
            where=path,
        )


def refuse_other_image(data: DataPlan, shape: tuple[int, ...], where: str) -> None:
    """Refuse an image that a model was not made for.

    Args:
        data: Channels and axes of the model.
        shape: ``(C, *S)``.
        where: The file or the name, for the error.

    Raises:
        DataError: It does not have the model's channels or axes.
    """
    rank, names = data.rank, data.channels
    if len(shape) != rank + 1:
        raise DataError(
            f"expected an image with {rank} axes, got {len(shape) - 1} (shape {shape[1:]})",
            cure="give this model images of the kind it was trained on",
            where=where,
        )
    if shape[0] != len(names):
        cure = f"give these channels in this order; an array is shaped ({len(names)}, *S)"
        if rank == 2 and (len(names), shape[0]) in ((1, 3), (1, 4), (1, 2), (3, 4)):
            kind = "grey picture" if len(names) == 1 else "picture without alpha"
            cure = f"save it as a {kind}, as the pictures of the training were"
        raise DataError(
            f"expected {counted(len(names), 'channel')} ({', '.join(names)}), got {shape[0]}",
            cure=cure,
            where=where,
        )


def refuse_nan(pixels: np.ndarray, path: Path) -> None:
    """Refuse pixels that are no numbers, or that no float32 holds.

    Args:
        pixels: ``(C, *S)``.
        path: Their file.

    Raises:
        DataError: A value is not finite, or its size is beyond 3.4e38.
    """
    if pixels.dtype.kind != "f":
        return
    if not np.isfinite(pixels).all():
        count = int((~np.isfinite(pixels)).sum())
        raise DataError(
            f"NaN pixels: {count:,} of {pixels.size:,} values are not finite",
            cure="replace them (by the background value) where the file was made",
            where=path,
        )
    if pixels.itemsize <= np.dtype(np.float32).itemsize or not pixels.size:
        return
    largest = max(-float(pixels.min()), float(pixels.max()))
    if largest > _FLOAT32_MAX:
        raise DataError(
            f"a pixel of size {largest:.3g}: expected values up to {_FLOAT32_MAX:.2g}, as float32 holds",
            cure="replace such values where the file was made (they often stand for 'no data'), or scale all",
            where=path,
        )


def cut_region(pixels: np.ndarray, grid: Grid, region: Box | None, name: str) -> tuple[np.ndarray, Grid]:
    """A part of an image, and where it lies.

    Args:
        pixels: ``(C, *S)``.
        grid: Where they lie.
        region: Start and stop per axis; None for all of it.
        name: The case, for errors.

    Raises:
        DataError: The region does not lie in the image.
    """
    if region is None:
        return pixels, grid
    shape = pixels.shape[1:]
    if len(region) != len(shape) or any(
        not 0 <= low < high <= size for (low, high), size in zip(region, shape, strict=True)
    ):
        raise DataError(
            f"the region {region} does not lie in the shape {shape}", cure="correct it", where=name
        )
    moved = np.asarray(grid.origin_mm, dtype=np.float64)
    for (low, _), step, turn in zip(region, grid.spacing_mm, grid.direction, strict=True):
        moved = moved + low * step * np.asarray(turn)
    origin = tuple(float(v) for v in moved)
    return np.ascontiguousarray(cut(pixels, region)), replace(grid, origin_mm=origin, georeference=None)


def crop_alike(labels: np.ndarray, sample: Sample, *, noun: str, cure: str) -> np.ndarray:
    """What lies beside an image on its own grid, cropped as its prepared sample was.

    Args:
        labels: ``(*S)`` on the image's own grid.
        sample: The prepared image.
        noun: What they are, for the error.
        cure: What to do where they are another image's.

    Returns:
        A view; see ``resampled_alike`` for the rest of the way.

    Raises:
        DataError: The labels have another shape than the image.
    """
    assert sample.placement is not None
    if labels.shape != sample.placement.shape:
        raise DataError(
            f"the image has shape {sample.placement.shape}, {noun} {labels.shape}", cure=cure, where=sample.id
        )
    return cut(labels, sample.placement.crop)


def resampled_alike(ids: np.ndarray, shape: tuple[int, ...], preparation: PreparationPlan) -> np.ndarray:
    """Cropped class ids on the grid of a prepared sample: every label is resampled in this one way.

    Args:
        ids: ``(*S)`` unsigned.
        shape: Of the prepared sample.
        preparation: How it was prepared.

    Returns:
        ``(*shape)`` ids of the same type, an array of its own.

    Example:
        >>> resampled_alike(np.array([[0, 3]], np.uint8), (1, 4), PreparationPlan(normalization=())).tolist()
        [[0, 0, 3, 3]]
    """
    order, separate = preparation.order_label, preparation.separate_axis
    return resample_label(ids, shape, order=order, separate_axis=separate)


def raw_values(labels: np.ndarray, data: DataPlan) -> np.ndarray:
    """Class ids as the values that the data set's own masks use.

    Args:
        labels: Class ids ``(*S)``.
        data: The value of each class.

    Returns:
        ``(*S)`` in the smallest integer type that holds every class's value.

    Example:
        >>> data = DataPlan(rank=2, channels=("image",), classes=("background", "rim"), label_values=(0, 255))
        >>> raw_values(np.array([[0, 1]], np.uint8), data)
        array([[  0, 255]], dtype=uint8)
    """
    lowest, highest = min(data.label_values), max(data.label_values)
    kind = np.promote_types(np.min_scalar_type(lowest), np.min_scalar_type(highest))
    if tuple(data.label_values) == tuple(range(len(data.label_values))):  # the usual case needs no table
        return labels.astype(kind, copy=False)
    return np.array(data.label_values, dtype=kind)[labels]
