"""Images that stay in their files: read a band at a time, prepared as ``prepare`` prepares a whole one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unetkit.data.formats import Box, WindowedFormat, Windows, format_of
from unetkit.data.intensities import measured_intensities, slab_rows
from unetkit.data.labels import COLOURS, refuse_nan, refuse_other_grid
from unetkit.data.prepare import plain_type, target_grid
from unetkit.errors import DataError
from unetkit.records.case import Intensity, Placement
from unetkit.records.plan import DataPlan, PreparationPlan


class Source:
    """The pixels of one image, of one file or of one per channel, read a part at a time.

    Args:
        paths: The files.
        parts: The same, open.
        data: Channels of the model; a grey picture among colour ones gets three equal channels.
    """

    def __init__(self, paths: Sequence[Path], parts: Sequence[Windows], data: DataPlan) -> None:
        self._paths, self._parts = tuple(paths), tuple(parts)
        self._colours = data.channels == COLOURS
        places = [(path, p.header.shape, p.header.grid) for path, p in zip(paths, parts, strict=True)]
        _, self.shape, self.grid = places[0]
        for place in places:
            refuse_other_grid(places[0], place)

    @property
    def claimed_bytes(self) -> int:
        """Bytes of the decoded pixels, as the headers state them."""
        headers = [part.header for part in self._parts]
        return sum(math.prod(h.shape) * h.channels * np.dtype(h.dtype).itemsize for h in headers)

    @property
    def channels(self) -> int:
        """Channels that ``read`` gives."""
        count = sum(part.channels for part in self._parts)
        return len(COLOURS) if self._colours and count == 1 else count

    def read(self, region: Box) -> np.ndarray:
        """Pixels ``(C, *region)`` in the files' type.

        Args:
            region: Start and stop per axis.

        Raises:
            DataError: A file is damaged there, or holds NaN.
        """
        parts: list[np.ndarray] = []
        for path, part in zip(self._paths, self._parts, strict=True):
            parts.append(part.read(region))
            refuse_nan(parts[-1], path)
        pixels = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return np.repeat(pixels, len(COLOURS), axis=0) if len(pixels) < self.channels else pixels


@contextmanager
def open_source(paths: Sequence[Path], data: DataPlan) -> Iterator[Source | None]:
    """Open an image for reading parts of it.

    Args:
        paths: One file, or one per channel.
        data: Channels of the model.

    Yields:
        The image; None where a file's pixels come only all at once.

    Raises:
        DataError: A file is missing or damaged, or the channel files do not lie on one grid.
    """
    with ExitStack() as files:
        parts: list[Windows] = []
        for path in paths:
            kind = format_of(path)
            part = files.enter_context(kind.windows(path)) if isinstance(kind, WindowedFormat) else None
            if part is None:
                break
            parts.append(part)
        yield Source(paths, parts, data) if len(parts) == len(paths) else None


@dataclass(frozen=True)
class WindowedSample:
    """An image that stays in its files, and what has to be done to a part of it.

    Args:
        id: The image's name.
        source: Its pixels.
        placement: Which box of it is predicted.
        intensity: How each channel is normalised.
    """

    id: str
    source: Source
    placement: Placement
    intensity: tuple[Intensity, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """``*S`` of the box that is predicted."""
        return tuple(stop - start for start, stop in self.placement.crop)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Pixels ``(C, stop - start, *rest)`` of the box, not normalised yet.

        Args:
            start: First row of the box.
            stop: The row behind the last.
        """
        return _rows(self.source, self.placement.crop, start, stop, self.id)


def prepare_source(source: Source, preparation: PreparationPlan, *, id: str) -> WindowedSample | None:
    """Find out how an image is cropped and normalised, in passes over its file.

    Cropping to what is not zero takes one pass, a mean and a standard deviation take two.

    Args:
        source: The image.
        preparation: What to do.
        id: Name, for errors and results.

    Returns:
        What ``prepare`` would give, but still in its file; None where it has to be resampled, which needs
        it in memory as a whole.

    Raises:
        DataError: The channels are not as many as planned, or a file is damaged.
    """
    if target_grid(source.grid, _whole(source.shape), preparation)[1] != source.shape:
        return None
    if len(preparation.normalization) != source.channels:
        raise DataError(
            f"expected {len(preparation.normalization)} channels, got {source.channels}",
            cure="give the channels the model was planned for",
            where=id,
        )
    box = _nonzero_box(source) if preparation.crop_to_nonzero else _whole(source.shape)
    shape = tuple(stop - start for start, stop in box)
    if target_grid(source.grid, box, preparation)[1] != shape:
        return None
    intensity = measured_intensities(
        lambda start, stop: _rows(source, box, start, stop, id), shape, preparation.normalization
    )
    return WindowedSample(id, source, Placement(source.shape, source.grid, box), intensity)


def _rows(source: Source, box: Box, start: int, stop: int, id: str) -> np.ndarray:
    first = box[0][0]
    return plain_type(source.read(((first + start, first + stop), *box[1:])), id)


def _whole(shape: tuple[int, ...]) -> Box:
    return tuple((0, length) for length in shape)


def _nonzero_box(source: Source) -> Box:
    """As ``spatial.grid.nonzero_box``, a slab at a time."""
    shape, rows = source.shape, slab_rows(source.shape)
    lines = [np.zeros(length, bool) for length in shape]
    for start in range(0, shape[0], rows):
        stop = min(start + rows, shape[0])
        some = np.any(source.read(((start, stop), *_whole(shape)[1:])), axis=0)
        for axis, line in enumerate(lines):
            place = slice(start, stop) if axis == 0 else slice(None)
            line[place] |= some.any(axis=tuple(other for other in range(some.ndim) if other != axis))
    hits = [np.flatnonzero(line) for line in lines]
    if not all(len(hit) for hit in hits):
        return _whole(shape)
    return tuple((int(hit[0]), int(hit[-1]) + 1) for hit in hits)
