"""Dense conditional random field: labels follow the edges of the image; off unless a plan asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from unetkit.inference.gathering import gathered
from unetkit.inference.permutohedral import Lattice
from unetkit.inference.stream import Rows, softmax
from unetkit.records.case import Sample
from unetkit.records.plan import InferencePlan
from unetkit.spatial.intensity import apply_intensity

_TINY = 1e-20


class Filter(Protocol):
    """A sum over all points, weighed by a Gaussian of their distance in feature space."""

    def filter(self, values: np.ndarray) -> np.ndarray:
        """``(N, K)`` → ``(N, K)``."""
        ...


def refined_rows(bands: Iterable[Rows], sample: Sample, plan: InferencePlan) -> Iterator[Rows]:
    """Bands of logits → one band of refined log probabilities, on the prepared grid.

    Args:
        bands: Finished rows of logits, without a gap.
        sample: What was predicted; its image guides.
        plan: Steps, weights and standard deviations.

    Raises:
        ResourceError: The image is too large, see ``gathered``.
    """
    logits = gathered(bands, sample, what="a random field", setting="inference.crf_steps")
    image = apply_intensity(sample.pixels, sample.intensity)
    yield 0, refined(logits, image, spacing_mm=sample.grid.spacing_mm, plan=plan)


def refined(
    logits: np.ndarray, image: np.ndarray, *, spacing_mm: Sequence[float], plan: InferencePlan
) -> np.ndarray:
    """Refine a prediction by mean-field inference in a fully connected random field.

    Every pixel is drawn to the classes of all others, the more the nearer and the more alike they are.

    Args:
        logits: ``(K, *S)`` float32.
        image: ``(C, *S)``.
        spacing_mm: Distance between neighbouring pixels along each axis.
        plan: Its ``crf_…`` values.

    Returns:
        Log probabilities ``(K, *S)`` float32.

    Reference:
        Krähenbühl and Koltun, Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials, NIPS
        2011, algorithm 1, with the Potts model and both kernels normalised symmetrically, as in the authors'
        program (a pixel's own vote is not taken out of the sum).

    Example:
        >>> plan = InferencePlan(tile_size=(3, 3), crf_steps=5)
        >>> logits = np.zeros((2, 3, 3), np.float32)
        >>> logits[1] = 1 - 3 * np.eye(3)[1] * np.eye(3)[1][:, None]  # one pixel against its neighbours
        >>> refined(logits, np.ones((1, 3, 3)), spacing_mm=(1, 1), plan=plan).argmax(axis=0)[1, 1].item()
        1
    """
    if not np.isfinite(logits).all():
        return logits  # the road back to the original grid refuses it, by the name of its case
    smooth, appearance = features(image, spacing_mm=spacing_mm, plan=plan)
    kernels: list[tuple[float, Filter]] = []
    if plan.crf_smoothness_weight:
        kernels.append((plan.crf_smoothness_weight, Lattice(smooth)))
    if plan.crf_appearance_weight:
        kernels.append((plan.crf_appearance_weight, Lattice(appearance)))
    unary = np.ascontiguousarray(logits.reshape(len(logits), -1).T)
    shares = mean_field(unary, kernels, steps=plan.crf_steps)
    return np.log(np.maximum(shares, _TINY)).T.reshape(logits.shape).astype(np.float32)


def features(
    image: np.ndarray, *, spacing_mm: Sequence[float], plan: InferencePlan
) -> tuple[np.ndarray, np.ndarray]:
    """What the kernels look at, in standard deviations.

    Distances are counted in pixels of the finest axis, intensities in standard deviations of each channel.

    Args:
        image: ``(C, *S)``.
        spacing_mm: Distance between neighbouring pixels along each axis.
        plan: Its ``crf_…`` values.

    Returns:
        Of the smoothness kernel ``(rank, N)``, of the appearance kernel ``(rank + C, N)``.
    """
    finest = min(spacing_mm)
    places = np.indices(image.shape[1:], np.float64).reshape(image.ndim - 1, -1)
    places *= (np.array(spacing_mm) / finest)[:, None]
    values = image.reshape(len(image), -1).astype(np.float64)
    own = values.std(axis=1, keepdims=True)
    values /= np.where(own > 0, own, 1.0) * plan.crf_appearance_contrast
    appearance = np.concatenate([places / plan.crf_appearance_pixels, values])
    return places / plan.crf_smoothness_pixels, appearance


def mean_field(logits: np.ndarray, kernels: Sequence[tuple[float, Filter]], *, steps: int) -> np.ndarray:
    """Mean-field steps with the Potts model.

    Args:
        logits: ``(N, K)`` float32, minus the unary potentials.
        kernels: Weight and filter of each.
        steps: How many.

    Returns:
        Probabilities ``(N, K)``.
    """
    norms = []
    ones = np.ones((len(logits), 1), logits.dtype)
    for _, kernel in kernels:
        norms.append(1 / np.sqrt(kernel.filter(ones) + _TINY))
    shares = softmax(logits.T).T
    for _ in range(steps):
        total = logits.copy()
        for (weight, kernel), norm in zip(kernels, norms, strict=True):
            message = kernel.filter(np.ascontiguousarray(norm * shares))
            message *= weight * norm
            total += message
        shares = softmax(total.T).T
    return shares
