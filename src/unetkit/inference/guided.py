"""Guided filter: probabilities follow the edges of the image, linearly in small windows; off by default."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from scipy import ndimage

from unetkit.inference.gathering import gathered
from unetkit.inference.stream import Rows, softmax
from unetkit.records.case import Sample
from unetkit.records.plan import InferencePlan
from unetkit.spatial.intensity import apply_intensity

_TINY = 1e-20


def guided_rows(bands: Iterable[Rows], sample: Sample, plan: InferencePlan) -> Iterator[Rows]:
    """Bands of logits → one band of filtered log probabilities, on the prepared grid.

    Args:
        bands: Finished rows of logits, without a gap.
        sample: What was predicted; its image guides.
        plan: Radius and smoothness.

    Raises:
        ResourceError: The image is too large, see ``gathered``.
    """
    logits = gathered(bands, sample, what="a guided filter", setting="inference.guided_radius")
    if not np.isfinite(logits).all():
        yield 0, logits  # the road back to the original grid refuses it, by the name of its case
        return
    image = apply_intensity(sample.pixels, sample.intensity).astype(np.float64)
    own = image.reshape(len(image), -1).std(axis=1).reshape(-1, *[1] * (image.ndim - 1))
    image = (image - image.mean()) / np.where(own > 0, own, 1.0)
    radius = radius_per_axis(plan.guided_radius, sample.grid.spacing_mm)
    shares = guided(softmax(logits), image, radius=radius, epsilon=plan.guided_epsilon)
    yield 0, np.log(np.clip(shares, _TINY, 1.0)).astype(np.float32)


def radius_per_axis(radius: int, spacing_mm: Sequence[float]) -> tuple[int, ...]:
    """A radius in pixels of the finest axis, as pixels of each.

    Example:
        >>> radius_per_axis(4, (5.0, 1.0, 1.0))
        (1, 4, 4)
    """
    finest = min(spacing_mm)
    return tuple(round(radius * finest / step) for step in spacing_mm)


def guided(values: np.ndarray, image: np.ndarray, *, radius: Sequence[int], epsilon: float) -> np.ndarray:
    """Filter values by what an image says: in each window they are the linear function of it that fits best.

    Args:
        values: ``(K, *S)``.
        image: ``(C, *S)``, what guides.
        radius: Of a window, per axis; at the border of the image windows are cut.
        epsilon: What a slope costs: image variance up to which a window counts as flat.

    Returns:
        ``(K, *S)`` float64; where the values sum to 1 in each pixel, so do these.

    Reference:
        He, Sun and Tang, Guided Image Filtering, IEEE TPAMI 35 (2013), equations 11 to 16.

    Example:
        >>> image = np.array([[0.0, 0.0, 0.0, 9.0, 9.0, 9.0]])
        >>> noisy = np.array([[0.0, 0.3, 0.0, 1.0, 0.7, 1.0]])
        >>> guided(noisy, image, radius=(2,), epsilon=0.1).round(1).tolist()
        [[0.1, 0.1, 0.1, 0.9, 0.9, 0.9]]
    """
    guide = image.astype(np.float64)
    channels = len(guide)
    middle = _mean(guide, radius)
    pairs = [(a, b) for a in range(channels) for b in range(a, channels)]
    spread = np.empty((*guide.shape[1:], channels, channels))
    for a, b in pairs:
        covariance = _mean((guide[a] * guide[b])[None], radius)[0] - middle[a] * middle[b]
        spread[..., a, b] = spread[..., b, a] = covariance
    spread += epsilon * np.eye(channels)
    result = np.empty(values.shape, np.float64)
    for number, one in enumerate(values.astype(np.float64)):
        own = _mean(one[None], radius)[0]
        along = _mean(guide * one, radius) - middle * own
        slope = np.linalg.solve(spread, np.moveaxis(along, 0, -1)[..., None])[..., 0]
        slope = np.moveaxis(slope, -1, 0)
        offset = own - (slope * middle).sum(axis=0)
        result[number] = (_mean(slope, radius) * guide).sum(axis=0) + _mean(offset[None], radius)[0]
    return result


def _mean(values: np.ndarray, radius: Sequence[int]) -> np.ndarray:
    """Means over boxes, ``(n, *S)``; outside the image there is nothing."""
    total, count = values, np.ones(values.shape[1:])
    for axis, each in enumerate(radius):
        total = ndimage.uniform_filter1d(total, 2 * each + 1, axis=axis + 1, mode="constant")
        count = ndimage.uniform_filter1d(count, 2 * each + 1, axis=axis, mode="constant")
    return total / count
