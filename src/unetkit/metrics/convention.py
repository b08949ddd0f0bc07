"""The one convention for missed and empty objects: taking a prediction away never improves anything.

Other tools leave a missed object out of the mean (its surface distance is not a number), so that their score
rises while the model fails. Here a miss costs as much as an answer can cost, and it is counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from unetkit.errors import DataError, UsageError
from unetkit.spatial.regions import diagonal

State = Literal["found", "missed", "spurious", "undefined"]

CONVENTION = (
    "One value per case and class; means are over cases. "
    "Missed (in the reference, nothing predicted) and spurious (predicted, not there) classes take "
    "the worst value: dice, iou, precision, recall and nsd 0, volume_error 1, hd95 and assd the diagonal of "
    "the image. A class in neither mask is undefined: left out of the mean and counted. "
    "A case without any prediction (absent) takes the worst value in every class, also where the class is in "
    "neither mask; in means its distances count as the largest of the whole set. "
    "So taking a prediction away never improves a score where the object is there. "
    "'mean': per case the mean over its defined classes, then over cases. "
    "Unknown pixels are background in both masks. "
    "Surface: object pixels with a background face neighbour (outside the image is background). Distances: "
    "between pixel centres, in mm, or in pixels (px) where no file states a spacing. hd95: the larger of the "
    "two directed 95th percentiles. assd: mean over the pixels of both surfaces. nsd: share of the pixels of "
    "both surfaces within the tolerance. "
    "volume_error: |Vp - Vr| / max(Vp, Vr). "
    "object_recall, object_precision, object_f1: connected pieces of a class, paired one to one at an IoU of "
    "0.1 or more. cldice: on centre lines. Both take the worst value 0 as dice does. "
    "Interval: 2.5th to 97.5th percentile of the mean over 1000 resamplings of the groups; none with fewer "
    "than two groups."
)


def state(reference_pixels: int, predicted_pixels: int) -> State:
    """Name what became of an object.

    Args:
        reference_pixels: Its pixels in the reference.
        predicted_pixels: Its pixels in the prediction.

    Example:
        >>> state(5, 0), state(0, 5), state(0, 0), state(5, 5)
        ('missed', 'spurious', 'undefined', 'found')
    """
    if reference_pixels and predicted_pixels:
        return "found"
    if reference_pixels:
        return "missed"
    return "spurious" if predicted_pixels else "undefined"


def worst(metric: str, shape: Sequence[int], spacing_mm: Sequence[float]) -> float:
    """Look up the worst value of one of our metrics for an image of this size.

    Args:
        metric: A name of ``METRICS``.
        shape: ``*S`` of the whole image.
        spacing_mm: Distance between neighbouring pixels along each axis.

    Example:
        >>> worst("hd95", (30, 40), (1.0, 1.0)), worst("dice", (30, 40), (1.0, 1.0))
        (50.0, 0.0)
    """
    if metric in ("hd95", "assd"):
        return diagonal(shape, spacing_mm)
    return 1.0 if metric == "volume_error" else 0.0


def measured(
    metric: str,
    reference: np.ndarray,
    prediction: np.ndarray,
    formula: Callable[[np.ndarray, np.ndarray], float],
    *,
    spacing_mm: Sequence[float] | None = None,
) -> float | None:
    """What a function of the table answers: its formula, and where a mask is empty the convention.

    Args:
        metric: Its name.
        reference: ``(*S)`` bool, or numbers of which all but 0 are object.
        prediction: ``(*S)`` likewise.
        formula: The value of two masks that both have pixels.
        spacing_mm: Distance between neighbouring pixels along each axis, None where it does not matter.

    Returns:
        The worst value the metric has where exactly one mask is empty, None where both are.

    Raises:
        DataError: The shapes differ.
        UsageError: The spacing does not fit.

    Example:
        >>> here, empty = np.ones(3, bool), np.zeros(3, bool)
        >>> [measured("dice", here, mask, lambda *both: 1.0) for mask in (here, empty)]
        [1.0, 0.0]
    """
    reference, prediction = reference.astype(bool, copy=False), prediction.astype(bool, copy=False)
    spacing = (1.0,) * reference.ndim if spacing_mm is None else spacing_mm
    check_spacing(reference.ndim, spacing)
    if reference.shape != prediction.shape:
        raise DataError(
            f"expected a prediction of shape {reference.shape} like the reference, got {prediction.shape}",
            cure="compare on the grid of the reference",
        )
    became = state(bool(reference.any()), bool(prediction.any()))
    if became == "found":
        return formula(reference, prediction)
    return None if became == "undefined" else worst(metric, reference.shape, spacing)


def check_spacing(rank: int, spacing_mm: Sequence[float], *, where: str | None = None) -> None:
    """Refuse a spacing that is not one finite number above 0 per axis.

    Raises:
        UsageError: It is not.
    """
    if len(spacing_mm) != rank or not all(math.isfinite(step) and step > 0 for step in spacing_mm):
        raise UsageError(
            f"expected {rank} spacings above 0 mm, got {tuple(spacing_mm)}",
            cure="give the distance between neighbouring pixels along each axis, 1 where unknown",
            where=where,
        )
