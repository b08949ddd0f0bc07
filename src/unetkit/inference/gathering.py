"""Refinements that see an image as a whole: all of its logits at once, where it is not too large."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from unetkit.errors import ResourceError
from unetkit.inference.stream import Rows
from unetkit.records.case import Sample

MOST_PIXELS = 1 << 24
"""Pixels of an image that are refined at once: about 100 bytes each, more with several channels."""


def gathered(bands: Iterable[Rows], sample: Sample, *, what: str, setting: str) -> np.ndarray:
    """Bands of logits as one array.

    Args:
        bands: Finished rows of logits, without a gap.
        sample: What was predicted.
        what: What needs all of them, in words.
        setting: The value of the plan that turns it off with 0.

    Returns:
        ``(K, *S)``.

    Raises:
        ResourceError: The image has more than ``MOST_PIXELS`` pixels; no band was asked for then.
    """
    pixels = math.prod(sample.pixels.shape[1:])
    if pixels > MOST_PIXELS:
        raise ResourceError(
            f"expected at most {MOST_PIXELS:,} pixels for {what}, got {pixels:,}",
            cure=f"set {setting} to 0 for images of this size",
            where=sample.id,
        )
    return np.concatenate([band.copy() for _, band in bands], axis=1)  # a band is a view that is reused
