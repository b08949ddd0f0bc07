"""Two-sample tests by counting every way of drawing, against scipy, and how often they are wrong."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from unetkit.metrics.drift import distribution_p, energy_p, holm, least_p


def farthest(one, other, *, lower):
    """The largest distance of two distribution functions, by a loop; ``lower``: ``other`` above ``one``."""
    apart = [
        np.mean(np.asarray(other) <= value) - np.mean(np.asarray(one) <= value) for value in (*one, *other)
    ]
    return max(apart) if lower else max(map(abs, apart))


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_p_value_counts_every_way_of_drawing(lower, seed):
    values = np.random.default_rng(seed).normal(size=9)
    values[6:] += 0.8 * (seed - 1)
    observed = farthest(values[:5], values[5:], lower=lower)
    ways = list(itertools.combinations(range(9), 5))
    reached = 0
    for chosen in ways:
        rest = [place for place in range(9) if place not in chosen]
        reached += farthest(values[list(chosen)], values[rest], lower=lower) >= observed - 1e-12
    found = distribution_p(values[:5], values[5:], lower=lower)
    assert found == pytest.approx(reached / len(ways), abs=1e-9)


def test_equal_sets_and_the_least_p():
    same = np.array([1.0, 1.0, 2.0, 3.0])
    assert distribution_p(same, same) == 1.0
    assert distribution_p(np.zeros(4), np.zeros(9)) == 1.0
    for first, second in ((3, 4), (10, 5), (20, 20)):
        found = distribution_p(np.arange(first), np.arange(second) + 100)
        assert found == pytest.approx(least_p(first, second))
    assert least_p(10, 0) == 1.0


def test_the_energy_test_ranks_the_distance_of_scipy_among_all_splits():
    values = np.array([0.1, 0.5, 1.3, 0.2, 2.4, 2.2, 3.1, 0.9])
    scaled = values / values.std()
    observed = stats.energy_distance(scaled[:4], scaled[4:])
    reached = 0
    for chosen in itertools.combinations(range(8), 4):
        rest = [place for place in range(8) if place not in chosen]
        reached += stats.energy_distance(scaled[list(chosen)], scaled[rest]) >= observed - 1e-9
    exact = reached / math.comb(8, 4)
    found = energy_p(values[:4, None], values[4:, None])
    assert found == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 499) ** 0.5)


def test_the_energy_test_is_as_often_wrong_as_it_says():
    random = np.random.default_rng(0)
    found = []
    for _ in range(300):
        rows = random.normal(size=(30, 3)) ** 3  # far from normal
        found.append(energy_p(rows[:20], rows[20:], permutations=199))
    share = np.mean(np.array(found) <= 0.05)
    assert 0.01 < share < 0.05 + 4 * (0.05 * 0.95 / 300) ** 0.5


def test_the_energy_test_sees_what_no_column_shows():
    random = np.random.default_rng(1)
    one = random.normal(size=(100, 1))
    reference = np.hstack([one, one + 0.1 * random.normal(size=(100, 1))])
    other = random.normal(size=(60, 1))
    turned = np.hstack([other, 0.1 * random.normal(size=(60, 1)) - other])
    assert min(distribution_p(reference[:, n], turned[:, n]) for n in range(2)) > 0.05
    assert energy_p(reference, turned) == 1e-5
    assert energy_p(np.ones((5, 2)), np.ones((4, 2))) == 1.0


def test_holm_by_its_definition():
    random = np.random.default_rng(2)
    for _ in range(50):
        p_values = {str(n): float(value) for n, value in enumerate(random.uniform(0, 0.1, 6))}
        adjusted = holm(p_values)
        for alpha in (0.01, 0.05, 0.2):
            rejected = set()
            for place, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
                if p_values[name] > alpha / (6 - place):
                    break
                rejected.add(name)
            assert {name for name, value in adjusted.items() if value <= alpha} == rejected
    assert holm({}) == {}
