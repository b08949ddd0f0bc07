"""Whether one model is worse than another by more than a margin: paired, one-sided, groups as the units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

ALPHA = 0.05
"""How often a model that is worse by exactly the margin may be taken for one that is not."""

POWER = 0.95
"""How often a model that is better must be found to be, with as many groups as are said to be needed."""

LEAST_GROUPS = 5
"""With fewer, all of them can come out one way by chance more often than ``ALPHA`` (1 / 2^4 is 0.06)."""

MOST_GROUPS = 5_000
"""More are not counted: nobody has so many."""

_SETS = 400
_ROUNDING = 1e-24
"""Variance below which values are equal but for rounding."""


@dataclass(frozen=True)
class Margin:
    """How far one model may lie below another, as far as the cases can say.

    Args:
        mean: Mean difference, None where the two share no case.
        bound: Lower end of its one-sided interval (``1 − ALPHA``); None with fewer than ``LEAST_GROUPS``.
        groups: Groups with a case that both have a value for.
        needed: Groups with which the bound would lie above the margin in a share ``POWER`` of sets like this
            one; None where it does already, or no number up to ``MOST_GROUPS`` would do.
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
    bound = float(lower_bound(values)) if count >= LEAST_GROUPS else None
    shown = bound is not None and bound >= -margin
    needed = None if shown else groups_needed(values, margin=margin)
    return Margin(float(values.mean()), bound, count, needed)


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


def lower_bound(values: np.ndarray, *, alpha: float = ALPHA) -> np.ndarray:
    """The lower end of the one-sided interval of a mean, corrected for skewness.

    Args:
        values: ``(…, N)``, independent along the last axis, at least two.
        alpha: How often the mean may lie below.

    Returns:
        ``(…)``.

    Example:
        >>> lower_bound(np.array([-2.0, -1.0, 0.0, 1.0, 2.0])).round(4)
        np.float64(-1.5074)
    """
    count, mean = values.shape[-1], values.mean(axis=-1)
    apart = values - mean[..., None]
    variance = (apart**2).mean(axis=-1)
    equal = variance < _ROUNDING  # there is no skewness then, and the mean is the bound
    skewness = (apart**3).mean(axis=-1) / np.where(equal, 1.0, variance) ** 1.5
    quantile = skewed(special.stdtrit(count - 1, 1 - alpha), np.where(equal, 0.0, skewness), count)
    return mean - np.where(equal, 0.0, quantile * np.sqrt(variance / (count - 1)))


def skewed(quantile: float, skewness: np.ndarray, count: int) -> np.ndarray:
    """The quantile of Student's statistic of skewed values, from that of symmetric ones.

    Args:
        quantile: Of the statistic that Hall's transformation makes symmetric.
        skewness: Of the values; any shape.
        count: How many values.

    Returns:
        As many as there are skewnesses.

    Example:
        >>> skewed(1.7, np.array([0.0, 2.0, -2.0]), 20).round(3).tolist()
        [1.7, 1.34, 2.744]
    """
    bend = skewness / np.sqrt(count)
    straight = np.abs(bend) < 1e-9
    bend = np.where(straight, 1.0, bend)
    return np.where(straight, quantile, 3 / bend * (np.cbrt(1 + bend * (quantile - bend / 6)) - 1))


def groups_needed(values: np.ndarray, *, margin: float, seed: int = 0) -> int | None:
    """With about how many groups the bound would lie above the margin, were all groups like these.

    Sets of one size are drawn from the values: the least size of which a share ``POWER`` shows it.

    Args:
        values: One per group.
        margin: How far below 0 the mean may lie.
        seed: Of the draws.

    Returns:
        At least ``LEAST_GROUPS``, two digits; None where the mean itself lies below the margin, more than
        ``MOST_GROUPS`` are needed, or there is one value alone.

    Reference:
        Efron & Tibshirani, An Introduction to the Bootstrap (1993), section 25.5, on power.

    Example:
        >>> values = np.tile([-0.1, 0.1], 10) + 0.01
        >>> groups_needed(values, margin=0.01), groups_needed(values, margin=0.04)
        (300, 40)
    """
    room = float(values.mean()) + margin if len(values) > 1 else 0.0
    if room <= 0:
        return None
    textbook = ((special.ndtri(1 - ALPHA) + special.ndtri(POWER)) * float(values.std()) / room) ** 2

    def enough(count: int) -> bool:
        random = np.random.Generator(np.random.Philox(seed))
        drawn = values[random.integers(len(values), size=(_SETS, count))]
        return bool((lower_bound(drawn) >= -margin).mean() >= POWER)

    few, many = LEAST_GROUPS - 1, int(min(max(LEAST_GROUPS, textbook / 16), MOST_GROUPS))
    while not enough(many):
        if many == MOST_GROUPS:
            return None
        few, many = many, min(2 * many, MOST_GROUPS)
    while many - few > max(1, many // 20):
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    return _rounded(many)


def _rounded(count: int) -> int:
    """Up to two digits."""
    step = 10 ** max(0, math.floor(math.log10(count)) - 1)
    return math.ceil(count / step) * step


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
