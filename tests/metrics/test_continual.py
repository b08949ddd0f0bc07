"""The four sums by hand and by a naive loop; intervals against those of the scores."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from unetkit.metrics.continual import Domain, Estimate, transfer
from unetkit.metrics.score import mean_interval


def square(size: int, *, cases: int = 12, seed: int = 0) -> list[Domain]:
    """As many stages as domains; domain ``j`` is learned at stage ``j``."""
    random = np.random.default_rng(seed)
    domains = []
    for learned in range(size):
        ids = [f"d{learned}-{n}" for n in range(cases)]
        stages = tuple(dict(zip(ids, random.uniform(0, 1, cases), strict=True)) for _ in range(size))
        bare = dict(zip(ids, random.uniform(0, 0.2, cases), strict=True))
        domains.append(Domain(learned, stages, {id: id[:4] for id in ids}, bare))
    return domains


def test_a_square_matrix_by_the_formulas_of_the_papers():
    domains = square(3)
    R = [[np.mean(list(domain.stages[i].values())) for domain in domains] for i in range(3)]
    b = [np.mean(list(domain.untrained.values())) for domain in domains]
    found = transfer(domains)
    for i, j in itertools.product(range(3), range(3)):
        assert found.matrix[i][j].value == pytest.approx(R[i][j])
    assert found.accuracy.value == pytest.approx(sum(R[2]) / 3)
    assert found.backward.value == pytest.approx(sum(R[2][j] - R[j][j] for j in range(2)) / 2)
    assert found.forward.value == pytest.approx(sum(R[j - 1][j] - b[j] for j in (1, 2)) / 2)
    assert found.forgetting.value == pytest.approx(
        sum(max(R[i][j] for i in range(2)) - R[2][j] for j in range(2)) / 2
    )
    for each in (found.accuracy, found.backward, found.forward, found.forgetting):
        assert each.low < each.value < each.high


def test_two_models_that_never_err_have_no_width():
    old = Domain(0, ({"a": 1.0, "b": 1.0}, {"a": 0.5, "b": 0.5}), {"a": "p", "b": "q"})
    new = Domain(1, ({"c": 0.25, "d": 0.25}, {"c": 1.0, "d": 1.0}), {"c": "p", "d": "q"})
    found = transfer([old, new])
    assert found.backward == Estimate(-0.5, -0.5, -0.5)
    assert found.forgetting == Estimate(0.5, 0.5, 0.5)
    assert found.accuracy == Estimate(0.75, 0.75, 0.75)
    assert found.forward == Estimate(None)  # nobody looked at an untrained network


def test_the_interval_of_a_cell_is_that_of_the_scores():
    domain = square(2, cases=60)[0]
    values = domain.stages[1]
    low, high = mean_interval(list(values.values()), [domain.groups[id] for id in values])
    cell = transfer([domain]).matrix[1][0]
    assert (cell.low, cell.high) == pytest.approx((low, high), abs=0.02)


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(3)
    hits = 0
    for trial in range(60):
        ids = [str(n) for n in range(40)]
        before, change = random.uniform(0.5, 0.9, 40), random.normal(-0.1, 0.1, 40)
        stages = (dict(zip(ids, before, strict=True)), dict(zip(ids, before + change, strict=True)))
        found = transfer([Domain(0, stages, {id: id for id in ids})], seed=trial).backward
        hits += found.low <= -0.1 <= found.high
    assert hits >= 51


def test_a_case_undefined_at_one_stage_still_counts_at_the_other():
    """A class that is in neither mask before, and is wrongly predicted after."""
    domain = Domain(0, ({"a": 0.8}, {"a": 0.8, "b": 0.0}), {"a": "p", "b": "q"})
    assert transfer([domain]).backward.value == pytest.approx(-0.4)


def test_one_group_has_no_interval_and_no_case_no_value():
    one = Domain(0, ({"a": 0.8, "b": 0.6}, {"a": 0.4, "b": 0.4}), {"a": "p", "b": "p"})
    assert transfer([one]).backward == Estimate(pytest.approx(-0.3))
    none = Domain(0, ({}, {}), {})
    assert transfer([none]).backward == Estimate(None)
