"""Tiles added up row by row: a row leaves as soon as no later tile can change it.

Memory is (classes × rows of one tile × the other axes), whatever the length of the first axis, and the sum is
the same, bit for bit, as one over the whole image: the same float32 terms in the same order.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Iterable, Iterator

import numpy as np

from unetkit.records.progress import Progress
from unetkit.spatial.tiles import Tiling, frame

Rows = tuple[int, np.ndarray]
"""First row of a band, and its values ``(K, rows, *rest)`` float32."""

Box = tuple[slice, ...]

BACKGROUND_LOGIT = 20.0
"""What a pixel that no tile was computed for answers for the background; the other classes answer 0."""

_KNOWN_ANSWERS = 4


def tile_logits(
    tiles: Iterable[np.ndarray | None], run: Callable[[np.ndarray], np.ndarray], *, batch_size: int
) -> Generator[np.ndarray | None, None, None]:
    """The network's answer for each tile, in order.

    Args:
        tiles: Pixels ``(C, *P)`` float32, None for a tile that is not to be computed; only tiles of equal
            size share a call.
        run: ``(B, C, *P)`` → ``(B, K, *P)`` float32.
        batch_size: Tiles per call of ``run``.

    Yields:
        ``(K, *P)`` float32, None for a tile that was not computed.
    """
    waiting: list[np.ndarray] = []
    left_out: list[
        int
    ] = []  # before which of the waiting ones tiles were left out, so that batches stay full
    for tile in tiles:
        if tile is None:
            if not waiting:
                yield None
            else:
                left_out.append(len(waiting))
            continue
        if waiting and waiting[0].shape != tile.shape:
            yield from _answers(run, waiting, left_out)
        waiting.append(tile)
        if len(waiting) == batch_size:
            yield from _answers(run, waiting, left_out)
    if waiting:
        yield from _answers(run, waiting, left_out)


def _answers(
    run: Callable[[np.ndarray], np.ndarray], waiting: list[np.ndarray], left_out: list[int]
) -> Iterator[np.ndarray | None]:
    """The answers for the tiles that wait, with None in between; both lists are empty afterwards."""
    for number, answer in enumerate(run(_batch(waiting)), start=1):
        yield answer
        yield from (None for place in left_out if place == number)
    waiting.clear()
    left_out.clear()


def asked_once(run: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Ask the network only once about tiles that hold one value per channel, and the same values.

    The answer is that of the network itself for a batch with the same bits, so nothing can change. A
    constant tile that shares its batch with others is computed: arithmetic may differ between batch sizes.

    Args:
        run: ``(B, C, *P)`` → ``(B, K, *P)``.

    Example:
        >>> asked = []
        >>> ask = asked_once(lambda batch: asked.append(1) or batch)
        >>> for value in (3, 3, 5, 3):
        ...     answer = ask(np.full((1, 1, 4), value, np.float32))
        >>> len(asked)
        2
    """
    known: dict[tuple[tuple[int, ...], bytes], np.ndarray] = {}

    def ask(batch: np.ndarray) -> np.ndarray:
        bits = batch.view(f"u{batch.itemsize}")
        first = bits[(slice(None), slice(None), *(slice(0, 1) for _ in batch.shape[2:]))]
        # most tiles are told apart by their first row
        if len(batch) > 1 or not (bits[:, :, :1] == first).all() or not (bits == first).all():
            return run(batch)
        key = (batch.shape, first.tobytes())
        if key not in known:
            if len(known) == _KNOWN_ANSWERS:
                known.clear()
            known[key] = np.array(run(batch))  # a copy: what a runtime returns may be its own buffer
        return known[key]

    return ask


