"""Overlap metrics: from how many pixels two masks share.

All of them take two masks as every ``unetkit.metrics.Metric`` does, and are shares between 0 and 1 of pixel
counts, so spacing and tolerance are ignored. ``measured`` in ``unetkit.metrics.convention`` answers for empty
masks: the worst value, 0, or 1 of ``volume_error``, where exactly one is empty, None where both are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from unetkit.metrics.convention import measured


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

    Predicting nothing is not precise: it is 0 where there is something to find.

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

    Example:
        >>> volume_error(np.array([1, 0, 0, 0], bool), np.array([1, 1, 1, 1], bool))
        0.75
    """
    return _share("volume_error", reference, prediction)


def _share(metric: str, reference: np.ndarray, prediction: np.ndarray) -> float | None:
    formula = FROM_COUNTS[metric]
    return measured(metric, reference, prediction, lambda *both: formula(Counts.of(*both)))
