"""The bound against scipy, the paper's transformation and known populations; the counts by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from unetkit.metrics.noninferiority import (
    LEAST_GROUPS,
    POWER,
    Margin,
    group_values,
    groups_needed,
    lower_bound,
    more_often,
    non_inferiority,
    skewed,
    unseen_share,
)


def failing(random, count, *, share=0.05, loss=0.7):
    """Differences of two models alike but for a few cases in which one of them fails, of mean 0."""
    values = random.normal(0, 0.02, count) - loss * (random.random(count) < share)
    return values + share * loss


def test_without_skewness_it_is_students_interval():
    half = np.random.default_rng(0).normal(0, 0.1, 10)
    values = 0.02 + np.concatenate([half, -half])
    theirs = stats.ttest_1samp(values, 0, alternative="greater").confidence_interval(0.95).low
    assert lower_bound(values) == pytest.approx(theirs, abs=1e-12)
    assert lower_bound(np.full(7, 0.3)) == pytest.approx(0.3)


@pytest.mark.parametrize("skewness", [-3.0, -0.4, 1e-12, 0.7, 2.5])
@pytest.mark.parametrize("count", [5, 40, 1000])
def test_the_quantile_undoes_halls_transformation(skewness, count):
    quantile, bend = 1.7, skewness / math.sqrt(count)
    t = float(skewed(quantile, np.array(skewness), count))
    transformed = t + bend * t**2 / 3 + bend**2 * t**3 / 27 + bend / 6  # Hall (1992), equation 2.2
    assert transformed == pytest.approx(quantile, abs=1e-6)


def test_where_cases_fail_it_errs_no_more_often_than_it_says_and_students_does():
    values = failing(np.random.default_rng(0), (2000, 60))
    ours = np.mean(lower_bound(values) > 0)
    students = values.mean(1) - stats.t.ppf(0.95, 59) * values.std(1, ddof=1) / math.sqrt(60)
    assert ours < 0.08 < np.mean(students > 0)


def test_the_mean_of_the_groups_values_is_that_of_the_cases_and_copies_tell_nothing():
    random = np.random.default_rng(1)
    one = {f"c{n}": random.uniform() for n in range(30)}
    other = {id: random.uniform() for id in [*one, "more"]}
    groups = {id: f"g{int(id[1:]) % 7}" for id in one} | {"more": "g9"}
    values = group_values(one, other, groups)
    assert len(values) == 7
    assert values.mean() == pytest.approx(np.mean([one[id] - other[id] for id in one]))
    alone = {id: id for id in one}
    twice = [{f"{id}{copy}": value for id, value in each.items() for copy in "ab"} for each in (one, other)]
    again = group_values(twice[0], twice[1], {f"{id}{copy}": id for id in other for copy in "ab"})
    assert sorted(again) == pytest.approx(sorted(group_values(one, other, alone)))


def test_groups_of_one_size_are_their_means():
    one = {"a": 0.9, "b": 0.7, "c": 0.4, "d": 0.2}
    other = dict.fromkeys(one, 0.1)
    values = group_values(one, other, {"a": "p", "b": "p", "c": "q", "d": "q"})
    assert values == pytest.approx([0.7, 0.2])


@pytest.mark.parametrize(("truth", "loss"), [(0.0, 0.1), (0.03, 0.3), (0.03, -0.3)])
def test_with_as_many_groups_as_are_needed_a_better_model_is_found(truth, loss):
    random = np.random.default_rng(2)
    needed = groups_needed(truth + failing(random, 4000, loss=loss), margin=0.01)
    assert needed is not None
    found, half = (
        np.mean(lower_bound(truth + failing(random, (1000, count), loss=loss)) >= -0.01)
        for count in (needed, needed // 2)
    )
    assert found > POWER - 0.03
    assert half < POWER - 0.03


def test_how_many_by_hand():
    """For many symmetric values it is the textbook's ((z_α + z_β) · spread / room)², but for chance."""
    values = np.tile([-0.1, 0.1], 500)
    textbook = ((stats.norm.ppf(0.95) + stats.norm.ppf(POWER)) * 0.1 / 0.01) ** 2
    assert groups_needed(values, margin=0.01) == pytest.approx(textbook, rel=0.15)
    assert groups_needed(np.array([0.1, 0.1001]), margin=0.0) == LEAST_GROUPS
    assert groups_needed(values - 0.02, margin=0.01) is None
    assert groups_needed(values - 0.00999, margin=0.01) is None  # a million
    assert groups_needed(np.array([0.1]), margin=0.01) is None


def test_too_few_groups_have_no_bound():
    ids = [f"c{n}" for n in range(LEAST_GROUPS)]
    one, other = dict.fromkeys(ids, 0.8), dict.fromkeys(ids, 0.5)
    found = non_inferiority(one, other, {id: id for id in ids}, margin=0.01)
    assert (found.bound, found.groups, found.needed) == (pytest.approx(0.3), LEAST_GROUPS, None)
    found = non_inferiority(one, other, {id: id[:-1] + "x" if id in ids[:2] else id for id in ids}, margin=0)
    assert (found.bound, found.groups, found.needed) == (None, LEAST_GROUPS - 1, LEAST_GROUPS)
    assert non_inferiority(one, {}, {}, margin=0.01) == Margin(None, None, 0, None)


def test_the_sign_test_by_counting_every_outcome():
    groups = {f"c{n}": f"g{n % 8}" for n in range(16)}
    one = dict.fromkeys(groups, 0) | {"c0": 2, "c1": 1, "c2": 1, "c3": 1, "c9": 1}
    other = dict.fromkeys(groups, 0) | {"c4": 1, "c8": 1, "c10": 1}
    # by group: 0 up (2 − 1), 1 up (1 + 1), 2 even (1 − 1), 3 up, 4 down
    every = [sum(signs) for signs in itertools.product((0, 1), repeat=4)]
    assert more_often(one, other, groups) == pytest.approx(np.mean([ups >= 3 for ups in every]))
    assert more_often(one, one, groups) == 1.0


def test_what_no_group_shows_by_the_binomial():
    for groups in (1, 12, 100):
        assert stats.binom.cdf(0, groups, unseen_share(groups)) == pytest.approx(0.05)
    assert unseen_share(300) == pytest.approx(3 / 300, rel=0.02)
    assert unseen_share(0) == 1.0
