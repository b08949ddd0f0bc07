"""What a model kept and what it gained when it went on learning: the matrix R and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_RESAMPLES = 1000

Values = Mapping[str, float]
"""Case id to a finite score; a case in which the class is undefined is left out."""


@dataclass(frozen=True)
class Estimate:
    """A number with the 95 % interval of a bootstrap that resamples whole groups.

    Args:
        value: None where it is undefined.
        low: Lower end; None with fewer than two groups.
        high: Upper end; None likewise.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Domain:
    """One kind of data and how the model scored on it, stage by stage.

    Args:
        learned: The stage after which it had been trained on, counted from 0.
        stages: Its scores after each stage, by case.
        groups: Case id to its group.
        untrained: Scores of a network that has learned nothing, None where nobody looked.
    """

    learned: int
    stages: tuple[Values, ...]
    groups: Mapping[str, str]
    untrained: Values | None = None


@dataclass(frozen=True)
class Transfer:
    """The matrix and its four sums.

    Args:
        matrix: ``R[i][j]``: the score after stage ``i`` on domain ``j``.
        accuracy: ACC: the mean over domains after the last stage.
        backward: BWT: what domains gained (or, negative, lost) after they had been learned.
        forward: FWT: what a domain scored before it was learned, above an untrained network.
        forgetting: How far the last stage is below the best one before it, over domains learned before it.
    """

    matrix: tuple[tuple[Estimate, ...], ...]
    accuracy: Estimate
    backward: Estimate
    forward: Estimate
    forgetting: Estimate


def transfer(domains: Sequence[Domain], *, seed: int = 0) -> Transfer:
    """The matrix R, ACC, BWT, FWT and forgetting, each with its interval.

    Args:
        domains: In any order; all with the same number of stages.
        seed: Seed of the bootstrap.

    Reference:
        Lopez-Paz and Ranzato, Gradient Episodic Memory, NeurIPS 2017, equations 2 to 4 (with the last stage
        in place of the last task); Chaudhry et al., Riemannian Walk, ECCV 2018, equation 3, for forgetting.

    Example:
        >>> old = Domain(0, ({"a": 0.9}, {"a": 0.7}), {"a": "a"})
        >>> new = Domain(1, ({"b": 0.2}, {"b": 0.8}), {"b": "b"}, untrained={"b": 0.1})
        >>> found = transfer([old, new])
        >>> [round(each.value, 6) for each in (found.accuracy, found.backward, found.forward)]
        [0.75, -0.2, 0.1]
        >>> round(found.forgetting.value, 6)
        0.2
    """
    random = np.random.Generator(np.random.Philox(seed))
    means = [_means(domain, random) for domain in domains]  # (1 + resamples, stages + 1) each
    last = len(domains[0].stages) - 1
    older = [(domain, mean) for domain, mean in zip(domains, means, strict=True) if domain.learned < last]
    later = [(domain, mean) for domain, mean in zip(domains, means, strict=True) if domain.learned > 0]
    return Transfer(
        matrix=tuple(tuple(_estimate([mean[:, stage]]) for mean in means) for stage in range(last + 1)),
        accuracy=_estimate([mean[:, last] for mean in means]),
        backward=_estimate([mean[:, last] - mean[:, domain.learned] for domain, mean in older]),
        forward=_estimate([mean[:, domain.learned - 1] - mean[:, last + 1] for domain, mean in later]),
        forgetting=_estimate([mean[:, :last].max(axis=1) - mean[:, last] for _, mean in older]),
    )


def _means(domain: Domain, random: np.random.Generator) -> np.ndarray:
    """Mean score per stage, the untrained network's last: row 0 of all groups, the others resampled.

    Resampled rows are NaN where there are fewer than two groups; a column is where it has no value.
    """
    columns = [*domain.stages, domain.untrained or {}]
    ids = sorted({id for column in columns for id in column})
    names = sorted({domain.groups[id] for id in ids})
    place = {name: number for number, name in enumerate(names)}
    sums, counts = (np.zeros((len(names), len(columns))) for _ in range(2))
    for stage, column in enumerate(columns):
        for id, value in column.items():
            sums[place[domain.groups[id]], stage] += value
            counts[place[domain.groups[id]], stage] += 1
    times = np.ones((1 + _RESAMPLES, len(names)))
    if len(names) > 1:
        times[1:] = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=_RESAMPLES)
    total, count = times @ sums, times @ counts
    found = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    if len(names) < 2:
        found[1:] = np.nan
    return found


def _estimate(parts: Sequence[np.ndarray]) -> Estimate:
    """The mean of some rows ``(1 + resamples,)``: its value is the first, its interval from the others."""
    if not parts:
        return Estimate(None)
    mean = np.mean(parts, axis=0)
    if np.isnan(mean[0]):
        return Estimate(None)
    drawn = mean[1:][~np.isnan(mean[1:])]
    if not drawn.size:
        return Estimate(float(mean[0]))
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Estimate(float(mean[0]), float(low), float(high))
