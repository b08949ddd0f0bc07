"""Pixels and labels as pictures to look at: grey levels, colours, outlines, PNG, previews of one plane."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy import ndimage

from unetkit.workflows.page import PALETTE

LARGEST_EDGE = 512
SHOWN_PERCENTILES = (0.5, 99.5)
"""What is black and what is white where nothing better is known: a few outliers must not darken the rest."""
_SAMPLED = 1_000_000


def percentiles(values: np.ndarray, shares: Sequence[float]) -> tuple[float, ...]:
    """Percentiles of pixels, of about a million of them where there are more.

    Args:
        values: ``(*S)``.
        shares: Percentiles, 0 to 100.
    """
    step = max(1, values.size // _SAMPLED)
    step += step % 2 == 0  # an even step would meet the same columns of most pictures again and again
    return tuple(float(value) for value in np.percentile(values.ravel()[::step], shares))


def grey(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values as bytes: ``low`` and below is black, ``high`` and above white.

    Args:
        values: ``(*S)``.
        low: Lower end of the window.
        high: Upper end.

    Example:
        >>> grey(np.array([-5, 0, 5, 10, 50]), 0, 10).tolist()
        [0, 0, 127, 255, 255]
    """
    scaled = (np.asarray(values, np.float32) - low) / max(float(high - low), 1e-6)
    return (np.clip(scaled, 0, 1) * 255).astype(np.uint8)


def is_colour(pixels: np.ndarray) -> bool:
    """Whether pixels ``(C, *S)`` are a picture of three channels of bytes, shown in colour."""
    return pixels.shape[0] == 3 and pixels.dtype == np.uint8 and pixels.ndim == 3


def to_picture(pixels: np.ndarray) -> np.ndarray:
    """Any pixels as bytes to look at: ``(C, *S)`` → ``(*S, 1 or 3)`` uint8, percentiles 0.5 to 99.5.

    Three channels of bytes are shown as colour; otherwise the first channel as grey.
    """
    if is_colour(pixels):
        return np.moveaxis(pixels, 0, -1)
    return grey(pixels[0], *percentiles(pixels[0], SHOWN_PERCENTILES))[..., None]


def png(array: np.ndarray) -> bytes:
    """Bytes ``(y, x)``, ``(y, x, 1)``, RGB, RGBA or 16-bit grey ``(y, x)`` as a PNG file."""
    buffer = io.BytesIO()
    flat = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
    Image.fromarray(np.ascontiguousarray(flat)).save(buffer, format="PNG")
    return buffer.getvalue()


def data_uri(picture: bytes) -> str:
    """A PNG inside a page."""
    return "data:image/png;base64," + base64.b64encode(picture).decode("ascii")


def fill_layer(labels: np.ndarray) -> np.ndarray:
    """Class ids ``(y, x)`` → RGBA, one colour per class, the background clear."""
    return _palette()[np.minimum(labels, 255)]


def outline_layer(labels: np.ndarray, *, dashed: bool = False) -> np.ndarray:
    """Class ids ``(y, x)`` → RGBA with one-pixel outlines; ``dashed`` in white and black: the reference."""
    inner = ndimage.minimum_filter(labels, 3) == ndimage.maximum_filter(labels, 3)
    edge = (labels > 0) & ~inner
    layer = np.zeros((*labels.shape, 4), np.uint8)
    if dashed:
        y, x = np.indices(labels.shape)
        white = (y + x) % 6 < 4  # on bright pixels the black between is seen
        layer[edge & white] = (255, 255, 255, 255)
        layer[edge & ~white] = (0, 0, 0, 255)
    else:
        layer[edge] = _palette()[np.minimum(labels, 255)][edge]
    return layer


def overlay(picture: np.ndarray, labels: np.ndarray, *, opacity: float = 0.4) -> np.ndarray:
    """A picture ``(y, x, 1 or 3)`` with class ids ``(y, x)`` coloured in and outlined, as RGB."""
    base = np.repeat(picture, 3, axis=-1) if picture.shape[-1] == 1 else picture
    fill, edge = fill_layer(labels), outline_layer(labels)
    alpha = fill[..., 3:].astype(np.float32) / 255 * opacity
    mixed = base * (1 - alpha) + fill[..., :3] * alpha
    return np.where(edge[..., 3:] > 0, edge[..., :3], mixed).astype(np.uint8)


