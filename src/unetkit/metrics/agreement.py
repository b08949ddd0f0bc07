"""How far several readers agree with one another, and a prediction with each of them and their consensus."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from unetkit.metrics.overlap import dice
from unetkit.records.scores import ReaderAgreement

CaseAgreement = tuple[float | None, float | None, float | None]
"""Dice among readers, of the prediction against each of them, and against the consensus; None: undefined."""


def case_agreement(
    readers: int,
    marks: np.ndarray,
    consensus: np.ndarray,
    prediction: np.ndarray,
    known: np.ndarray | None = None,
) -> CaseAgreement:
    """The agreement in one case, each a mean over the pairs of which at least one marked something.

    Args:
        readers: How many people read the case, those who marked nothing included.
        marks: ``(*S)`` unsigned, bit k where reader k marked a pixel.
        consensus: ``(*S)`` class ids; what is above 0 is the object.
        prediction: ``(*S)`` class ids.
        known: ``(*S)`` bool, False where the label says nothing; None: all known.

    Reference:
        Zijdenbos et al., Morphometric Analysis of White Matter Lesions in MR Images, IEEE TMI 13 (1994).

    Example:
        >>> marks = np.array([0b01, 0b11, 0b10, 0])
        >>> case_agreement(2, marks, np.array([1, 1, 1, 0]), np.array([0, 1, 0, 0]))[:2]
        (0.5, 0.6666666666666666)
    """
    seen = np.ones(marks.shape, bool) if known is None else known
    each = [((marks >> reader) & 1).astype(bool) & seen for reader in range(readers)]
    found = (prediction > 0) & seen
    return (
        _mean(dice(one, other) for one, other in itertools.combinations(each, 2)),
        _mean(dice(one, found) for one in each),
        dice((consensus > 0) & seen, found),
    )


def mean_agreement(cases: Sequence[CaseAgreement]) -> ReaderAgreement | None:
    """The agreement over cases.

    Args:
        cases: One row for each case that has readers.

    Returns:
        Means over the cases in which each is defined; None without a case.
    """
    if not cases:
        return None
    among, model, consensus = (_mean(column) for column in zip(*cases, strict=True))
    return ReaderAgreement(cases=len(cases), among=among, model=model, consensus=consensus)


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean of what is defined."""
    kept = [value for value in values if value is not None]
    return sum(kept) / len(kept) if kept else None
