"""Tiles added up row by row: a row leaves as soon as no later tile can change it.

Memory is (classes × rows of one tile × the other axes), whatever the length of the first axis, and the sum is
the same, bit for bit, as one over the whole image: the same float32 terms in the same order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from unetkit.records.progress import Progress
from unetkit.spatial.tiles import Tiling

Rows = tuple[int, np.ndarray]
"""First row of a band, and its values ``(K, rows, *rest)`` float32."""

Box = tuple[slice, ...]

_KNOWN_ANSWERS = 4


def tile_logits(
    tiles: Iterable[np.ndarray], run: Callable[[np.ndarray], np.ndarray], *, batch_size: int
) -> Iterator[np.ndarray]:
    """The network's answer for each tile, in order.

    Args:
        tiles: Pixels ``(C, *P)`` float32; only tiles of equal size share a call.
        run: ``(B, C, *P)`` → ``(B, K, *P)`` float32.
        batch_size: Tiles per call of ``run``.

    Yields:
        ``(K, *P)`` float32.
    """
    waiting: list[np.ndarray] = []
    for tile in tiles:
        if waiting and waiting[0].shape != tile.shape:
            yield from run(_batch(waiting))
            waiting.clear()
        waiting.append(tile)
        if len(waiting) == batch_size:
            yield from run(_batch(waiting))
            waiting.clear()
    if waiting:
        yield from run(_batch(waiting))


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
        bits = batch.view(np.int32)
        first = bits[(slice(None), slice(None), *(slice(0, 1) for _ in batch.shape[2:]))]
        if len(batch) > 1 or not (bits == first).all():
            return run(batch)
        key = (batch.shape, first.tobytes())
        if key not in known:
            if len(known) == _KNOWN_ANSWERS:
                known.clear()
            known[key] = np.array(run(batch))  # a copy: what a runtime returns may be its own buffer
        return known[key]

    return ask


def watched(tiles: Iterable[np.ndarray], progress: Progress, *, pixels: float = 0) -> Iterator[np.ndarray]:
    """The same tiles; each that was used up is told.

    Args:
        tiles: In order.
        progress: Who watches; its current task counts tiles.
        pixels: Of the image, per tile, to be told per second; 0 for not.
    """
    start = time.monotonic()
    for count, tile in enumerate(tiles, start=1):
        yield tile
        if pixels:
            speed = count * pixels / 1e6 / max(time.monotonic() - start, 1e-9)
            progress.advance(1, speed=f"{speed:.3g} Mpixel/s")
        else:
            progress.advance(1)


def _batch(tiles: list[np.ndarray]) -> np.ndarray:
    return tiles[0][None] if len(tiles) == 1 else np.stack(tiles)


def finished_rows(tiling: Tiling, tiles: Iterable[np.ndarray]) -> Iterator[Rows]:
    """Weighted sums of tiles, as they become final, in bands along the first axis.

    Args:
        tiling: The tiles.
        tiles: ``(K, *P)`` float32 per tile, in the order of ``tiling.boxes``.

    Yields:
        Bands that follow one another without a gap; each is a view, valid until the next is asked for.

    Example:
        >>> tiling = Tiling.over((6,), (4,), 0.5)
        >>> bands = finished_rows(tiling, [np.ones((1, 4), np.float32)] * 2)
        >>> [(top, band.round(6).tolist()) for top, band in bands]
        [(0, [[1.0, 1.0]]), (2, [[1.0, 1.0, 1.0, 1.0]])]
    """
    if len(tiling.boxes) == 1:
        yield from ((0, whole) for whole in tiles)
        return
    rows, top = tiling.tile[0], 0
    sums = term = np.zeros(0, np.float32)
    for (box, weight), tile in zip(tiling.weighted_boxes(), tiles, strict=True):
        if not sums.size:
            sums = np.zeros((len(tile), rows, *tiling.shape[1:]), np.float32)
            term = np.empty(tile.shape, np.float32)
        done = box[0].start - top
        if done:
            yield top, sums[:, :done]
            sums[:, : rows - done] = sums[:, done:]
            sums[:, rows - done :] = 0
            top += done
        place = sums[(slice(None), slice(None), *box[1:])]
        place += np.multiply(tile, weight, out=term)
    yield top, sums


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
