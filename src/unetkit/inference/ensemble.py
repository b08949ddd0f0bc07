"""Several networks, one answer: the mean of their probabilities on the image's own grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np

from unetkit.data.labels import read_pixels, refuse_other_image
from unetkit.data.windows import WindowedSample
from unetkit.errors import UsageError
from unetkit.inference.cleanup import cleaned
from unetkit.inference.large import counted_rows, mean_rows, share_rows
from unetkit.inference.objects import cleaned_rows
from unetkit.inference.pipeline import passed_on
from unetkit.inference.predict import Predictor
from unetkit.inference.stream import largest, watched
from unetkit.records.case import Case, Grid
from unetkit.records.plan import DataPlan, InferencePlan
from unetkit.records.prediction import Prediction
from unetkit.records.progress import Progress, Quiet

BYTES_PER_SHARE = 8
"""Bytes per class and pixel while members answer: the mean so far, and the answer that is added to it."""


class Ensemble:
    """Predictors whose probabilities are averaged; each one prepares the image in its own way.

    Members may differ in spacing, normalisation, tiles and network: they meet on the image's own grid. The
    mean is built in place, so that an image takes two sets of probabilities (8 bytes per class and pixel)
    beside a member's own work, however many members there are. A member is asked for when its turn comes and
    let go after it: whether one network is in memory at a time or all of them is its maker's choice.

    Args:
        members: What makes each predictor ready, in order.
        data: Channels and classes, the same for all.
        inference: Which objects of the averaged answer are believed; the rest of it is each member's own.

    Raises:
        UsageError: There is no member.

    Reference:
        Isensee et al., nnU-Net, Nature Methods 18 (2021): softmax averaged over configurations.

    Example:
        >>> from unetkit.records.plan import EXAMPLE, Plan
        >>> class Always:
        ...     notes = ()
        ...     def __init__(self, logit):
        ...         self.logit = logit
        ...     def run(self, batch):
        ...         return np.concatenate([0 * batch, 0 * batch + self.logit], axis=1)
        >>> plan = Plan.model_validate(EXAMPLE)
        >>> rest = plan.data, plan.preparation, plan.inference
        >>> one, two = (Predictor(Always(logit), *rest) for logit in (2.0, -1.0))
        >>> both = Ensemble((lambda: one, lambda: two), plan.data, plan.inference)
        >>> both.array(np.zeros((1, 1)), probabilities=True).probabilities.ravel().round(3)
        array([0.425, 0.575], dtype=float32)
    """

    def __init__(
        self, members: Sequence[Callable[[], Predictor]], data: DataPlan, inference: InferencePlan
    ) -> None:
        if not members:
            raise UsageError("an ensemble of no network answers nothing", cure="give it a member")
        self.members = tuple(members)
        self.data = data
        self.inference = inference

    def case(
        self,
        case: Case,
        *,
        mirror: bool = False,
        probabilities: bool = False,
        progress: Progress | None = None,
    ) -> Prediction:
        """Predict a case from its files, which are read once; see ``Predictor.case``.

        Args:
            case: The address; its label is not looked at.
            mirror: Every member averages over mirrored images as well.
            probabilities: Keep the averaged probabilities ``(K, *S)``.
            progress: Who watches; with several members they are counted.

        Raises:
            DataError: A file is missing or damaged, or does not have the members' channels or axes.
        """
        pixels, grid = read_pixels(case, self.data)
        self.check(pixels.shape, ", ".join(map(str, case.images)))
        return self.array(
            pixels, grid, id=case.id, mirror=mirror, probabilities=probabilities, progress=progress
        )

    def file(
        self,
        paths: tuple[Path, ...],
        id: str,
        *,
        mirror: bool = False,
        probabilities: bool = False,
        progress: Progress | None = None,
    ) -> Prediction:
        """Predict an image file; see ``Predictor.file``.

        Args:
            paths: One file, or one per channel.
            id: Name of the case.
            mirror: As in ``case``.
            probabilities: As in ``case``.
            progress: As in ``case``.

        Raises:
            DataError: A file is missing or damaged, or does not have the members' channels or axes.
        """
        case = Case.unlabelled(id, paths)
        return self.case(case, mirror=mirror, probabilities=probabilities, progress=progress)

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
        """Predict an array; see ``Predictor.array``.

        Args:
            pixels: ``(C, *S)``, or ``(*S)`` for one channel, in the values of the training files.
            grid: Where the pixels lie; spacing 1 when not stated.
            id: Name for errors and the result.
            mirror: As in ``case``.
            probabilities: As in ``case``.
            progress: As in ``case``.

        Raises:
            DataError: The array does not have the members' channels or axes, or an answer is not finite.
        """
        watch = progress if progress is not None and len(self.members) > 1 else Quiet()
        mean: np.ndarray | None = None
        place = grid or Grid.plain(self.data.rank)
        watch.begin(f"networks for {id}", len(self.members))
        try:
            for ready in self.members:
                # no name for the member: it may go before the next one comes
                found = ready().array(
                    pixels, grid, id=id, mirror=mirror, probabilities=True, progress=progress
                )
                assert found.probabilities is not None  # they were asked for
                if mean is None:
                    mean, place = found.probabilities, found.grid
                else:
                    mean += found.probabilities
                del found
                watch.advance(1)
        finally:
            watch.end()
        assert mean is not None  # there is a member
        mean /= len(self.members)
        labels = cleaned(largest(mean)[0], self.inference.minimum_pixels, self.inference.largest_only)
        return Prediction(id, labels, place, mean if probabilities else None)

    def stream(
        self,
        parts: Sequence[tuple[Predictor, WindowedSample]],
        write: Callable[[Iterator[np.ndarray]], None],
        *,
        folder: Path,
        mirror: bool = False,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Predict an image that stays in its file; see ``Predictor.stream``.

        The members go down the image side by side, and their mean leaves as soon as each has finished a row:
        memory is that of all networks and of a row of tiles of each.

        Args:
            parts: Every member, ready, and the image as it sees it, opened for it alone.
            write: As in ``Predictor.stream``.
            folder: As there.
            mirror: As in ``case``.
            progress: Who watches; the tiles of all members are counted.

        Returns:
            Pixels per class ``(K,)``.

        Raises:
            DataError: As ``Predictor.stream``.
            UsageError: A member is the second stage of a cascade.
        """
        watch, counts = progress or Quiet(), np.zeros(len(self.data.classes), np.int64)

        def written(means: Iterator[np.ndarray]) -> None:
            labels = (largest(mean)[0] for mean in means)
            least, sole = self.inference.minimum_pixels, self.inference.largest_only
            write(counted_rows(cleaned_rows(labels, least, folder, largest_only=sole), counts))

        asked = [member.answers(sample, mirror=mirror, progress=progress) for member, sample in parts]
        watch.begin(f"tiles of {parts[0][1].id}", sum(tiles for tiles, _, _ in asked))
        with ExitStack() as work:
            work.callback(watch.end)
            shares = []
            for (_, sample), (tiles, answers, finish) in zip(parts, asked, strict=True):
                work.enter_context(closing(answers))
                bands = finish(watched(answers, watch, pixels=math.prod(sample.shape) / tiles))
                shares.append(share_rows(bands, sample.placement, sample.id))
            passed_on(mean_rows(shares), written, depth=2)
        return counts

    def check(self, shape: tuple[int, ...], where: str) -> None:
        """Refuse an image that the members were not made for; see ``Predictor.check``.

        Args:
            shape: ``(C, *S)``.
            where: The file or the name, for the error.

        Raises:
            DataError: It does not have the members' channels or axes.
        """
        refuse_other_image(self.data, shape, where)