def mirrored(run: Callable[[np.ndarray], np.ndarray], batch: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Mean logits over all mirrorings of some axes.

    Args:
        run: ``(B, C, *P)`` → ``(B, K, *P)``.
        batch: ``(B, C, *P)``.
        axes: Of the batch; none: it is asked once.

    Example:
        >>> mirrored(lambda batch: batch * np.arange(3), np.ones((1, 1, 3)), (2,)).tolist()
        [[[1.0, 1.0, 1.0]]]
    """
    total = run(batch)
    if not axes:
        return total
    total = np.array(total)  # a copy: what a runtime returns may be its own buffer
    for count in range(1, len(axes) + 1):
        for flipped in itertools.combinations(axes, count):
            # a copy, not ascontiguousarray: that keeps the negative stride of an axis of one pixel
            total += np.flip(run(np.flip(batch, flipped).copy()), flipped)
    total /= 2 ** len(axes)
    return total


def watched(
    tiles: Iterable[np.ndarray | None], progress: Progress, *, pixels: float = 0
) -> Iterator[np.ndarray | None]:
    """The same tiles; each that was used up is told, and how many were not computed.

    Args:
        tiles: In order; None for one that was not computed.
        progress: Who watches; its current task counts tiles.
        pixels: Of the image, per tile, to be told per second; 0 for not.
    """
    start = time.monotonic()
    skipped = 0
    shown: dict[str, str] = {}
    for count, tile in enumerate(tiles, start=1):
        yield tile
        if tile is None:
            skipped += 1
            shown["skipped"] = f"{skipped}"
        if pixels:
            speed = count * pixels / 1e6 / max(time.monotonic() - start, 1e-9)
            shown["speed"] = f"{speed:.3g} Mpixel/s"
        progress.advance(1, **shown)


def _batch(tiles: list[np.ndarray]) -> np.ndarray:
    return tiles[0][None] if len(tiles) == 1 else np.stack(tiles)


def finished_rows(tiling: Tiling, tiles: Iterable[np.ndarray | None], *, classes: int = 0) -> Iterator[Rows]:
    """Weighted sums of tiles, as they become final, in bands along the first axis.

    Where a tile was not computed, the others that lie over a pixel share its weight; where none was, the
    pixel is background. Pixels of which every tile was computed are the same with and without the others.

    Args:
        tiling: The tiles.
        tiles: ``(K, *P)`` float32 per tile, in the order of ``tiling.boxes``; None for one left out.
        classes: ``K`` where tiles may be left out, 0 where none is.

    Yields:
        Bands that follow one another without a gap; each is a view, valid until the next is asked for.

    Example:
        >>> tiling = Tiling.over((6,), (4,), 0.5)
        >>> bands = finished_rows(tiling, [np.ones((1, 4), np.float32)] * 2)
        >>> [(top, band.round(6).tolist()) for top, band in bands]
        [(0, [[1.0, 1.0]]), (2, [[1.0, 1.0, 1.0, 1.0]])]
    """
    if len(tiling.boxes) == 1:
        yield from ((0, background(classes, tiling.shape) if whole is None else whole) for whole in tiles)
        return
    rows, top = tiling.tile[0], 0
    space = (rows, *tiling.shape[1:])
    sums = np.zeros((classes, *space) if classes else 0, np.float32)
    term = np.empty((classes, *tiling.tile) if classes else 0, np.float32)
    shares = _Shares(space) if classes else None
    places = zip(tiling.weighted_boxes(), tiling.lone_boxes(), tiles, strict=True)
    for (box, weight), lone, tile in places:
        if not sums.size and tile is not None:
            sums = np.zeros((len(tile), *space), np.float32)
            term = np.empty(tile.shape, np.float32)
        done = box[0].start - top
        if done:
            if shares is not None:
                shares.spread(sums, done)
            yield top, sums[:, :done]
            sums[:, : rows - done] = sums[:, done:]
            sums[:, rows - done :] = 0
            top += done
        place = (slice(None), *box[1:])
        if tile is not None:
            _add(sums[(slice(None), *place)], tile, weight, lone, term)
        if shares is not None:
            shares.add(place, weight, computed=tile is not None)
    if shares is not None:
        shares.spread(sums, rows)
    yield top, sums


def _add(sums: np.ndarray, tile: np.ndarray, weight: np.ndarray, lone: Box, term: np.ndarray) -> None:
    """Add a weighted tile; where no other one lies, nothing has been added before and it weighs 1."""
    for box in frame(weight.shape, lone):
        part = (slice(None), *box)
        sums[part] += np.multiply(tile[part], weight[box], out=term[part])
    inside = (slice(None), *lone)
    sums[inside] = tile[inside]


class _Shares:
    """How much of each pixel's weight was computed, for the rows that are being added up."""

    def __init__(self, space: tuple[int, ...]) -> None:
        self._weight = np.zeros(space, np.float32)
        self._lost = np.zeros(space, bool)

    def add(self, place: Box, weight: np.ndarray, *, computed: bool) -> None:
        """A tile over the rows."""
        if computed:
            self._weight[place] += weight
        else:
            self._lost[place] = True

    def spread(self, sums: np.ndarray, done: int) -> None:
        """Share out what the lost tiles would have weighed in the first rows, which leave."""
        lost, weight, band = self._lost[:done], self._weight[:done], sums[:, :done]
        if lost.any():
            some, none = lost & (weight > 0), lost & (weight == 0)
            band[:, some] /= weight[some]
            band[0, none] = BACKGROUND_LOGIT  # the others are still 0
        rows = len(self._lost)
        for each in (self._lost, self._weight):
            each[: rows - done] = each[done:]
            each[rows - done :] = 0


def background(classes: int, shape: tuple[int, ...]) -> np.ndarray:
    """Logits ``(K, *S)`` that say background, as sure as float32 can tell.

    Example:
        >>> background(3, (1,))[:, 0].tolist()
        [20.0, 0.0, 0.0]
    """
    logits = np.zeros((classes, *shape), np.float32)
    logits[0] = BACKGROUND_LOGIT
    return logits


def largest(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The class with the largest logit, as ``argmax`` over the first axis but one plain pass per class.

    Args:
        logits: ``(K, *S)`` float32.

    Returns:
        Class ids ``(*S)``, the first of equals, in the smallest unsigned type; and their logits ``(*S)``.

    Example:
        >>> largest(np.array([[0.0, 3.0], [1.0, 3.0]], np.float32))[0].tolist()
        [1, 0]
    """
    kind = np.min_scalar_type(len(logits) - 1)
    best = logits[0].copy()
    if len(logits) == 2:
        return (logits[1] > logits[0]).astype(kind), np.maximum(best, logits[1], out=best)
    ids = np.zeros(best.shape, kind)
    for index, other in enumerate(logits[1:], start=1):
        np.putmask(ids, other > best, kind.type(index))
        np.maximum(best, other, out=best)
    return ids, best


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities ``(K, *S)`` float32 of logits ``(K, *S)``.

    Example:
        >>> softmax(np.zeros((2, 1), np.float32)).tolist()
        [[0.5], [0.5]]
    """
    powers = np.exp(logits - logits.max(axis=0))
    powers /= powers.sum(axis=0)
    return powers
