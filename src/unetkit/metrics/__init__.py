"""Metrics: how good a prediction is, with one convention for missed and empty objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

METRICS = {
    "dice": "unetkit.metrics.overlap:dice",
    "iou": "unetkit.metrics.overlap:iou",
    "precision": "unetkit.metrics.overlap:precision",
    "recall": "unetkit.metrics.overlap:recall",
    "hd95": "unetkit.metrics.surface:hd95",
    "assd": "unetkit.metrics.surface:assd",
    "nsd": "unetkit.metrics.surface:nsd",
    "volume_error": "unetkit.metrics.overlap:volume_error",
    "object_recall": "unetkit.metrics.objects:object_recall",
    "object_precision": "unetkit.metrics.objects:object_precision",
    "object_f1": "unetkit.metrics.objects:object_f1",
    "cldice": "unetkit.metrics.centerline:cldice",
}

STANDARD = ("dice", "iou", "precision", "recall", "hd95", "assd", "nsd", "volume_error")
"""Metrics that are measured whatever the data is; the others where it calls for them."""

LOWER_IS_BETTER = frozenset({"hd95", "assd", "volume_error"})
"""Metrics of the table whose best value is 0; of all others it is 1."""


class Metric(Protocol):
    """A row of ``METRICS``: it keeps the convention of ``unetkit.metrics.convention``."""

    def __call__(
        self,
        reference: np.ndarray,
        prediction: np.ndarray,
        *,
        spacing_mm: Sequence[float],
        tolerance_mm: float = 1.0,
    ) -> float | None:
        """Compare two masks.

        Args:
            reference: ``(*S)`` bool, what is there.
            prediction: ``(*S)`` bool, what was predicted.
            spacing_mm: Distance between neighbouring pixels along each axis.
            tolerance_mm: The τ of NSD@τ; other metrics ignore it.

        Returns:
            A finite number; the worst value the metric has for an image of this size when exactly one of the
            masks is empty; None only when both are.
        """
        ...
