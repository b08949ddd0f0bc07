"""A first look at low resolution: tiles in which the network rules every class out are not computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from unetkit.errors import UsageError
from unetkit.inference.ends import tile_input
from unetkit.inference.large import RollingRows
from unetkit.inference.stream import Box, Rows, finished_rows, softmax, tile_logits, watched
from unetkit.records.case import Intensity
from unetkit.records.plan import InferencePlan
from unetkit.records.progress import Progress
from unetkit.spatial.tiles import Tiling


def blank(pixels: np.ndarray, rule: str) -> bool:
    """Whether a tile counts as background by its pixels alone.

    Args:
        pixels: ``(C, *P)``, not normalised.
        rule: ``inference.skip_tiles``: ``none``, ``empty`` or ``constant``.

    Example:
        >>> five = np.full((1, 2), 5)
        >>> [blank(five, rule) for rule in ("none", "empty", "constant")], blank(0 * five, "empty")
        ([False, False, True], True)
    """
    if rule == "empty":
        return not pixels.any()
    if rule == "constant":
        first = pixels[(slice(None), *(slice(0, 1) for _ in pixels.shape[1:]))]
        return bool((pixels == first).all())
    return False


def shrunk(pixels: np.ndarray, factor: int) -> np.ndarray:
    """The mean of blocks of ``factor`` pixels per axis; those at the far edges may be smaller.

    Args:
        pixels: ``(C, *S)``.
        factor: Pixels that become one.

    Returns:
        ``(C, *ceil(S / factor))`` float32.

    Example:
        >>> shrunk(np.array([[1, 3, 8]]), 2).tolist()
        [[2.0, 8.0]]
    """
    result = pixels.astype(np.float32)
    for axis in range(1, result.ndim):
        starts = np.arange(0, result.shape[axis], factor)
        counts = np.diff([*starts, result.shape[axis]]).astype(np.float32)
        shape = [len(starts) if other == axis else 1 for other in range(result.ndim)]
        result = np.add.reduceat(result, starts, axis=axis) / counts.reshape(shape)
    return result


def tile_scores(
    rows: Callable[[int, int], np.ndarray],
    boxes: Sequence[Box],
    run: Callable[[np.ndarray], np.ndarray],
    *,
    shape: tuple[int, ...],
    intensity: tuple[Intensity, ...],
    plan: InferencePlan,
    progress: Progress,
) -> np.ndarray:
    """How probable each class is, in the small image, where it is most probable in a tile.

    Every row is read once, and memory is that of a row of tiles of the small image.

    Args:
        rows: First row and row behind the last → pixels ``(C, rows, *rest)``, not normalised.
        boxes: The tiles of the image.
        run: ``(B, C, *P)`` → ``(B, K, *P)``.
        shape: ``*S`` of the image.
        intensity: How it is normalised.
        plan: Tile, overlap, batch and ``screen_factor``; means are rounded for a network that takes
            the pixels of the files.
        progress: Who watches.

    Returns:
        ``(tiles, K - 1)`` float32.
    """
    factor = plan.screen_factor
    small = tuple(-(-length // factor) for length in shape)
    tiling = Tiling.over(small, plan.tile_size, plan.overlap_fraction)

    def shrunk_rows(start: int, stop: int) -> np.ndarray:
        part = rows(factor * start, min(factor * stop, shape[0]))
        means = shrunk(part, factor)
        return means if plan.network_input == "float32" else np.rint(means).astype(part.dtype)

    band = RollingRows(shrunk_rows)
    tiles = (tile_input(band(box), intensity, plan) for box in tiling.boxes)
    progress.begin("first look", len(tiling.boxes))
    try:
        answers = watched(tile_logits(tiles, run, batch_size=plan.batch_size), progress)
        return box_maxima(finished_rows(tiling, answers), boxes, factor)
    finally:
        progress.end()


def box_maxima(bands: Iterable[Rows], boxes: Sequence[Box], factor: int) -> np.ndarray:
    """The highest probability of each foreground class that a box of the image has in the small one.

    Args:
        bands: Finished rows of logits of the small image.
        boxes: Of the image.
        factor: Pixels per axis that became one.

    Returns:
        ``(boxes, K - 1)`` float32.

    Example:
        >>> logits = np.log(np.array([[0.9, 0.2], [0.1, 0.8]], np.float32))
        >>> box_maxima([(0, logits)], [(slice(0, 2),), (slice(1, 4),)], 2).round(3).tolist()
        [[0.10000000149011612], [0.800000011920929]]
    """
    places = [tuple((axis.start // factor, -(-axis.stop // factor)) for axis in box) for box in boxes]
    found = np.zeros((len(boxes), 0), np.float32)
    for top, logits in bands:
        if not found.size:
            found = np.zeros((len(boxes), len(logits) - 1), np.float32)
        shares, bottom = softmax(logits)[1:], top + logits.shape[1]
        for number, ((start, stop), *rest) in enumerate(places):
            if start >= bottom or stop <= top:
                continue
            inside = (slice(max(start, top) - top, min(stop, bottom) - top), *(slice(*span) for span in rest))
            part = shares[(slice(None), *inside)]
            np.maximum(found[number], part.reshape(len(part), -1).max(axis=1), out=found[number])
    return found


def worth_computing(scores: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """Which tiles may hold a class.

    Args:
        scores: ``(tiles, K - 1)``.
        thresholds: One per foreground class; a tile that reaches one is computed.

    Raises:
        UsageError: There are no thresholds.

    Example:
        >>> worth_computing(np.array([[0.1, 0.0], [0.5, 0.0], [0.1, 0.3]]), (0.4, 0.3)).tolist()
        [False, True, True]
    """
    if not thresholds:
        raise UsageError(
            "inference.screen_factor is set and inference.screen_thresholds is not",
            cure="run 'unet screen MODEL DATA' on cases the model was not trained on; it says both",
        )
    return np.asarray((scores >= np.asarray(thresholds, scores.dtype)).any(axis=1))
