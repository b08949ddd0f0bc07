"""How an image looks, in a few numbers per channel: its intensities and its texture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MOST_PIXELS = 1 << 20
"""Pixels per channel that are looked at; intensities are taken evenly spread, texture from the middle."""
_BLOCK = 4
_QUANTILES = {"low": 1, "median": 50, "high": 99}


def appearance(pixels: np.ndarray, channels: Sequence[str]) -> dict[str, float]:
    """Intensities and texture of an image as its file has it, before anything is normalised.

    Texture is measured in units of the image's own standard deviation, so that brightness and contrast alone
    do not change it: ``sharpness`` is the mean step between neighbours, ``noise`` the mean second difference
    (what a smooth surface has none of), ``coarseness`` what is left after averaging blocks of four pixels.

    Args:
        pixels: ``(C, *S)`` of any number type.
        channels: Name of each channel.

    Returns:
        ``intensity.<what>.<channel>`` and ``texture.<what>.<channel>``, all finite.

    Reference:
        Immerkær, Fast Noise Variance Estimation, CVIU 1996, for the second difference.

    Example:
        >>> flat = appearance(np.full((1, 8, 8), 7, np.uint8), ("image",))
        >>> flat["intensity.mean.image"], flat["texture.noise.image"]
        (7.0, 0.0)
    """
    found: dict[str, float] = {}
    for name, plane in zip(channels, pixels, strict=True):
        every = plane.ravel()[:: -(-plane.size // MOST_PIXELS)].astype(np.float64)
        quantiles = np.percentile(every, list(_QUANTILES.values()))
        values = {
            "mean": every.mean(),
            "spread": every.std(),
            **dict(zip(_QUANTILES, quantiles, strict=True)),
        }
        found |= {f"intensity.{what}.{name}": float(value) for what, value in values.items()}
        found |= {f"texture.{what}.{name}": value for what, value in texture(middle(plane)).items()}
    return found


def texture(block: np.ndarray) -> dict[str, float]:
    """Sharpness, noise and coarseness of one channel; each 0 where every pixel is the same.

    Args:
        block: ``(*S)`` of any number type.

    Example:
        >>> stripes = texture(np.tile([0.0, 2.0], (8, 4)))
        >>> stripes["sharpness"], stripes["coarseness"]
        (1.0, 0.0)
    """
    values = block.astype(np.float64)
    spread = float(values.std())
    if spread == 0:
        return {"sharpness": 0.0, "noise": 0.0, "coarseness": 0.0}
    axes = range(values.ndim)
    steps = [np.abs(np.diff(values, axis=axis)).mean() for axis in axes if values.shape[axis] > 1]
    bends = [np.abs(np.diff(values, n=2, axis=axis)).mean() for axis in axes if values.shape[axis] > 2]
    return {
        "sharpness": float(np.mean(steps)) / spread,
        "noise": float(np.mean(bends or [0.0])) / spread,
        "coarseness": float(_averaged(values).std()) / spread,
    }


def middle(plane: np.ndarray) -> np.ndarray:
    """The middle of a channel, of at most ``MOST_PIXELS`` pixels, as a view.

    Args:
        plane: ``(*S)``.

    Example:
        >>> middle(np.zeros((3000, 2000))).shape
        (1254, 836)
    """
    share = min(1.0, (MOST_PIXELS / plane.size) ** (1 / plane.ndim))
    sizes = [max(1, round(length * share)) for length in plane.shape]
    starts = [(length - size) // 2 for length, size in zip(plane.shape, sizes, strict=True)]
    return plane[tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))]


def _averaged(values: np.ndarray) -> np.ndarray:
    """Means over blocks; what is left over at the end of an axis is not looked at."""
    for axis, length in enumerate(values.shape):
        size = min(_BLOCK, length)
        count = length // size
        kept = values.take(range(count * size), axis=axis)
        values = kept.reshape(*kept.shape[:axis], count, size, *kept.shape[axis + 1 :]).mean(axis=axis + 1)
    return values
