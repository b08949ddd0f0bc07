"""Two models on the same cases: the mean difference, its interval, and whether it could be chance."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from unetkit.metrics import LOWER_IS_BETTER, METRICS
from unetkit.metrics.score import mean_interval
from unetkit.records.scores import CaseScores, Scores

_EXACT = 50


@dataclass(frozen=True)
class Difference:
    """One model against another, case by case.

    Args:
        mean: Mean of the differences, None where the two share no case.
        low: Lower end of its 95 % bootstrap interval (groups resampled), None with fewer than two groups.
        high: Upper end, None likewise.
        p_value: Of the two-sided Wilcoxon signed-rank test, None where the two share no case.
        cases: Cases that both have a value for.
    """

    mean: float | None
    low: float | None
    high: float | None
    p_value: float | None
    cases: int


def difference(
    one: Mapping[str, float], other: Mapping[str, float], groups: Mapping[str, str], *, seed: int = 0
) -> Difference:
    """How far ``one`` is above ``other`` on the cases that both have.

    Args:
        one: Case id to a finite value.
        other: Likewise.
        groups: Case id to its group.
        seed: Seed of the bootstrap.

    Reference:
        Wilcoxon, Individual Comparisons by Ranking Methods, Biometrics Bulletin 1 (1945). Cases without a
        difference are left out of its ranks; where none is left, p is 1.

    Example:
        >>> difference({"a": 0.9, "b": 0.8}, {"a": 0.7, "b": 0.8}, {"a": "a", "b": "b"}).mean
        0.1
    """
    shared = [id for id in one if id in other]
    if not shared:
        return Difference(None, None, None, None, 0)
    apart = np.array([one[id] - other[id] for id in shared])
    ends = mean_interval(apart.tolist(), [groups[id] for id in shared], seed=seed)
    low, high = ends or (None, None)
    return Difference(round(float(apart.mean()), 12), low, high, signed_rank(apart), len(shared))


def paired_values(
    scored: Sequence[Scores], names: Sequence[str], metric: str
) -> tuple[dict[str, float], ...]:
    """A metric of several models in such a way that they can be compared case by case.

    A class that is not there and was not found either has no value. Where another of the models finds it in
    the same case, that is an error which has to count: the undefined value is then taken as the best one.
    Else whoever sees things on empty images would be compared on the other images alone.

    Args:
        scored: The models' scores; a case that one was not scored on is not in its table.
        names: Classes.
        metric: Which metric; of one that another package added the best value is not known, and what is
            undefined is left out.

    Returns:
        One table per model, case id → mean over the classes that any of them has a value for.

    Example:
        >>> from unetkit.metrics.score import score_case, summarise
        >>> nothing, spot = np.zeros((3, 3), int), np.eye(3, dtype=int)
        >>> cases = [score_case("a", "p", nothing, found, classes=["x"], spacing_mm=(1, 1))
        ...     for found in (nothing, spot)]
        >>> scored = [summarise([case], classes=["x"], metrics=["dice"], tolerance_mm=1.0, split="unknown")
        ...     for case in cases]
        >>> paired_values(scored, ["x"], "dice")
        ({'a': 1.0}, {'a': 0.0})
    """
    best = None if metric not in METRICS else 0.0 if metric in LOWER_IS_BETTER else 1.0
    tables = [
        {
            case.id: {name: value for name in names if (value := _value(case, name, metric)) is not None}
            for case in one.cases
        }
        for one in scored
    ]
    known: dict[str, set[str]] = {}
    for table in tables:
        for id, row in table.items():
            known.setdefault(id, set()).update(row)
    found: list[dict[str, float]] = []
    for one, table in zip(scored, tables, strict=True):
        stand_in = dict.fromkeys(one.classes, best)
        filled = {
            id: [row.get(name, stand_in.get(name)) for name in names if name in known[id]]
            for id, row in table.items()
        }
        defined = {id: [value for value in row if value is not None] for id, row in filled.items()}
        found.append({id: statistics.fmean(row) for id, row in defined.items() if row})
    return tuple(found)


def _value(case: CaseScores, name: str, metric: str) -> float | None:
    return case.values.get(name, {}).get(metric)


def signed_rank(differences: np.ndarray) -> float:
    """The p value of the two-sided Wilcoxon signed-rank test; 1 where every difference is 0.

    Exact for up to 50 differences, equal ones among them too: every sum of ranks is counted, where scipy
    draws all signs one by one or takes a normal distribution for it.

    Args:
        differences: ``(N,)``.

    Example:
        >>> signed_rank(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
        0.0625
    """
    moved = differences[differences != 0]
    if not moved.size:
        return 1.0
    if moved.size > _EXACT:
        _, p_value = stats.wilcoxon(moved)
        return float(p_value)  # pyright: ignore[reportArgumentType] - scipy's stubs say object
    ranks = np.rint(2 * stats.rankdata(np.abs(moved))).astype(int)  # doubled: equal ones share a half rank
    ways = np.zeros(ranks.sum() + 1)
    ways[0] = 1
    for rank in ranks:
        ways[rank:] = ways[rank:] + ways[:-rank]
    found = ranks[moved > 0].sum()
    tail = min(ways[: found + 1].sum(), ways[found:].sum()) / 2.0**moved.size
    return min(1.0, 2 * float(tail))
