"""FROC: how many objects are found at how many false alarms per image, from probability maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from unetkit.errors import DataError
from unetkit.spatial.regions import components

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False alarms per image at which the curve is read, as in LUNA16."""
LEAST_PROBABILITY = 0.1
"""Where a candidate ends: below, neighbouring objects would run together."""

Point = tuple[float, float]
"""False alarms per image, share of the reference objects found."""


@dataclass(frozen=True)
class Candidates:
    """What one class's probabilities suggest in one case.

    Args:
        found: Per reference object the highest score of a candidate that touches it, 0 for none, ``(n,)``.
        wrong: Scores of the candidates that touch no object, ``(m,)``.
    """

    found: np.ndarray
    wrong: np.ndarray


def candidates(
    probability: np.ndarray,
    reference: np.ndarray,
    known: np.ndarray | None = None,
    *,
    least: float = LEAST_PROBABILITY,
) -> Candidates:
    """Find the candidates of one class: connected pieces from ``least`` up, scored by their highest value.

    Args:
        probability: ``(*S)`` of the class.
        reference: ``(*S)`` bool.
        known: ``(*S)`` bool, False where the reference says nothing: background in both there.
        least: Probability at which a candidate ends.

    Raises:
        DataError: Shapes differ.

    Example:
        >>> row = candidates(np.array([0.9, 0.2, 0.0, 0.6, 0.0]), np.array([0, 1, 0, 0, 1], bool))
        >>> row.found.tolist(), row.wrong.tolist()
        ([0.9, 0.0], [0.6])
    """
    if probability.shape != reference.shape:
        raise DataError(
            f"expected probabilities of shape {reference.shape} like the reference, got {probability.shape}",
            cure="compare on the grid of the reference",
        )
    inside = probability >= least
    if known is not None:
        inside, reference = inside & known, reference & known
    objects, n = components(reference)
    numbered, m = components(inside)
    scores = np.asarray(ndimage.maximum(probability, numbered, np.arange(1, m + 1))) if m else np.zeros(0)
    both = (objects > 0) & (numbered > 0)
    found = np.zeros(n)
    np.maximum.at(found, objects[both] - 1, scores[numbered[both] - 1])
    hit = np.zeros(m, bool)
    hit[numbered[both] - 1] = True
    return Candidates(found, scores[~hit])


def froc(cases: Sequence[Candidates], *, rates: Sequence[float] = RATES) -> tuple[Point, ...]:
    """Read the FROC curve of several cases.

    At each rate the lowest score is taken as threshold with which no more false alarms per image remain.

    Args:
        cases: One class, case by case.
        rates: False alarms per image.

    Returns:
        One point per rate; none where no case has an object. The mean over ``RATES`` is LUNA16's score.

    Reference:
        Bunch et al., A free-response approach to the measurement and characterization of
        radiographic-observer performance, 1978; Setio et al., LUNA16, Medical Image Analysis 42 (2017).

    Example:
        >>> froc([Candidates(np.array([0.9, 0.3]), np.array([0.6, 0.2]))], rates=[0.0, 1.0])
        ((0.0, 0.5), (1.0, 1.0))
    """
    found = np.concatenate([case.found for case in cases]) if cases else np.zeros(0)
    if not found.size:
        return ()
    wrong = np.sort(np.concatenate([case.wrong for case in cases]))[::-1]
    points = []
    for rate in rates:
        allowed = int(rate * len(cases) + 1e-9)
        # what scores as high as the first false alarm too many goes with it
        above = wrong[allowed] if allowed < wrong.size else 0.0
        points.append((float(rate), float(np.mean(found > above))))
    return tuple(points)
