"""FROC against a search over all thresholds, and by hand."""

import numpy as np
import pytest

from unetkit.errors import DataError
from unetkit.metrics.froc import RATES, Candidates, candidates, froc


def test_candidates_by_hand():
    probability = np.zeros((6, 12))
    probability[1, 1:4] = (0.2, 0.8, 0.3)
    probability[4, 2] = 0.05  # too little for a candidate
    probability[1, 8:10] = (0.4, 0.6)
    probability[5, 11] = 0.9
    reference = np.zeros((6, 12), bool)
    reference[1:3, 2] = reference[4, 2] = True
    reference[2, 8] = True  # touches no pixel of the candidate above it
    reference[1, 9] = True  # at a corner of it: one object, and the candidate lies on it
    row = candidates(probability, reference)
    assert row.found.tolist() == [0.8, 0.6, 0.0]
    assert row.wrong.tolist() == [0.9]
    known = np.ones((6, 12), bool)
    known[5] = False
    assert candidates(probability, reference, known).wrong.tolist() == []
    assert candidates(0 * probability, reference).found.tolist() == [0, 0, 0]


@pytest.mark.parametrize("seed", range(5))
def test_equals_a_search_over_all_thresholds(seed):
    rng = np.random.default_rng(seed)
    cases = [
        Candidates(rng.choice([0, 0.2, 0.4, 0.6, 0.9], rng.integers(0, 5)), rng.random(rng.integers(0, 6)))
        for _ in range(7)
    ]
    found = np.concatenate([case.found for case in cases])
    wrong = np.concatenate([case.wrong for case in cases])
    for rate, share in froc(cases):
        fits = [t for t in (0.0, *found, *wrong) if (wrong > t).sum() <= rate * len(cases)]
        assert share == pytest.approx(max((found > t).mean() for t in fits))


def test_the_curve_rises_and_a_false_alarm_less_never_lowers_it():
    rng = np.random.default_rng(9)
    cases = [Candidates(rng.random(4), rng.random(9)) for _ in range(6)]
    curve = froc(cases)
    shares = [share for _, share in curve]
    assert [rate for rate, _ in curve] == list(RATES)
    assert shares == sorted(shares)
    fewer = [Candidates(cases[0].found, cases[0].wrong[1:]), *cases[1:]]
    assert all(new >= old for (_, new), old in zip(froc(fewer), shares, strict=True))


def test_no_object_no_curve_and_shapes_must_agree():
    assert froc([Candidates(np.zeros(0), np.ones(3))]) == froc([]) == ()
    with pytest.raises(DataError, match=r"expected probabilities of shape \(2, 2\) like the reference, got"):
        candidates(np.zeros((2, 3)), np.zeros((2, 2), bool))
