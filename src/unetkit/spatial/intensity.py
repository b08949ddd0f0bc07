"""Raw pixel values to network inputs, for a whole image or the one tile that is needed."""

from __future__ import annotations

import math

import numpy as np

from unetkit.records.case import Intensity


def stored_pixels(noise: np.ndarray) -> np.ndarray:
    """Noise around 0 as pixels of one byte, up to ten of its units to either side.

    Args:
        noise: Of any shape.

    Returns:
        The same shape, uint8: what trials are made of for a network that takes such pixels.

    Example:
        >>> stored_pixels(np.array([-20.0, -1.0, 0.0, 1.0, 20.0])).tolist()
        [0, 116, 128, 140, 255]
    """
    return np.clip(np.rint(128 + 12 * np.asarray(noise)), 0, 255).astype(np.uint8)


def apply_intensity(pixels: np.ndarray, intensity: tuple[Intensity, ...]) -> np.ndarray:
    """Normalise the channels: ``(clip(v, low, high) - shift) * scale``.

    Pointwise, so a tile of the result is the result of the tile: nothing but the tile becomes float.

    Args:
        pixels: ``(C, *S)`` of any number type.
        intensity: One per channel; empty when the pixels are ready.

    Returns:
        ``(C, *S)`` float32; ``pixels`` itself when there is nothing to do.

    Example:
        >>> apply_intensity(np.array([[0, 5, 20]], np.uint8), (Intensity(0.0, 10.0, 5.0, 0.2),)).tolist()
        [[-1.0, 0.0, 1.0]]
    """
    if not intensity:
        return np.asarray(pixels, dtype=np.float32)
    result = np.empty(pixels.shape, dtype=np.float32)
    for channel, values, rule in zip(result, pixels, intensity, strict=True):
        channel[...] = values
        if math.isfinite(rule.low) or math.isfinite(rule.high):
            np.clip(channel, rule.low, rule.high, out=channel)
        if rule.shift:
            channel -= np.float32(rule.shift)
        if rule.scale != 1.0:
            channel *= np.float32(rule.scale)
    masked = [index for index, rule in enumerate(intensity) if rule.masked]
    if masked:
        outside = ~np.any(pixels, axis=0)
        for index in masked:
            result[index][outside] = 0
    return result
