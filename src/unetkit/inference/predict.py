"""The predictor: the same road for validation while training, for a file, and for an array."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from unetkit.data.cascade import with_previous
from unetkit.data.labels import refuse_other_image
from unetkit.data.windows import WindowedSample
from unetkit.errors import UsageError
from unetkit.inference.cleanup import cleaned
from unetkit.inference.crf import refined_rows
from unetkit.inference.ends import refuse_probabilities, refuse_without_logits, votes
from unetkit.inference.exact import Reach, probe
from unetkit.inference.guided import guided_rows
from unetkit.inference.inputs import Inputs, refuse_without_previous
from unetkit.inference.large import RollingRows, counted_rows, label_rows
from unetkit.inference.layout import Finish, layout, refuse_unfit, tile_inputs
from unetkit.inference.objects import cleaned_rows
from unetkit.inference.pipeline import ahead, passed_on
from unetkit.inference.restore import to_original
from unetkit.inference.screen import tile_scores
from unetkit.inference.stream import Box, Rows, asked_once, mirrored, tile_logits, watched
from unetkit.records.case import Case, Grid, Sample
from unetkit.records.plan import DataPlan, InferencePlan, PreparationPlan
from unetkit.records.prediction import Prediction
from unetkit.records.progress import Progress, Quiet
from unetkit.runtimes import Runtime
from unetkit.spatial.intensity import stored_pixels
from unetkit.spatial.slices import Slices


class Predictor:
    """Samples, files and arrays to labels on their original grid.

    Args:
        runtime: What turns tiles into logits.
        data: Channels and classes.
        preparation: How pixels become network inputs.
        inference: Tiles, batches, mirrors.
        previous: The first stage of a cascade; without it a sample must bring that stage's answer.

    Raises:
        UsageError: The tile size or a mirror axis does not fit the number of axes the network sees, slices
            are asked for where there are none, or something needs more than what the network answers.

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
        self,
        runtime: Runtime,
        data: DataPlan,
        preparation: PreparationPlan,
        inference: InferencePlan,
        *,
        previous: Predictor | None = None,
    ) -> None:
        self._slices = Slices.of(data)
        refuse_unfit(data, inference)
        refuse_without_logits(inference)
        self.runtime = runtime
        self.data = data
        self.preparation = preparation
        self.inference = inference
        self.previous = previous
        self._told = 0
        self._reaches: dict[tuple[tuple[int, ...], bool], tuple[Reach, ...]] = {}

    def with_inference(self, inference: InferencePlan) -> Predictor:
        """The same network, after the same first stage, with other values of the inference."""
        return Predictor(self.runtime, self.data, self.preparation, inference, previous=self.previous)

    @property
    def inputs(self) -> Inputs:
        """What makes images ready for the network."""
        return Inputs(self.data, self.preparation, self.previous)

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
            ResourceError: The image is too large for the refinement that the plan asks for.
            UsageError: Probabilities are wanted of classes, or a cascade's first answer is missing.
        """
        if probabilities:
            refuse_probabilities(self.inference)
        self.check(prepared.pixels.shape, prepared.id)
        refuse_without_previous(self.data, prepared)
        pixels, run = prepared.pixels, self._asker(mirror)
        boxes, finish = self._layout(pixels.shape[1:], run, mirror=mirror)
        watch = progress if progress is not None and len(boxes) > 1 else Quiet()
        scores, how = self._scores(prepared, boxes, run, watch), self.inference

        def read(box: Box) -> np.ndarray:
            return pixels[(slice(None), *box)]

        tiles = tile_inputs(read, boxes, prepared.intensity, how, slices=self._slices, scores=scores)
        if prepared.previous is not None and self.data.cascade == "full":
            tiles = with_previous(tiles, boxes, prepared.previous, self.data.previous_channels)
        watch.begin(f"tiles of {prepared.id}", len(boxes))
        answers = tile_logits(tiles, run, batch_size=self.inference.batch_size)

        def added_up(answers: Iterable[np.ndarray | None]) -> Prediction:
            return to_original(
                self._refined(finish(watched(answers, watch)), prepared),
                prepared,
                order=self.preparation.order_label,
                separate_axis=self.preparation.separate_axis,
                probabilities=probabilities,
            )

        try:  # one tile has nothing to wait for
            found = passed_on(answers, added_up, depth=1) if len(boxes) > 1 else added_up(answers)
        finally:
            watch.end()
            self._tell(progress)
        kept = cleaned(found.labels, self.inference.minimum_pixels, self.inference.largest_only)
        return replace(found, labels=kept)

    def _refined(self, bands: Iterable[Rows], prepared: Sample) -> Iterable[Rows]:
        """Bands of logits after the refinements that the plan asks for."""
        if self.inference.crf_steps:
            bands = refined_rows(bands, prepared, self.inference)
        return guided_rows(bands, prepared, self.inference) if self.inference.guided_radius else bands

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

        The labels are those of ``sample`` for the same image in memory, bit for bit. One thread reads, the
        caller's computes, one adds up and writes. Memory is (width of the image × rows of a tile), and with
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
            UsageError: It is the second stage of a cascade, whose first stage sees the image as a whole.
        """
        watch = progress if progress is not None else Quiet()
        total, answers, finish = self.answers(sample, mirror=mirror, progress=watch)
        counts = np.zeros(len(self.data.classes), np.int64)

        def written(answers: Iterable[np.ndarray | None]) -> None:
            bands = finish(watched(answers, watch, pixels=math.prod(sample.shape) / total))
            clean = cleaned_rows(
                label_rows(bands, sample.placement, sample.id),
                self.inference.minimum_pixels,
                folder,
                largest_only=self.inference.largest_only,
            )
            write(counted_rows(clean, counts))

        watch.begin(f"tiles of {sample.id}", total)
        try:
            with closing(answers):
                passed_on(answers, written, depth=2)
        finally:
            watch.end()
        return counts

    def answers(
        self, sample: WindowedSample, *, mirror: bool = False, progress: Progress | None = None
    ) -> tuple[int, Generator[np.ndarray | None, None, None], Finish]:
        """What ``stream`` adds up: the number of tiles, their logits (a thread reads ahead), what joins them.

        Args:
            sample: The image.
            mirror: As in ``sample``.
            progress: Who watches a first look.
        """
        refuse_without_previous(self.data)
        self.check((sample.source.channels, *sample.shape), sample.id)
        run, size = self._asker(mirror), self.inference.batch_size
        boxes, finish = self._layout(sample.shape, run, mirror=mirror)
        scores = self._scores(sample, boxes, run, progress or Quiet())
        read, how = RollingRows(sample.rows), self.inference
        shown = tile_inputs(read, boxes, sample.intensity, how, slices=self._slices, scores=scores)
        tiles = ahead(shown, depth=2 * size)

        def computed() -> Generator[np.ndarray | None, None, None]:
            with ExitStack() as last:
                last.callback(self._tell, progress)
                last.enter_context(closing(tiles))
                yield from tile_logits(tiles, run, batch_size=size)

        return len(boxes), computed(), finish

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
        case = Case.unlabelled(id, paths)
        return self.case(case, mirror=mirror, probabilities=probabilities, progress=progress)

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
            case: The address; its label is not looked at.
            mirror: As in ``sample``.
            probabilities: As in ``sample``.
            progress: As in ``sample``.

        Raises:
            DataError: A file is missing or damaged, or does not have the model's channels or axes.
        """
        sample = self.inputs.case(case, mirror=mirror, progress=progress)
        return self.sample(sample, mirror=mirror, probabilities=probabilities, progress=progress)

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
        sample = self.inputs.array(pixels, grid, id=id, mirror=mirror, progress=progress)
        return self.sample(sample, mirror=mirror, probabilities=probabilities, progress=progress)

    def check(self, shape: tuple[int, ...], where: str) -> None:
        """Refuse an image that the model was not made for, see ``refuse_other_image``.

        Args:
            shape: ``(C, *S)``.
            where: The file or the name, for the error.

        Raises:
            DataError: It does not have the model's channels or axes.
        """
        refuse_other_image(self.data, shape, where)

    def boxes(self, shape: tuple[int, ...]) -> Sequence[Box]:
        """The tiles in which a prepared image is predicted.

        Args:
            shape: ``*S`` of the prepared image.
        """
        return self._layout(shape, self._asker(mirror=False), mirror=False)[0]

    def screen(self, prepared: Sample) -> tuple[Sequence[Box], np.ndarray]:
        """What the first look at low resolution makes of a prepared sample.

        Args:
            prepared: Pixels ``(C, *S)``, normalised or with the normalisation still to be applied.

        Returns:
            The tiles, and how probable each foreground class is in each ``(tiles, K - 1)``.

        Raises:
            UsageError: ``inference.screen_factor`` is 0.
            DataError: Channels or axes are not the model's.
        """
        self.check(prepared.pixels.shape, prepared.id)
        run = self._asker(mirror=False)
        boxes, _ = self._layout(prepared.pixels.shape[1:], run, mirror=False)
        scores = self._scores(prepared, boxes, run, Quiet())
        if scores is None:
            raise UsageError("inference.screen_factor is 0", cure="set it to 2 or more, such as 4")
        return boxes, scores

    def _scores(
        self,
        sample: Sample | WindowedSample,
        boxes: Sequence[Box],
        run: Callable[[np.ndarray], np.ndarray],
        watch: Progress,
    ) -> np.ndarray | None:
        """The scores of tiles at low resolution; None where the plan asks for none."""
        if not self.inference.screen_factor:
            return None
        if isinstance(sample, WindowedSample):
            rows, shape = sample.rows, sample.shape
        else:
            pixels = sample.pixels
            rows, shape = (lambda start, stop: pixels[:, start:stop]), pixels.shape[1:]
        intensity, plan = sample.intensity, self.inference
        return tile_scores(rows, boxes, run, shape=shape, intensity=intensity, plan=plan, progress=watch)

    def _tell(self, progress: Progress | None) -> None:
        """Say once what the runtime did differently from what was asked."""
        if progress is not None:
            for text in self.runtime.notes[self._told :]:
                progress.say(text)
            self._told = len(self.runtime.notes)

    def _asker(self, mirror: bool) -> Callable[[np.ndarray], np.ndarray]:
        """What answers a batch of tiles."""
        axes = tuple(axis + 2 for axis in self.inference.mirror_axes) if mirror else ()
        classes = len(self.data.classes) if self.inference.network_output == "classes" else 0
        ask = (lambda batch: votes(self.runtime.run(batch), classes)) if classes else self.runtime.run
        return asked_once(lambda batch: mirrored(ask, batch, axes))

    def _layout(
        self, shape: tuple[int, ...], run: Callable[[np.ndarray], np.ndarray], *, mirror: bool
    ) -> tuple[Sequence[Box], Finish]:
        """The tiles of a prepared image ``*S``, and what makes finished rows of the answers."""
        ask = (lambda strip: run(stored_pixels(strip))) if self.inference.network_input == "uint8" else run

        def reach(whole: tuple[int, ...]) -> tuple[Reach, ...]:
            if (whole, mirror) not in self._reaches:
                self._reaches[whole, mirror] = probe(ask, channels=self.data.input_channels, shape=whole)
            return self._reaches[whole, mirror]

        return layout(shape, self.data, self.inference, reach=reach)
