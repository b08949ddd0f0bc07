"""Images larger than memory: when ``predict`` leaves one in its file, and how its labels reach theirs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from unetkit.data.formats import WindowedFormat, format_of
from unetkit.data.formats.checks import LIMIT_BYTES, smallest_unsigned
from unetkit.data.labels import raw_values
from unetkit.data.windows import Source, open_source, prepare_source
from unetkit.inference.ensemble import Ensemble
from unetkit.planning.capacity import free_memory
from unetkit.records.progress import Progress
from unetkit.workflows.model import Model

WHOLE_SHARE = 0.25
"""Share of the free memory that an image in memory and its labels may take."""


def predict_rows(
    model: Model,
    paths: Sequence[Path],
    *,
    id: str,
    target: Path,
    mirror: bool,
    progress: Progress,
) -> np.ndarray | None:
    """Predict an image row by row where it is too large for memory, straight into its label file.

    The file appears under its name when the last row is in it: whatever stops the work leaves none.

    Args:
        model: What predicts.
        paths: One file, or one per channel.
        id: The image's name.
        target: The label file.
        mirror: Average over mirrored images.
        progress: Who watches.

    Returns:
        Pixels per class; None where the image is small enough for memory or can only be read as a whole.

    Raises:
        DataError: The image is refused.
        ResourceError: The label file cannot be written.
    """
    data, kind = model.plan.data, format_of(target)
    if not isinstance(kind, WindowedFormat):
        return None
    with open_source(paths, data) as source:
        if source is None or not too_large(source, model.plan.inference.stream_above_pixels):
            return None
        if isinstance(model.predictor, Ensemble):
            progress.say(f"{id} is answered by several networks: it is predicted in memory as a whole")
            return None
        if data.cascade == "full":
            progress.say(f"{id} is answered by a cascade: it is predicted in memory as a whole")
            return None
        if model.plan.inference.crf_steps or model.plan.inference.guided_radius:
            progress.say(f"{id} is refined: it is predicted in memory as a whole")
            return None
        model.predictor.check((source.channels, *source.shape), ", ".join(map(str, paths)))
        sample = prepare_source(source, model.plan.preparation, id=id)
        if sample is None:
            progress.say(f"{id} has to be resampled: it is predicted in memory as a whole")
            return None
        dtype = smallest_unsigned(np.array(data.label_values), target).dtype

        def write(bands: Iterator[np.ndarray]) -> None:
            values = (raw_values(band, data).astype(dtype, copy=False) for band in bands)
            levels = model.plan.inference.pyramid_levels
            kind.write_rows(target, values, shape=source.shape, dtype=dtype, grid=source.grid, levels=levels)

        return model.predictor.stream(sample, write, folder=target.parent, mirror=mirror, progress=progress)


def too_large(source: Source, above_pixels: int) -> bool:
    """Whether an image should stay in its file.

    Args:
        source: The image.
        above_pixels: The plan's ``inference.stream_above_pixels``.
    """
    pixels = math.prod(source.shape)
    if above_pixels:
        return pixels > above_pixels
    # the file's pixels and a copy of them; labels, their values in the data set's numbers, and the file
    wanted = 2 * source.claimed_bytes + 4 * pixels
    free = free_memory()
    return source.claimed_bytes > LIMIT_BYTES or (free is not None and wanted > WHOLE_SHARE * free)
