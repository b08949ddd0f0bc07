"""Overlap metrics: from how many pixels two masks share.

All of them are shares between 0 and 1 of pixel counts, so spacing and tolerance are ignored; ``settled`` in
``unetkit.metrics.convention`` answers for empty masks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from unetkit.metrics.convention import settled


@dataclass(frozen=True)
class Counts:
    """Pixels of one class.

    Args:
        both: In the reference and in the prediction.
        reference: In the reference.
        prediction: In the prediction.
    """

    both: int
    reference: int
    prediction: int

    @staticmethod
    def of(reference: np.ndarray, prediction: np.ndarray) -> Counts:
        """Count the pixels of two ``(*S)`` bool masks."""
        return Counts(
            int(np.count_nonzero(reference & prediction)),
            int(np.count_nonzero(reference)),
            int(np.count_nonzero(prediction)),
        )


FROM_COUNTS: dict[str, Callable[[Counts], float]] = {
    "dice": lambda n: 2 * n.both / (n.reference + n.prediction),
    "iou": lambda n: n.both / (n.reference + n.prediction - n.both),
    "precision": lambda n: n.both / n.prediction,
    "recall": lambda n: n.both / n.reference,
    "volume_error": lambda n: abs(n.prediction - n.reference) / max(n.prediction, n.reference),
}
"""The formulas, for two objects that both have pixels."""


def dice(
    reference: np.ndarray,
    prediction: np.ndarray,
    *,
    spacing_mm: Sequence[float] | None = None,
    tolerance_mm: float = 1.0,
) -> float | None:
    """Dice coefficient: shared pixels over the mean size, ``2 |R∩P| / (|R| + |P|)``.

    Args:
        reference: ``(*S)`` bool.
        prediction: ``(*S)`` bool.
        spacing_mm: Ignored.
        tolerance_mm: Ignored.

    Returns:
        0 to 1; 0 when exactly one mask is empty, None when both are.

    Reference:
        Dice, Measures of the amount of ecologic association between species, Ecology 26 (1945).

    Example:
        >>> dice(np.array([1, 1, 0], bool), np.array([0, 1, 1], bool))
        0.5
    """
    return _share("dice", reference, prediction)


def iou(
    reference: np.ndarray,
    prediction: np.ndarray,
    *,
    spacing_mm: Sequence[float] | None = None,
    tolerance_mm: float = 1.0,
) -> float | None:
    """Intersection over union (Jaccard index), ``|R∩P| / |R∪P|``.

    Args:
        reference: ``(*S)`` bool.
        prediction: ``(*S)`` bool.
        spacing_mm: Ignored.
        tolerance_mm: Ignored.

    Returns:
        0 to 1; 0 when exactly one mask is empty, None when both are.

    Example:
        >>> iou(np.array([1, 1, 0, 0], bool), np.array([0, 1, 1, 1], bool))
        0.25
    """
    return _share("iou", reference, prediction)


def precision(
    reference: np.ndarray,
    prediction: np.ndarray,
    *,
    spacing_mm: Sequence[float] | None = None,
    tolerance_mm: float = 1.0,
) -> float | None:
    """Precision: the share of predicted pixels that are right, ``|R∩P| / |P|``.

    Args:
        reference: ``(*S)`` bool.
        prediction: ``(*S)`` bool.
        spacing_mm: Ignored.
        tolerance_mm: Ignored.

    Returns:
        0 to 1; 0 when exactly one mask is empty (predicting nothing is not precise), None when both are.

    Example:
        >>> precision(np.array([1, 1, 0], bool), np.array([0, 1, 0], bool))
        1.0
    """
    return _share("precision", reference, prediction)


def recall(
    reference: np.ndarray,
    prediction: np.ndarray,
    *,
    spacing_mm: Sequence[float] | None = None,
    tolerance_mm: float = 1.0,
) -> float | None:
    """Recall (sensitivity): the share of the object's pixels that were found, ``|R∩P| / |R|``.

    Args:
        reference: ``(*S)`` bool.
        prediction: ``(*S)`` bool.
        spacing_mm: Ignored.
        tolerance_mm: Ignored.

    Returns:
        0 to 1; 0 when exactly one mask is empty, None when both are.

    Example:
        >>> recall(np.array([1, 1, 0], bool), np.array([0, 1, 0], bool))
        0.5
    """
    return _share("recall", reference, prediction)


def volume_error(
    reference: np.ndarray,
    prediction: np.ndarray,
    *,
    spacing_mm: Sequence[float] | None = None,
    tolerance_mm: float = 1.0,
) -> float | None:
    """Volume error: how much smaller the smaller object is, ``|Vp - Vr| / max(Vp, Vr)``.

    The usual relative error ``|Vp - Vr| / Vr`` has no upper end: an object predicted three times too large
    would score 2 and an empty prediction 1, so that deleting it would look better. Dividing by the larger
    volume keeps the error between 0 and 1, with 1 for exactly the empty ones.

    Args:
        reference: ``(*S)`` bool.
        prediction: ``(*S)`` bool.
        spacing_mm: Ignored: both volumes are of the same pixels.
        tolerance_mm: Ignored.

    Returns:
        0 (equal volumes) to 1; 1 when exactly one mask is empty, None when both are.

    Example:
        >>> volume_error(np.array([1, 0, 0, 0], bool), np.array([1, 1, 1, 1], bool))
        0.75
    """
    return _share("volume_error", reference, prediction)


def _share(metric: str, reference: np.ndarray, prediction: np.ndarray) -> float | None:
    reference, prediction = reference.astype(bool, copy=False), prediction.astype(bool, copy=False)
    decided, value = settled(metric, reference, prediction, (1.0,) * reference.ndim)
    return value if decided else FROM_COUNTS[metric](Counts.of(reference, prediction))
