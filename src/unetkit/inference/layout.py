"""Which tiles an image is cut into, and what puts their answers together; slice by slice where asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np

from unetkit.errors import UsageError
from unetkit.inference.ends import tile_input
from unetkit.inference.exact import Reach, exact_rows, pieces, shown_boxes
from unetkit.inference.screen import blank, worth_computing
from unetkit.inference.stream import Box, Rows, finished_rows
from unetkit.records.case import Intensity
from unetkit.records.plan import DataPlan, InferencePlan
from unetkit.spatial.slices import Slices
from unetkit.spatial.tiles import Tiling

Finish = Callable[[Iterable[np.ndarray | None]], Iterator[Rows]]
"""Answers for tiles, in order, None for one left out → finished rows."""


def layout(
    shape: tuple[int, ...],
    data: DataPlan,
    inference: InferencePlan,
    *,
    reach: Callable[[tuple[int, ...]], Sequence[Reach]],
) -> tuple[Sequence[Box], Finish]:
    """The tiles of a prepared image, and what makes finished rows of the answers.

    A network over the plane gets tiles of one slice, and answers without the slice axis.

    Args:
        shape: ``*S`` of the image.
        data: Classes, and whether the network sees slices.
        inference: Tiles, overlap and mode.
        reach: How far the network sees in an image, or a slice, of this shape; asked in the mode ``exact``.

    Example:
        >>> from unetkit.records.plan import EXAMPLE, Plan
        >>> plan = Plan.model_validate(EXAMPLE)
        >>> data = plan.data.model_copy(update={"rank": 3, "slice_axis": 0})
        >>> boxes, _ = layout((2, 32, 32), data, plan.inference, reach=lambda whole: ())
        >>> [(box[0].start, box[0].stop) for box in boxes]
        [(0, 1), (1, 2)]
    """
    slices = Slices.of(data)
    sparse = inference.skip_tiles != "none" or inference.screen_factor > 0
    classes = len(data.classes) if sparse else 0
    whole = shape if slices is None else slices.in_plane(shape)
    tile = tuple(min(pair) for pair in zip(inference.tile_size, whole, strict=True))
    if math.prod(whole) <= inference.whole_image_pixels:
        tile = whole
    size = tile if slices is None else slices.in_volume(tile)
    if inference.mode == "blend" or tile == whole:
        tiling = Tiling.over(shape, size, inference.overlap_fraction)
        return tiling.boxes, _of_slices(partial(finished_rows, tiling, classes=classes), slices)
    reaches = list(reach(whole))
    if slices is not None:
        reaches.insert(slices.axis, Reach(stride=1, halo=0))  # the answer for a slice is its own
    axes = [pieces(*each) for each in zip(shape, size, reaches, strict=True)]
    return tuple(shown_boxes(axes)), _of_slices(partial(exact_rows, axes, classes=classes), slices)


def _of_slices(finish: Finish, slices: Slices | None) -> Finish:
    """The same for answers on the plane, each of which is one slice of the volume."""
    if slices is None:
        return finish
    axis = 1 + slices.axis

    def thick(answers: Iterable[np.ndarray | None]) -> Iterator[Rows]:
        return finish(None if each is None else np.expand_dims(each, axis) for each in answers)

    return thick


def tile_inputs(
    read: Callable[[Box], np.ndarray],
    boxes: Sequence[Box],
    intensity: tuple[Intensity, ...],
    inference: InferencePlan,
    *,
    slices: Slices | None = None,
    scores: np.ndarray | None = None,
) -> Iterator[np.ndarray | None]:
    """Network inputs tile by tile; None for those that the plan leaves out.

    Args:
        read: Box → pixels ``(C, *box)``, not normalised.
        boxes: The tiles, in order.
        intensity: How pixels are normalised.
        inference: Which tiles are left out, and what the network takes.
        slices: How a network over the plane sees volumes.
        scores: Of the first look ``(tiles, K - 1)``; None where there is none.

    Example:
        >>> plan = InferencePlan(tile_size=(2,), skip_tiles="empty")
        >>> row, boxes = np.array([[0, 0, 0, 7]]), ((slice(0, 2),), (slice(2, 4),))
        >>> list(tile_inputs(lambda box: row[:, box[0]], boxes, (), plan))
        [None, array([[0., 7.]], dtype=float32)]
    """
    wanted = np.ones(len(boxes), bool)
    if scores is not None:
        wanted = worth_computing(scores, inference.screen_thresholds)

    def shown(box: Box) -> np.ndarray | None:
        seen = box if slices is None else slices.seen(box, boxes[-1][slices.axis].stop)
        part = read(seen)
        if blank(part, inference.skip_tiles):
            return None
        part = tile_input(part, intensity, inference)
        if slices is None:
            return part
        return slices.stack(part, box[slices.axis].start - seen[slices.axis].start)

    return (shown(box) if compute else None for box, compute in zip(boxes, wanted, strict=True))


def refuse_unfit(data: DataPlan, inference: InferencePlan) -> None:
    """Refuse tiles, mirrors and a first look that do not fit what the network sees.

    Args:
        data: Axes, slices and classes.
        inference: Tiles, mirrors and first look.

    Raises:
        UsageError: One does not fit.
    """
    rank = data.input_rank
    sight = f"the images have {rank} axes" if data.slice_axis is None else f"a slice has {rank} axes"
    if len(inference.tile_size) != rank or any(size < 1 for size in inference.tile_size):
        raise UsageError(
            f"inference.tile_size is {list(inference.tile_size)}, {sight}",
            cure=f"set inference.tile_size to {rank} numbers of pixels",
        )
    if any(axis not in range(rank) for axis in inference.mirror_axes):
        raise UsageError(
            f"inference.mirror_axes is {list(inference.mirror_axes)}, {sight}",
            cure=f"use some of {list(range(rank))}",
        )
    if inference.screen_thresholds and len(inference.screen_thresholds) != len(data.classes) - 1:
        raise UsageError(
            f"inference.screen_thresholds has {len(inference.screen_thresholds)} numbers, "
            f"the model has {len(data.classes) - 1} foreground classes",
            cure="give one per class, as 'unet screen' finds them",
        )
    if inference.screen_factor and data.cascade == "full":
        raise UsageError(
            f"inference.screen_factor is {inference.screen_factor}, but this network is the second stage of "
            "a cascade, whose first stage is a first look already",
            cure="set inference.screen_factor to 0",
        )
    if inference.screen_factor and data.slice_axis is not None:
        raise UsageError(
            f"inference.screen_factor is {inference.screen_factor}, but this network sees slice by slice, "
            "and a first look sees an image made smaller along every axis",
            cure="set inference.screen_factor to 0; inference.skip_tiles leaves out empty slices",
        )
