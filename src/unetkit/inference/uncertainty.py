"""Where a prediction is unsure: the entropy of its probabilities, and whether mirrored images agree."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Entropy of the class probabilities of every pixel, as a share of the largest possible.

    Args:
        probabilities: ``(K, *S)``, summing to 1 over K ≥ 2 classes.

    Returns:
        ``(*S)`` float32: 0 where one class is certain, 1 where all are equally likely.

    Example:
        >>> entropy(np.array([[1.0, 0.5], [0.0, 0.5]])).tolist()
        [0.0, 1.0]
    """
    total = np.zeros(probabilities.shape[1:], np.float32)
    for share in probabilities:  # class by class: no second array of the size of all
        kept = np.asarray(share, np.float32)
        total -= kept * np.log(np.maximum(kept, np.finfo(np.float32).tiny))
    total /= np.log(len(probabilities))
    return np.clip(total, 0.0, 1.0, out=total)


def mirrored_passes(
    probabilities_of: Callable[[np.ndarray], np.ndarray],
    pixels: np.ndarray,
    labels: np.ndarray,
    axes: Sequence[int],
) -> tuple[np.ndarray, np.ndarray]:
    """Predict an image and all its mirror images, and see how far they agree.

    Args:
        probabilities_of: Pixels ``(C, *S)`` → probabilities ``(K, *S)``.
        pixels: ``(C, *S)``.
        labels: The class ids ``(*S)`` that are believed.
        axes: Spatial axes that may be mirrored; n axes cost 2ⁿ passes.

    Returns:
        Mean probabilities ``(K, *S)`` float32, and the share of passes whose most likely class is another
        than the believed one, ``(*S)`` float32.

    Example:
        >>> left = lambda pixels: np.stack([np.array([[0.9, 0.1]]), np.array([[0.1, 0.9]])])
        >>> mean, apart = mirrored_passes(left, np.zeros((1, 1, 2)), np.array([[0, 0]]), axes=[1])
        >>> mean[1].tolist(), apart.tolist()
        ([[0.5, 0.5]], [[0.5, 0.5]])
    """
    total: np.ndarray | None = None
    apart = np.zeros(labels.shape, np.float32)
    passes = [each for count in range(len(axes) + 1) for each in itertools.combinations(axes, count)]
    for flipped in passes:
        behind = tuple(axis + 1 for axis in flipped)
        # a copy: what reads a mirrored view backwards may not be ready for negative strides
        found = np.flip(probabilities_of(np.flip(pixels, behind).copy()), behind)
        total = found.astype(np.float32) if total is None else np.add(total, found, out=total)
        apart += found.argmax(axis=0) != labels
    assert total is not None  # the first pass mirrors nothing
    total /= len(passes)
    apart /= len(passes)
    return total, apart
