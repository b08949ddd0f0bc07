"""Whether two sets of numbers are of one kind: two-sample tests, and how to ask many of them at once."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from scipy import stats
from scipy.spatial.distance import cdist

PERMUTATIONS = 99_999
_ENOUGH = {499: 0.1, 9_999: 0.01}
"""Permutations to the p value above which no more are made: whatever is below is told by all of them."""
_CHUNK = 500


def distribution_p(reference: np.ndarray, batch: np.ndarray, *, lower: bool = False) -> float:
    """The exact p value of the two-sample Kolmogorov-Smirnov test; ties make it too large, never too small.

    Above 10 000 numbers on a side, the asymptotic one.

    Args:
        reference: ``(N,)``.
        batch: ``(M,)``.
        lower: Whether only smaller numbers in the batch count (one-sided).

    Reference:
        Hodges, The significance probability of the Smirnov two-sample test, Arkiv för Matematik 3 (1958).

    Example:
        >>> round(distribution_p(np.arange(4), np.arange(4) + 9), 4)
        0.0286
        >>> distribution_p(np.arange(4), np.arange(4) + 9, lower=True)
        1.0
    """
    side = "greater" if lower else "two-sided"  # 'greater': of the distribution function
    return min(1.0, float(stats.ks_2samp(batch, reference, alternative=side, method="auto").pvalue))  # pyright: ignore[reportAttributeAccessIssue]


def least_p(reference: int, batch: int) -> float:
    """The smallest p value that ``distribution_p`` can give: every number of one set below all of the other.

    Args:
        reference: ``N``.
        batch: ``M``.

    Example:
        >>> round(least_p(4, 4), 4)
        0.0286
    """
    return min(1.0, 2 / math.comb(reference + batch, batch)) if min(reference, batch) else 1.0


def energy_p(
    reference: np.ndarray, batch: np.ndarray, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> float:
    """The p value of the energy test by permutation: exact for any distribution and any number of columns.

    Columns are brought to one spread over both sets together, which a permutation does not change.

    Args:
        reference: ``(N, D)``.
        batch: ``(M, D)``.
        permutations: At most this many; the p value is never below ``1 / (permutations + 1)``.
        seed: Of the permutations.

    Reference:
        Székely and Rizzo, Testing for equal distributions in high dimension, InterStat 2004; Phipson and
        Smyth, Permutation P-values should never be zero, 2010.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(40, 3))
        >>> energy_p(rows[:30], rows[30:]) > 0.05, energy_p(rows[:30], rows[30:] + 3)
        (True, 1e-05)
    """
    both = np.concatenate([reference, batch]).astype(np.float64)
    spread = both.std(axis=0)
    both = both[:, spread > 0] / spread[spread > 0]
    if not both.shape[1]:
        return 1.0
    distances, first, total = cdist(both, both), len(reference), len(both)
    weights = np.where(np.arange(total) < first, 1 / first, -1 / len(batch))
    observed = float(-weights @ distances @ weights)
    random = np.random.Generator(np.random.Philox(seed))
    reached = done = 0
    for until in sorted({*(count for count in _ENOUGH if count < permutations), permutations}):
        while done < until:
            rows = min(_CHUNK, until - done)
            drawn = weights[random.random((rows, total)).argsort(axis=1)]
            found = -((drawn @ distances) * drawn).sum(axis=1)
            reached += int((found >= observed - 1e-12 * distances.max()).sum())
            done += rows
        if (1 + reached) / (done + 1) > _ENOUGH.get(done, 1.0):
            break
    return (1 + reached) / (done + 1)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust p values for their number: the chance that any of those up to α is wrong is α at most.

    Args:
        p_values: By name; they may depend on one another in any way.

    Reference:
        Holm, A simple sequentially rejective multiple test procedure, Scand. Journal of Statistics 1979.

    Example:
        >>> {name: round(value, 3) for name, value in holm({"a": 0.01, "b": 0.04, "c": 0.03}).items()}
        {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    for place, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}
