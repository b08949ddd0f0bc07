"""Pairwise Dice of readers, against scikit-learn and by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import f1_score

from unetkit.metrics.agreement import case_agreement, mean_agreement

RNG = np.random.default_rng(0)
MARKS = RNG.integers(0, 16, (6, 7, 8)).astype(np.uint8)
PREDICTION = RNG.integers(0, 2, MARKS.shape)
CONSENSUS = (MARKS > 7).astype(np.uint8)


def test_pairs_equal_scikit_learns_f1():
    each = [(MARKS >> reader & 1).reshape(-1) for reader in range(4)]
    flat = PREDICTION.reshape(-1)
    expected = (
        np.mean([f1_score(one, other) for one, other in itertools.combinations(each, 2)]),
        np.mean([f1_score(one, flat) for one in each]),
        f1_score(CONSENSUS.reshape(-1), flat),
    )
    assert case_agreement(4, MARKS, CONSENSUS, PREDICTION) == pytest.approx(expected)


def test_a_reader_who_marked_nothing_disagrees_and_two_of_them_are_undefined():
    marks = np.array([1, 1, 0], np.uint8)
    among, model, consensus = case_agreement(3, marks, np.array([0, 0, 0]), np.array([1, 1, 0]))
    assert among == 0  # 0 with 1 and 0 with 2; the pair 1, 2 marked nothing and has no Dice
    assert model == pytest.approx(1 / 3)
    assert consensus == 0
    assert case_agreement(2, marks * 0, marks * 0, marks * 0) == (None, None, None)


def test_what_is_not_known_does_not_count():
    marks, known = np.array([3, 1, 2], np.uint8), np.array([True, False, False])
    assert case_agreement(2, marks, marks > 0, marks > 0, known) == (1, 1, 1)


def test_means_are_over_the_cases_where_they_are_defined():
    assert mean_agreement([]) is None
    found = mean_agreement([(0.5, None, 1.0), (1.0, None, None)])
    assert found is not None
    assert (found.cases, found.among, found.model, found.consensus) == (2, 0.75, None, 1.0)
