"""The predictor: the same road for validation while training, for a file, and for an array."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from unetkit.data.labels import read_pixels
from unetkit.data.prepare import prepare, prepare_pixels
from unetkit.data.windows import WindowedSample
from unetkit.errors import DataError, UsageError
from unetkit.inference.cleanup import cleaned
from unetkit.inference.crf import refined_rows
from unetkit.inference.exact import Reach, exact_rows, pieces, probe, shown_boxes
from unetkit.inference.large import RollingRows, label_rows
from unetkit.inference.objects import cleaned_rows
from unetkit.inference.pipeline import ahead
from unetkit.inference.restore import to_original
from unetkit.inference.stream import Box, Rows, asked_once, finished_rows, tile_logits, watched
from unetkit.records.case import Case, Grid, Sample
from unetkit.records.plan import DataPlan, InferencePlan, PreparationPlan
from unetkit.records.prediction import Prediction
from unetkit.records.progress import Progress, Quiet
from unetkit.runtimes import Runtime
from unetkit.spatial.intensity import apply_intensity
from unetkit.spatial.tiles import Tiling

_BANDS_AHEAD = 2

Finish = Callable[[Iterable[np.ndarray]], Iterator[Rows]]
"""Answers for tiles, in order → finished rows."""


class Predictor:
    """Samples, files and arrays to labels on their original grid.

    Args:
        runtime: What turns tiles into logits.
        data: Channels and classes.
        preparation: How pixels become network inputs.
        inference: Tiles, batches, mirrors.

    Raises:
        UsageError: The tile size or a mirror axis does not fit the number of axes.

    Example:
        >>> from unetkit.records.plan import EXAMPLE, Plan
        >>> class Bright:
        ...     notes = ()
        ...     def run(self, batch):
        ...         return np.concatenate([0 * batch, batch], axis=1)
        >>> plan = Plan.model_validate(EXAMPLE)
        >>> predictor = Predictor(Bright(), plan.data, plan.preparation, plan.inference)
        >>> predictor.array(np.array([[0, 9], [9, 0]], np.uint8)).labels.tolist()
        [[0, 1], [1, 0]]
    """

    def __init__(
        self, runtime: Runtime, data: DataPlan, preparation: PreparationPlan, inference: InferencePlan
    ) -> None:
        axes = range(data.rank)
        if len(inference.tile_size) != data.rank or any(size < 1 for size in inference.tile_size):
            raise UsageError(
                f"inference.tile_size is {list(inference.tile_size)}, the images have {data.rank} axes",
                cure=f"set inference.tile_size to {data.rank} numbers of pixels",
            )
        if any(axis not in axes for axis in inference.mirror_axes):
            raise UsageError(
                f"inference.mirror_axes is {list(inference.mirror_axes)}, the images have {data.rank} axes",
                cure=f"use some of {list(axes)}",
            )
        self.runtime = runtime
        self.data = data
        self.preparation = preparation
        self.inference = inference
        self._told = 0
        self._reaches: dict[tuple[tuple[int, ...], bool], tuple[Reach, ...]] = {}

    def sample(
        self,
        prepared: Sample,
        *,
        mirror: bool = False,
        probabilities: bool = False,
        progress: Progress | None = None,
    ) -> Prediction:
        """Predict a prepared sample.

        Overlapping tiles and mirrored passes are averaged as logits (as nnU-Net does), before the argmax.

        Args:
            prepared: Pixels ``(C, *S)``, normalised or with the normalisation still to be applied.
            mirror: Average over all mirrorings of ``inference.mirror_axes``; n axes cost 2ⁿ passes.
            probabilities: Keep the softmax ``(K, *S)`` as well.
            progress: Who watches; the tiles of an image that takes more than one are counted.

        Returns:
            Labels on the original grid, background outside the crop, without objects below
            ``inference.minimum_pixels`` and beside the one that ``inference.largest_only`` leaves.

        Raises:
            DataError: Channels or axes are not the model's, or the network's answer is not finite.
            ResourceError: The image is too large for the random field that the plan asks for.
        """
        self.check(prepared.pixels.shape, prepared.id)
        run = self._asker(mirror)
        boxes, finish = self._layout(prepared.pixels.shape[1:], run, mirror=mirror)
        watch = progress if progress is not None and len(boxes) > 1 else Quiet()
        tiles = (apply_intensity(prepared.pixels[(slice(None), *box)], prepared.intensity) for box in boxes)
        watch.begin(f"tiles of {prepared.id}", len(boxes))
        try:
            bands = finish(watched(tile_logits(tiles, run, batch_size=self.inference.batch_size), watch))
            found = to_original(
                refined_rows(bands, prepared, self.inference) if self.inference.crf_steps else bands,
                prepared,
                order=self.preparation.order_label,
                separate_axis=self.preparation.separate_axis,
                probabilities=probabilities,
            )
        finally:
            watch.end()
            self._tell(progress)
        kept = cleaned(found.labels, self.inference.minimum_pixels, self.inference.largest_only)
        return replace(found, labels=kept)

    def stream(
        self,
        sample: WindowedSample,
        write: Callable[[Iterator[np.ndarray]], None],
        *,
        folder: Path,
        mirror: bool = False,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Predict an image that stays in its file: rows are read, predicted and written while others wait.

        The labels are those of ``sample`` for the same image in memory, bit for bit. One thread reads, one
        computes, and the caller's writes. Memory is (width of the image × rows of a tile), and with
        ``inference.minimum_pixels`` a few numbers per object.

        Args:
            sample: The image.
            write: Takes the bands of class ids ``(rows, *rest)``, from top to bottom, on the original grid.
            folder: Where labels may lie until the size of every object is known.
            mirror: As in ``sample``.
            progress: As in ``sample``; it is told the speed as well.

        Returns:
            Pixels per class ``(K,)``.

        Raises:
            DataError: As ``sample``, or the file is damaged at some row.
        """
        self.check((sample.source.channels, *sample.shape), sample.id)
        run, size = self._asker(mirror), self.inference.batch_size
        boxes, finish = self._layout(sample.shape, run, mirror=mirror)
        watch = progress if progress is not None else Quiet()
        band = RollingRows(sample.rows)
        tiles = ahead((apply_intensity(band(box), sample.intensity) for box in boxes), depth=2 * size)
        share = math.prod(sample.shape) / len(boxes)
        answers = watched(tile_logits(tiles, run, batch_size=size), watch, pixels=share)
        counts = np.zeros(len(self.data.classes), np.int64)
        watch.begin(f"tiles of {sample.id}", len(boxes))
        try:
            labels = label_rows(finish(answers), sample.placement, sample.id)
            with closing(tiles), closing(ahead(labels, depth=_BANDS_AHEAD)) as rows:
                clean = cleaned_rows(
                    rows,
                    self.inference.minimum_pixels,
                    folder,
                    largest_only=self.inference.largest_only,
                )
                write(_counted(clean, counts))
        finally:
            watch.end()
            self._tell(progress)
        return counts

    def file(
        self,
        paths: tuple[Path, ...],
        id: str,
        *,
        mirror: bool = False,
        probabilities: bool = False,
        progress: Progress | None = None,
    ) -> Prediction:
        """Predict an image file.

        Args:
            paths: One file, or one per channel.
            id: Name of the case.
            mirror: As in ``sample``.
            probabilities: As in ``sample``.
            progress: As in ``sample``.

        Raises:
            DataError: A file is missing or damaged, or does not have the model's channels or axes.
        """
        pixels, grid = read_pixels(Case(id=id, images=paths, label=None, group=id), self.data)
        self.check(pixels.shape, ", ".join(map(str, paths)))
        sample = prepare_pixels(pixels, grid, self.preparation, id=id)
        return self.sample(sample, mirror=mirror, probabilities=probabilities, progress=progress)

    def case(
        self,
        case: Case,
        *,
        mirror: bool = False,
        probabilities: bool = False,
        progress: Progress | None = None,
    ) -> Prediction:
        """Predict a case of a data set from its files.

        Args:
            case: The address.
            mirror: As in ``sample``.
            probabilities: As in ``sample``.
            progress: As in ``sample``.

        Raises:
            DataError: A file is missing or damaged, or does not have the model's channels or axes.
        """
        prepared = prepare(case, self.data, self.preparation)
        return self.sample(prepared, mirror=mirror, probabilities=probabilities, progress=progress)

    def array(
        self,
        pixels: np.ndarray,
        grid: Grid | None = None,
        *,
        id: str = "array",
        mirror: bool = False,
        probabilities: bool = False,
        progress: Progress | None = None,
    ) -> Prediction:
        """Predict an array.

        Args:
            pixels: ``(C, *S)``, or ``(*S)`` for one channel, in the values of the training files.
            grid: Where the pixels lie; spacing 1 when not stated.
            id: Name for errors and the result.
            mirror: As in ``sample``.
            probabilities: As in ``sample``.
            progress: As in ``sample``.

        Raises:
            DataError: The array does not have the model's channels or axes.
        """
        pixels = np.asarray(pixels)
        if pixels.ndim == self.data.rank:
            pixels = pixels[None]
        self.check(pixels.shape, id)
        sample = prepare_pixels(pixels, grid or Grid.plain(self.data.rank), self.preparation, id=id)
        return self.sample(sample, mirror=mirror, probabilities=probabilities, progress=progress)

    def check(self, shape: tuple[int, ...], where: str) -> None:
        """Refuse an image that the model was not made for.

        Args:
            shape: ``(C, *S)``.
            where: The file or the name, for the error.

        Raises:
            DataError: It does not have the model's channels or axes.
        """
        rank, names = self.data.rank, self.data.channels
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
                f"expected {len(names)} channel(s) ({', '.join(names)}), got {shape[0]}",
                cure=cure,
                where=where,
            )

    def _tell(self, progress: Progress | None) -> None:
        """Say once what the runtime did differently from what was asked."""
        if progress is not None:
            for text in self.runtime.notes[self._told :]:
                progress.say(text)
            self._told = len(self.runtime.notes)

    def _asker(self, mirror: bool) -> Callable[[np.ndarray], np.ndarray]:
        """What answers a batch of tiles."""
        axes = tuple(axis + 2 for axis in self.inference.mirror_axes) if mirror else ()
        return asked_once(lambda batch: _mirrored(self.runtime, batch, axes))

    def _layout(
        self, shape: tuple[int, ...], run: Callable[[np.ndarray], np.ndarray], *, mirror: bool
    ) -> tuple[Sequence[Box], Finish]:
        """The tiles of a prepared image ``*S``, and what makes finished rows of the answers."""
        tile = tuple(min(pair) for pair in zip(self.inference.tile_size, shape, strict=True))
        if math.prod(shape) <= self.inference.whole_image_pixels:
            tile = shape
        if self.inference.mode == "blend" or tile == shape:
            tiling = Tiling.over(shape, tile, self.inference.overlap_fraction)
            return tiling.boxes, partial(finished_rows, tiling)
        key = (shape, mirror)
        if key not in self._reaches:
            self._reaches[key] = probe(run, channels=len(self.data.channels), shape=shape)
        axes = [pieces(*each) for each in zip(shape, tile, self._reaches[key], strict=True)]
        return tuple(shown_boxes(axes)), partial(exact_rows, axes)


def _counted(bands: Iterable[np.ndarray], counts: np.ndarray) -> Iterator[np.ndarray]:
    """The same bands; the pixels of each class are added up in ``counts``."""
    for band in bands:
        counts += np.bincount(band.ravel(), minlength=len(counts))
        yield band


def _mirrored(runtime: Runtime, batch: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Mean logits over all mirrorings of some axes of ``(B, C, *P)``."""
    total = runtime.run(batch)
    if not axes:
        return total
    total = np.array(total)  # a copy: what a runtime returns may be its own buffer
    for count in range(1, len(axes) + 1):
        for flipped in itertools.combinations(axes, count):
            # a copy, not ascontiguousarray: that keeps the negative stride of an axis of one pixel
            total += np.flip(runtime.run(np.flip(batch, flipped).copy()), flipped)
    total /= 2 ** len(axes)
    return total


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
    return np.array(data.label_values, dtype=kind)[labels]
