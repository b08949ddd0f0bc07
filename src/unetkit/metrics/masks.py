"""Both masks of one class: what several metrics need of them is found once."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from unetkit.metrics.centerline import shared_lines
from unetkit.metrics.objects import FROM_OBJECTS, Detected, match_objects
from unetkit.metrics.overlap import FROM_COUNTS, Counts
from unetkit.metrics.surface import FROM_DISTANCES
from unetkit.spatial.regions import distances

OURS = frozenset({*FROM_COUNTS, *FROM_DISTANCES, *FROM_OBJECTS, "cldice"})
"""Metrics that ``Masks.measure`` knows; others are called with whole masks."""


class Masks:
    """The masks of one class, cut to where either has an object.

    Args:
        reference: ``(*S)`` bool.
        prediction: ``(*S)`` bool.
        spacing_mm: Distance between neighbouring pixels along each axis.

    Example:
        >>> both = Masks(np.array([1, 1, 0], bool), np.array([0, 1, 1], bool), (2.0,))
        >>> both.measure("dice", 1.0), both.measure("hd95", 1.0), both.measure("object_f1", 1.0)
        (0.5, 1.9, 1.0)
    """

    def __init__(self, reference: np.ndarray, prediction: np.ndarray, spacing_mm: tuple[float, ...]) -> None:
        self.reference = reference
        self.prediction = prediction
        self.spacing_mm = spacing_mm

    @cached_property
    def counts(self) -> Counts:
        """Pixels."""
        return Counts.of(self.reference, self.prediction)

    @cached_property
    def apart(self) -> tuple[np.ndarray, np.ndarray]:
        """Distances of each surface to the other, mm."""
        return distances(self.reference, self.prediction, spacing_mm=self.spacing_mm)

    @cached_property
    def objects(self) -> Detected:
        """Objects and their counterparts."""
        return match_objects(self.reference, self.prediction)

    def measure(self, metric: str, tolerance_mm: float) -> float:
        """One of ``OURS``; both masks have pixels.

        Args:
            metric: Its name.
            tolerance_mm: τ of NSD@τ.
        """
        if metric in FROM_COUNTS:
            return FROM_COUNTS[metric](self.counts)
        if metric in FROM_DISTANCES:
            return FROM_DISTANCES[metric](*self.apart, tolerance_mm)
        if metric in FROM_OBJECTS:
            return FROM_OBJECTS[metric](self.objects)
        return shared_lines(self.reference, self.prediction)
