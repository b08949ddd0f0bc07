"""What comes out: labels on the original grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unetkit.records.case import Grid


@dataclass(frozen=True)
class Prediction:
    """The labels of one case, where the original image was.

    Args:
        id: The case's id.
        labels: ``(*S)`` class ids, the smallest unsigned type that holds them.
        grid: The original image's grid.
        probabilities: ``(K, *S)`` float32 summing to 1 over classes, when asked for.
    """

    id: str
    labels: np.ndarray
    grid: Grid
    probabilities: np.ndarray | None = None

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        """The labels, so that ``np.asarray(prediction)`` works."""
        return np.array(self.labels, dtype=dtype, copy=True if copy is None else copy)
