"""A generated image for ``bench``: seeded noise in a model's pixel type, in a format such images come in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from unetkit.data.formats import format_of
from unetkit.data.formats.nifti import NiftiFormat
from unetkit.data.formats.tiff import TiffFormat
from unetkit.data.labels import COLOURS
from unetkit.records.case import Grid
from unetkit.records.files import write_bytes
from unetkit.records.plan import Axes, Normalization, Plan
from unetkit.workflows.pictures import png

PNG_PIXELS = 2**26
"""Larger grey pictures become tiled TIFF: nobody keeps them as one stream."""

_STEM = "image"
_BAND = 256
_LEVEL, _SPREAD = 128.0, 12.0


def write_image(folder: Path, plan: Plan, shape: Axes) -> Path:
    """Write an image that a model can predict.

    Noise, the same every time: PNG for pictures of bytes, tiled TIFF for larger ones and other types, gzipped
    NIfTI for volumes, in the spacing that the plan resamples to. Channels that are no colours come as a file
    each.

    Args:
        folder: An empty folder.
        plan: Channels, pixel type, normalisation and spacing.
        shape: Pixels per axis.

    Returns:
        What to give to ``predict``: the file, or the folder where there are several.

    Raises:
        ResourceError: The disk is full.
    """
    data, suffix = plan.data, suffix_for(plan, shape)
    grid = _grid(plan)
    if data.rank > 2:
        NiftiFormat().write_image(folder / f"{_STEM}{suffix}", _whole(plan, shape), grid)
    elif data.channels == COLOURS and suffix == ".png":
        write_bytes(folder / f"{_STEM}{suffix}", png(np.moveaxis(_whole(plan, shape), 0, -1)))
    else:
        for channel, stem in enumerate(_stems(data.channels)):
            path, bands = folder / f"{stem}{suffix}", _bands(plan, shape, channel)
            if suffix == ".png":
                format_of(path).write(path, np.concatenate(list(bands)), grid)
            else:
                TiffFormat().write_rows(path, bands, shape=shape, dtype=np.dtype(data.pixels), grid=grid)
    files = sorted(folder.iterdir())
    return files[0] if len(files) == 1 else folder


def suffix_for(plan: Plan, shape: Axes) -> str:
    """The suffix of the file that ``write_image`` writes.

    Args:
        plan: Channels and pixel type.
        shape: Pixels per axis.

    Example:
        >>> from unetkit.records.plan import EXAMPLE
        >>> plan = Plan.model_validate(EXAMPLE)
        >>> suffix_for(plan, (64, 64)), suffix_for(plan, (16384, 16384))
        ('.png', '.tif')
    """
    data = plan.data
    if data.rank > 2:
        return ".nii.gz"
    small = math.prod(shape) <= PNG_PIXELS or data.channels == COLOURS
    return ".png" if small and data.pixels == "uint8" else ".tif"


def _stems(channels: tuple[str, ...]) -> list[str]:
    """Names of the files by which ``predict`` knows that they are one image."""
    if len(channels) == 1:
        return [_STEM]
    return list(channels) if channels == COLOURS else [f"{_STEM}_{at:04d}" for at in range(len(channels))]


def _grid(plan: Plan) -> Grid:
    """Where the image lies: in the plan's spacing, so that nothing is resampled."""
    plain = Grid.plain(plan.data.rank)
    spacing = tuple(step or 1.0 for step in plan.preparation.spacing_mm)
    return Grid(spacing, plain.origin_mm, plain.direction) if spacing else plain


def _whole(plan: Plan, shape: Axes) -> np.ndarray:
    """Pixels ``(C, *S)``."""
    channels = range(len(plan.data.channels))
    return np.stack([np.concatenate(list(_bands(plan, shape, channel))) for channel in channels])


def _bands(plan: Plan, shape: Axes, channel: int) -> Iterator[np.ndarray]:
    """One channel ``(rows, *rest)`` from top to bottom, never more of it at once."""
    dtype = np.dtype(plan.data.pixels)
    level, spread = _level(plan.preparation.normalization[channel])
    for first in range(0, shape[0], _BAND):
        draw = np.random.default_rng((channel, first))
        noise = draw.standard_normal((min(_BAND, shape[0] - first), *shape[1:]), dtype=np.float32)
        values = level + spread * noise
        if dtype.kind in "iu":
            bounds = np.iinfo(dtype)
            values = np.clip(np.rint(values), bounds.min, bounds.max)
        yield values.astype(dtype)


def _level(rule: Normalization) -> tuple[float, float]:
    """Mean and spread of the values that a normalisation was made for."""
    if rule.scheme == "ct":
        return rule.mean, rule.std
    if rule.scheme == "zero_one":
        return (rule.low + rule.high) / 2, (rule.high - rule.low) / 10
    return _LEVEL, _SPREAD
