"""Tiles that show the network all it can see: the answer for the image in one piece, in pieces."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from unetkit.errors import UsageError
from unetkit.inference.stream import Box, Rows, background

TOLERANCE = 2e-5
"""Largest change of a logit, as a share of the largest one, that counts as none: the noise of float32."""

LONGEST_PROBE = 4096
"""Pixels beyond which a network that still notices a cut is taken to see the whole image."""

_STRIDES = (1, 2, 4, 8, 16, 32, 64, 128)
_FIRST_PROBE = 256


@dataclass(frozen=True)
class Reach:
    """How far a network sees along one axis.

    Args:
        stride: A tile has to begin at a multiple of it.
        halo: Pixels around a tile's own that its answer depends on, a multiple of ``stride``.
    """

    stride: int
    halo: int


def probe(
    run: Callable[[np.ndarray], np.ndarray], *, channels: int, shape: Sequence[int]
) -> tuple[Reach, ...]:
    """Find out how far a network sees by cutting strips of noise and looking where its answer changes.

    Each axis by itself: a strip is long along one and narrow along the others. A quarter of it is cut off at
    one end, then at the other; what changes far from the cut has been seen from afar. The quarters differ in
    brightness, so that a network which normalises by the image's own statistics changes everywhere.

    Args:
        run: ``(1, C, *S)`` → ``(1, K, *S)`` for any size, mirrored passes included.
        channels: Of the image.
        shape: ``*S`` of the image; a strip's length is odd where the image's is.

    Raises:
        UsageError: The network sees the whole image (instance or group norm, global pooling or attention).

    Example:
        >>> def blurred(batch):
        ...     wide = np.pad(batch, ((0, 0), (0, 0), (2, 2)))
        ...     return wide[..., :-4] + wide[..., 2:-2] + wide[..., 4:]
        >>> probe(blurred, channels=1, shape=(1000,))
        (Reach(stride=1, halo=3),)
    """
    return tuple(_probe_axis(run, channels, tuple(shape), axis) for axis in range(len(shape)))


def halos(run: Callable[[np.ndarray], np.ndarray], *, channels: int, rank: int) -> tuple[int, ...] | None:
    """How far a network sees along each axis of an image without end, in pixels.

    Args:
        run: As in ``probe``.
        channels: Of the image.
        rank: Axes that the network sees.

    Returns:
        The ``Reach.halo`` of each axis; None where it sees the whole image.

    Example:
        >>> halos(lambda batch: batch, channels=1, rank=2)
        (1, 1)
    """
    try:
        return tuple(reach.halo for reach in probe(run, channels=channels, shape=(1 << 20,) * rank))
    except UsageError:
        return None


def _probe_axis(
    run: Callable[[np.ndarray], np.ndarray], channels: int, shape: tuple[int, ...], axis: int
) -> Reach:
    narrow = 64 if len(shape) < 3 else 16
    length = _FIRST_PROBE
    while True:
        long = length + shape[axis] % _STRIDES[-1]
        whole = shape[axis] <= long
        strip = tuple(min(n, narrow) if at != axis else min(n, long) for at, n in enumerate(shape))
        noise = np.random.default_rng(0).standard_normal((channels, *strip)).astype(np.float32) * 2
        found = _reach(run, np.moveaxis(noise, axis + 1, 1), axis) if strip[axis] >= 8 else None
        if found is not None:
            return found
        if whole:  # shorter than what the network sees: one piece along this axis
            return Reach(1, shape[axis])
        length *= 2
        if length > LONGEST_PROBE:
            raise UsageError(
                f"inference.mode is exact, but this network's answer still depends on pixels {length // 4:,} "
                "away: it normalises, pools or attends over the whole image",
                cure="set inference.mode to blend, or use a network with network.norm batch",
            )


def _reach(run: Callable[[np.ndarray], np.ndarray], strip: np.ndarray, axis: int) -> Reach | None:
    """What cutting a strip ``(C, length, *others)`` shows; None where a change does not fade within half."""
    length = strip.shape[1]
    quarter = length // 4
    strip = strip.copy()
    strip[:, :quarter] += 3
    strip[:, -quarter:] -= 3

    def ask(part: np.ndarray) -> np.ndarray:
        batch = np.ascontiguousarray(np.moveaxis(part, 1, axis + 1))[None]
        return np.moveaxis(np.array(run(batch)[0]), axis + 1, 1)

    full = ask(strip)
    limit = TOLERANCE * max(1.0, float(np.abs(full).max()))
    for stride in _STRIDES:
        if 2 * stride > quarter:
            return None
        cut = (quarter // stride | 1) * stride  # an odd multiple: a true stride of twice as much is noticed
        behind = ((length - quarter) // stride - 1 | 1) * stride
        left = _changed(full[:, cut:], ask(strip[:, cut:]), limit)
        right = _changed(full[:, :behind][:, ::-1], ask(strip[:, :behind])[:, ::-1], limit)
        halo = max(left, right)
        if 2 * halo <= length:
            return Reach(stride, -(-halo // stride) * stride + stride)
    return None


def _changed(one: np.ndarray, other: np.ndarray, limit: float) -> int:
    """Rows from the first on up to the last in which two answers differ."""
    apart = np.abs(one - other).max(axis=(0, *range(2, one.ndim)))
    rows = np.flatnonzero(apart > limit)
    return int(rows[-1]) + 1 if len(rows) else 0


@dataclass(frozen=True)
class Piece:
    """Part of an axis: what is kept of a tile, and what is shown to the network for it.

    Args:
        core: Kept pixels.
        shown: With the halo, as far as the image reaches.
    """

    core: slice
    shown: slice


def pieces(length: int, tile: int, reach: Reach) -> tuple[Piece, ...]:
    """Cut an axis into pieces whose shown parts are no longer than a tile.

    Args:
        length: Pixels of the axis.
        tile: Most pixels shown at once.
        reach: What the network sees.

    Raises:
        UsageError: Nothing is left of a tile between its halos.

    Example:
        >>> [(p.core.start, p.core.stop, p.shown.start, p.shown.stop) for p in pieces(10, 8, Reach(2, 2))]
        [(0, 4, 0, 6), (4, 8, 2, 10), (8, 10, 6, 10)]
    """
    if length <= tile:
        return (Piece(slice(0, length), slice(0, length)),)
    step = (tile - 2 * reach.halo) // reach.stride * reach.stride
    if step < 1:
        raise UsageError(
            f"inference.mode is exact and this network sees {reach.halo} pixels far: "
            f"nothing is left of a tile of {tile} pixels",
            cure=f"set inference.tile_size to {4 * reach.halo} or more "
            f"(at least {2 * reach.halo + reach.stride}), or inference.mode to blend",
        )
    return tuple(
        Piece(
            slice(start, min(start + step, length)),
            slice(max(0, start - reach.halo), min(start + step + reach.halo, length)),
        )
        for start in range(0, length, step)
    )


def shown_boxes(axes: Sequence[Sequence[Piece]]) -> Iterator[Box]:
    """What is shown to the network, tile by tile, the first axis slowest.

    Args:
        axes: The pieces of each axis.
    """
    return (tuple(piece.shown for piece in place) for place in itertools.product(*axes))


def exact_rows(
    axes: Sequence[Sequence[Piece]], tiles: Iterable[np.ndarray | None], *, classes: int = 0
) -> Iterator[Rows]:
    """The kept parts of tiles, put together to bands along the first axis.

    Args:
        axes: The pieces of each axis.
        tiles: ``(K, *shown)`` float32 per tile, in the order of ``shown_boxes``; None for one left out, whose
            kept part is background.
        classes: ``K`` where tiles may be left out, 0 where none is.

    Yields:
        Bands that follow one another without a gap.
    """
    rest = tuple(pieces[-1].core.stop for pieces in axes[1:])
    answers = iter(tiles)
    for row in axes[0]:
        band: np.ndarray | None = None
        for place in itertools.product((row,), *axes[1:]):
            tile = next(answers)
            if tile is None:
                tile = background(classes, tuple(p.shown.stop - p.shown.start for p in place))
            if band is None:
                band = np.empty((len(tile), row.core.stop - row.core.start, *rest), np.float32)
            inside = (slice(p.core.start - p.shown.start, p.core.stop - p.shown.start) for p in place)
            band[(slice(None), slice(None), *(p.core for p in place[1:]))] = tile[(slice(None), *inside)]
        assert band is not None  # an axis has a piece at least
        yield row.core.start, band
    next(answers, None)  # what watches the tiles hears that the last one was used up
