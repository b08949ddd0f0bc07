"""Whether one model is worse than another by more than a margin: paired, one-sided, groups as the units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

ALPHA = 0.05
"""How often a model that is worse by exactly the margin may be taken for one that is not."""

POWER = 0.95
"""How often a model that is better must be found to be, with as many groups as are said to be needed."""

LEAST_GROUPS = 5
"""With fewer, all of them can come out one way by chance more often than ``ALPHA`` (1 / 2^4 is 0.06)."""

_MOST_GROUPS = 1_000_000


@dataclass(frozen=True)
class Margin:
    """How far one model may lie below another, as far as the cases can say.

    Args:
        mean: Mean difference, None where the two share no case.
        bound: Lower end of its one-sided interval (``1 − ALPHA``); None with fewer than ``LEAST_GROUPS``.
        groups: Groups with a case that both have a value for.
        needed: Groups with which the bound would lie above the margin in a share ``POWER`` of such sets, were
            mean and spread what they seem; None where no number would do, or there are fewer than two.
    """

    mean: float | None
    bound: float | None
    groups: int
    needed: int | None


def non_inferiority(
    one: Mapping[str, float], other: Mapping[str, float], groups: Mapping[str, str], *, margin: float
) -> Margin:
    """How far ``one`` may lie below ``other``, and how many groups it would take to say more.

    The interval is Student's, corrected for skewness by Hall's transformation: where a few cases fail
    altogether, the differences are skewed, and an uncorrected one lets a worse model pass too often.

    Args:
        one: Case id to a finite value.
        other: Likewise.
        groups: Case id to its group; two scans of one patient are not two observations.
        margin: How far below 0 the mean difference may lie, 0 or more.

    Reference:
        Hall, On the removal of skewness by transformation, Journal of the Royal Statistical Society B 54
        (1992); Zhou and Gao, One-sided confidence intervals for means of positively skewed distributions,
        The American Statistician 54 (2000).

    Example:
        >>> live = {str(n): 0.8 for n in range(9)}
        >>> candidate = {id: 0.81 + 0.01 * (int(id) % 3) for id in live}
        >>> found = non_inferiority(candidate, live, {id: id for id in live}, margin=0.01)
        >>> round(found.mean, 4), round(found.bound, 4), found.groups
        (0.02, 0.0146, 9)
    """
    values = group_values(one, other, groups)
    count = len(values)
    if not count:
        return Margin(None, None, 0, None)
    bound = lower_bound(values) if count >= LEAST_GROUPS else None
    return Margin(float(values.mean()), bound, count, groups_needed(values, margin=margin))


def group_values(
    one: Mapping[str, float], other: Mapping[str, float], groups: Mapping[str, str]
) -> np.ndarray:
    """One number per group, so that their mean is the mean difference over cases and their spread its own.

    With groups of one size these are the means of the groups; a larger group counts as much more as it has
    more cases.

    Args:
        one: Case id to a finite value.
        other: Likewise.
        groups: Case id to its group.

    Returns:
        ``(groups,)``.

    Reference:
        Cochran, Sampling Techniques (1977), section 6.3, the ratio estimator of clusters.

    Example:
        >>> one, other = {"a": 0.5, "b": 0.7, "c": 0.9}, dict.fromkeys("abc", 0.5)
        >>> group_values(one, other, {"a": "p", "b": "q", "c": "r"}).round(6).tolist()
        [0.0, 0.2, 0.4]
    """
    shared = [id for id in one if id in other]
    if not shared:
        return np.zeros(0)
    apart = np.array([one[id] - other[id] for id in shared])
    _, place = np.unique([groups[id] for id in shared], return_inverse=True)
    sums, counts = np.bincount(place, apart), np.bincount(place)
    mean = apart.mean()
    return mean + (sums - mean * counts) / counts.mean()


def lower_bound(values: np.ndarray, *, alpha: float = ALPHA) -> float:
    """The lower end of the one-sided interval of a mean, corrected for skewness.

    Args:
        values: ``(N,)``, independent.
        alpha: How often the mean may lie below.

    Example:
        >>> round(lower_bound(np.array([-2.0, -1.0, 0.0, 1.0, 2.0])), 4)
        -1.5074
    """
    count, spread = len(values), _spread(values)
    if not spread:
        return float(values.mean())
    quantile = float(stats.t.ppf(1 - alpha, count - 1))
    return float(values.mean()) - skewed(quantile, _skewness(values), count) * spread / math.sqrt(count)


def skewed(quantile: float, skewness: float, count: int) -> float:
    """The quantile of Student's statistic of skewed values, from that of symmetric ones.

    Args:
        quantile: Of the statistic that Hall's transformation makes symmetric.
        skewness: Of the values.
        count: How many.

    Example:
        >>> skewed(1.7, 0.0, 20), round(skewed(1.7, 2.0, 20), 3), round(skewed(1.7, -2.0, 20), 3)
        (1.7, 1.34, 2.744)
    """
    bend = skewness / math.sqrt(count)
    if abs(bend) < 1e-9:
        return quantile
    return 3 / bend * (float(np.cbrt(1 + bend * (quantile - bend / 6))) - 1)


def groups_needed(values: np.ndarray, *, margin: float) -> int | None:
    """With how many groups the bound would lie above the margin, were mean and spread what they seem.

    Args:
        values: One per group.
        margin: How far below 0 the mean may lie.

    Returns:
        At least ``LEAST_GROUPS``; None where the mean itself lies below the margin, or with one value.

    Example:
        >>> values = np.tile([-0.1, 0.1], 10) + 0.01
        >>> groups_needed(values, margin=0.01), groups_needed(values, margin=0.04)
        (287, 48)
    """
    if len(values) < 2 or float(values.mean()) <= -margin:
        return None
    spread, skewness, room = _spread(values), _skewness(values), float(values.mean()) + margin
    above = float(stats.norm.ppf(POWER))

    def enough(count: int) -> bool:
        quantile = skewed(float(stats.t.ppf(1 - ALPHA, count - 1)), skewness, count)
        return room * math.sqrt(count) >= (quantile + above) * spread

    most = LEAST_GROUPS
    while not enough(most):
        most *= 2
        if most > _MOST_GROUPS:
            return None
    least = max(LEAST_GROUPS - 1, most // 2 if most > LEAST_GROUPS else 0)
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if enough(middle) else (middle, most)
    return most


def unseen_share(groups: int) -> float:
    """The share of all groups that may have a kind of failure of which none among these has any.

    About ``3 / groups``. No test of a mean sees what is not in the sample, however it is computed.

    Args:
        groups: How many were looked at.

    Reference:
        Hanley and Lippman-Hand, If nothing goes wrong, is everything all right?, JAMA 249 (1983).

    Example:
        >>> round(unseen_share(60), 3)
        0.049
    """
    return 1 - ALPHA ** (1 / groups) if groups else 1.0


def more_often(one: Mapping[str, int], other: Mapping[str, int], groups: Mapping[str, str]) -> float:
    """The chance that ``one`` has more in as many groups, or more of them, were the two alike.

    Args:
        one: Case id to a count, such as objects missed.
        other: Likewise, of the same cases.
        groups: Case id to its group.

    Returns:
        The p value of the exact one-sided sign test over groups; 1 where no group differs.

    Reference:
        McNemar, Note on the sampling error of the difference between correlated proportions, Psychometrika 12
        (1947), exact, over groups.

    Example:
        >>> missed, before = dict.fromkeys("abcdef", 1), dict.fromkeys("abcdef", 0)
        >>> more_often(missed, before, {id: id for id in missed})
        0.015625
    """
    net: dict[str, int] = {}
    for id, count in one.items():
        net[groups[id]] = net.get(groups[id], 0) + count - other[id]
    up, moved = sum(value > 0 for value in net.values()), sum(value != 0 for value in net.values())
    return float(stats.binomtest(up, moved, 0.5, alternative="greater").pvalue) if moved else 1.0


def _spread(values: np.ndarray) -> float:
    """Standard deviation, 0 where the values are equal but for rounding."""
    spread = float(values.std(ddof=1))
    return spread if spread > 1e-12 else 0.0


def _skewness(values: np.ndarray) -> float:
    """Third standardised moment, 0 where the values are equal."""
    return float(stats.skew(values)) if _spread(values) else 0.0
