"""Paired differences against scipy, against the bootstrap of the scores, and by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from unetkit.metrics.paired import Difference, difference, paired_values, signed_rank
from unetkit.metrics.score import mean_interval, summarise
from unetkit.records.scores import CaseScores


def test_the_exact_test_of_six_cases_by_counting_every_sign():
    differences = np.array([0.3, -0.1, 0.25, 0.4, 0.05, -0.2])
    ranks = np.argsort(np.argsort(np.abs(differences))) + 1
    seen = ranks[differences > 0].sum()
    middle = ranks.sum() / 2
    every = [
        sum(rank for rank, up in zip(ranks, signs, strict=True) if up)
        for signs in itertools.product((True, False), repeat=6)
    ]
    expected = np.mean([abs(total - middle) >= abs(seen - middle) - 1e-9 for total in every])
    assert signed_rank(differences) == pytest.approx(expected)


def test_it_is_scipys_and_zeros_are_left_out():
    random = np.random.default_rng(0)
    differences = random.normal(0.02, 0.1, 40)
    assert signed_rank(differences) == pytest.approx(stats.wilcoxon(differences).pvalue, rel=1e-9)
    assert signed_rank(np.concatenate([differences, np.zeros(5)])) == signed_rank(differences)
    assert signed_rank(np.zeros(7)) == 1.0


def test_equal_differences_share_their_ranks_and_the_test_stays_exact():
    for differences in ([0.1, 0.1, -0.1, 0.2, 0.2], [1, 1, 1], [-2, 1, 1, 2, 3, -3, 3], [0.5, -0.5]):
        moved = np.array(differences, float)
        ranks = stats.rankdata(np.abs(moved))
        signs = np.array(list(itertools.product((0, 1), repeat=len(moved))))
        every, seen = signs @ ranks, ranks[moved > 0].sum()
        expected = min(1, 2 * min((every <= seen).mean(), (every >= seen).mean()))
        assert signed_rank(moved) == pytest.approx(expected)


def test_many_cases_are_scipys_normal_distribution():
    differences = np.random.default_rng(3).normal(0.02, 0.1, 80)
    assert signed_rank(differences) == stats.wilcoxon(differences).pvalue


def test_swapping_the_two_turns_the_sign_and_keeps_p():
    random = np.random.default_rng(1)
    ids = [f"case{number}" for number in range(20)]
    one, other = (dict(zip(ids, random.uniform(0.5, 1, 20), strict=True)) for _ in range(2))
    groups = {id: id[:5] for id in ids}
    forth, back = difference(one, other, groups), difference(other, one, groups)
    assert forth.mean == pytest.approx(-back.mean)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))
    assert forth.p_value == back.p_value
    assert forth.low < forth.mean < forth.high


def test_only_shared_cases_count():
    groups = {"a": "p", "b": "q", "c": "q"}
    found = difference({"a": 1.0, "b": 0.5}, {"b": 0.25, "c": 1.0}, groups)
    assert (found.mean, found.cases, found.low) == (0.25, 1, None)
    assert difference({"a": 1.0}, {"c": 1.0}, groups) == Difference(None, None, None, None, 0)
    assert difference({"a": 1.0}, {"a": 1.0}, groups).p_value == 1.0


def test_the_interval_of_independent_cases_is_near_scipys():
    values = np.random.default_rng(2).normal(0.7, 0.1, 60)
    ours = mean_interval(values.tolist(), [str(number) for number in range(60)])
    theirs = stats.bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(0))
    assert ours == pytest.approx(tuple(theirs.confidence_interval), abs=0.006)
    assert mean_interval([0.5, 0.7], ["a", "a"]) is None


def scored(rows, *, classes=("x", "y"), metric="dice"):
    cases = [
        CaseScores(
            id=id, group=id, values={name: {metric: value} for name, value in zip(classes, row, strict=True)}
        )
        for id, row in rows.items()
    ]
    return summarise(cases, classes=classes, metrics=(metric,), tolerance_mm=1.0, split="unknown")


def test_what_is_undefined_is_the_best_value_where_another_has_one():
    one, other = scored({"a": (None, 0.5), "b": (None, None)}), scored({"a": (0.0, 0.5), "c": (0.25, None)})
    assert paired_values((one, other), ("x", "y"), "dice") == ({"a": 0.75}, {"a": 0.25, "c": 0.25})
    assert paired_values((one, other), ("y",), "dice") == ({"a": 0.5}, {"a": 0.5})
    far = [scored({"a": (value, None)}, metric="hd95") for value in (None, 9.0)]
    assert paired_values(far, ("x",), "hd95") == ({"a": 0.0}, {"a": 9.0})


def test_no_value_is_made_up_of_a_stranger_or_of_a_class_that_a_model_has_not():
    odd = [scored({"a": (value, None)}, metric="mine") for value in (None, 9.0)]
    assert paired_values(odd, ("x",), "mine") == ({}, {"a": 9.0})
    less = scored({"a": (0.5,)}, classes=("x",))
    assert paired_values((less, scored({"a": (0.5, 0.25)})), ("x", "y"), "dice") == ({"a": 0.5}, {"a": 0.375})
