"""Images larger than memory: when ``predict`` leaves one in its file, and how its labels reach theirs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from unetkit.data.formats import WindowedFormat, format_of
from unetkit.data.formats.checks import LIMIT_BYTES, smallest_unsigned
from unetkit.data.labels import raw_values
from unetkit.data.windows import Source, open_source, prepare_source
from unetkit.inference.ensemble import Ensemble
from unetkit.inference.predict import Predictor
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
        predictors = _networks(model)
        if (why := _needs_all(predictors)) is not None:
            progress.say(f"{id} {why}: it is predicted in memory as a whole")
            return None
        model.predictor.check((source.channels, *source.shape), ", ".join(map(str, paths)))
        dtype = smallest_unsigned(np.array(data.label_values), target).dtype

        def write(bands: Iterator[np.ndarray]) -> None:
            values = (raw_values(band, data).astype(dtype, copy=False) for band in bands)
            levels = model.plan.inference.pyramid_levels
            kind.write_rows(target, values, shape=source.shape, dtype=dtype, grid=source.grid, levels=levels)

        with ExitStack() as files:
            parts = []
            for predictor in predictors:  # each reads for itself: a file has one reader at a time
                own = source if len(predictors) == 1 else files.enter_context(open_source(paths, data))
                assert own is not None  # it has been opened before
                sample = prepare_source(own, predictor.preparation, id=id)
                if sample is None:
                    progress.say(f"{id} has to be resampled: it is predicted in memory as a whole")
                    return None
                parts.append((predictor, sample))
            how: dict[str, Any] = {"folder": target.parent, "mirror": mirror, "progress": progress}
            if isinstance(model.predictor, Ensemble):
                return model.predictor.stream(parts, write, **how)
            return model.predictor.stream(parts[0][1], write, **how)


def _networks(model: Model) -> list[Predictor]:
    """The predictors of a model, all of them ready at once."""
    if isinstance(model.predictor, Ensemble):
        return [ready() for ready in model.predictor.members]
    return [model.predictor]


def _needs_all(predictors: Sequence[Predictor]) -> str | None:
    """Why an image must be in memory, in words; None where it need not."""
    if any(one.data.cascade == "full" for one in predictors):
        return "is answered by a cascade"
    if any(one.inference.crf_steps or one.inference.guided_radius for one in predictors):
        return "is refined"
    return None


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