def previews(pixels: np.ndarray, maps: Sequence[np.ndarray], *, edge: int, at: int = 0) -> list[str]:
    """One picture per label map, the labels laid over the same plane, as data URIs.

    Args:
        pixels: ``(C, *S)``.
        maps: Class ids ``(*S)``.
        edge: Pixels the longer side has at most.
        at: Which plane of a volume, along its first axis; a picture has one.
    """
    picture = to_picture(pixels)
    if picture.ndim == 4:
        picture, maps = picture[at], [labels[at] for labels in maps]
    factors = (-(-max(picture.shape[:2]) // edge),) * 2
    base = at_least(reduced(picture, factors), edge // 2)
    laid = (at_least(reduced(labels, factors, labels=True), edge // 2) for labels in maps)
    return [data_uri(png(overlay(base, labels))) for labels in laid]


def fullest(labels: np.ndarray, axis: int = 0) -> int:
    """The plane across an axis that has most pixels of any class; the middle one where none has.

    Example:
        >>> fullest(np.array([[0, 0], [0, 1], [2, 1]])), fullest(np.zeros((5, 2)))
        (2, 2)
    """
    count = np.count_nonzero(np.moveaxis(labels, axis, 0).reshape(labels.shape[axis], -1), axis=1)
    return int(count.argmax()) if count.any() else labels.shape[axis] // 2


def reduced(array: np.ndarray, factors: Sequence[int], *, labels: bool = False) -> np.ndarray:
    """Blocks of pixels as one pixel: their mean, or of class ids the largest, so that thin objects stay.

    Args:
        array: ``(*S, …)`` integers; axes behind the last factor stay.
        factors: Edges of a block; one that is cut off by the border counts with what it has.
        labels: Whether these are class ids.

    Example:
        >>> reduced(np.array([[0, 2, 9], [2, 4, 9]], np.uint8), (2, 2)).tolist()
        [[2, 9]]
        >>> reduced(np.array([[0, 2, 9], [2, 4, 9]], np.uint8), (2, 2), labels=True).tolist()
        [[4, 9]]
    """
    result = array
    for axis, factor in enumerate(factors):
        if factor > 1:
            starts = np.arange(0, array.shape[axis], factor)
            if labels:
                result = np.maximum.reduceat(result, starts, axis=axis)
                continue
            counts = np.diff([*starts, array.shape[axis]]).astype(np.float32)
            total = np.add.reduceat(result, starts, axis=axis, dtype=np.float32)
            result = total / counts.reshape(-1, *(1,) * (array.ndim - axis - 1))
    return result if result.dtype == array.dtype else np.rint(result).astype(array.dtype)


def factors_for(shape: Sequence[int], spacing: Sequence[float], pixels: int) -> tuple[int, ...]:
    """Edges of the blocks that bring an image down to so many pixels, the finest axes first.

    Args:
        shape: ``*S``.
        spacing: Distance between neighbouring pixels along each axis.
        pixels: Most pixels that may be left, 1 or more.

    Example:
        >>> factors_for((40, 512, 512), (2.5, 0.7, 0.7), 1_000_000), factors_for((8, 8), (1, 1), 64)
        ((1, 4, 4), (1, 1))
    """
    factors = [1] * len(shape)
    left = list(shape)
    while math.prod(left) > pixels:
        steps = [step * factor for step, factor in zip(spacing, factors, strict=True)]
        finest = min(step for step, count in zip(steps, left, strict=True) if count > 1)
        for axis, step in enumerate(steps):
            if left[axis] > 1 and step <= finest * 1.001:
                factors[axis] += 1
                left[axis] = -(-shape[axis] // factors[axis])
    return tuple(factors)


def at_least(array: np.ndarray, edge: int) -> np.ndarray:
    """Pixels ``(y, x, …)`` repeated until the longer side has ``edge``: outlines stay thin in small pictures.

    Example:
        >>> at_least(np.zeros((3, 4)), 10).shape
        (9, 12)
    """
    times = max(1, -(-edge // max(array.shape[:2])))
    return array if times == 1 else array.repeat(times, axis=0).repeat(times, axis=1)


def _palette() -> np.ndarray:
    table = np.zeros((256, 4), np.uint8)
    for value in range(1, 256):
        text = PALETTE[(value - 1) % len(PALETTE)]
        table[value] = (int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16), 255)
    return table
