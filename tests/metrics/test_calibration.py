"""Calibration against scikit-learn, a naive loop and by hand."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from unetkit.errors import DataError
from unetkit.metrics.calibration import calibration, calibration_error, pooled


def softmax(rng, classes, shape):
    logits = np.exp(rng.normal(size=(classes, *shape)))
    return (logits / logits.sum(axis=0)).astype(np.float32)


def test_by_hand():
    sure = np.array([[0.95, 0.85, 0.55, 1.0], [0.05, 0.15, 0.45, 0.0]])
    rows = calibration(sure, np.array([0, 1, 0, 0]), bins=10)
    assert rows[5] == (0.55, 1.0, 1)
    assert rows[8] == (0.85, 0.0, 1)
    assert rows[9] == (pytest.approx(0.975), 1.0, 2)
    assert rows[0] == (0.0, 0.0, 0)
    assert calibration_error(rows) == pytest.approx((0.45 + 0.85 + 2 * 0.025) / 4)
    assert calibration_error([(0.0, 0.0, 0)]) is None


def test_equal_to_scikit_learn():
    rng = np.random.default_rng(0)
    probabilities, reference = softmax(rng, 4, (30, 20)), rng.integers(0, 4, (30, 20))
    rows = [row for row in calibration(probabilities, reference) if row[2]]
    right = probabilities.argmax(axis=0) == reference
    share, confidence = calibration_curve(right.ravel(), probabilities.max(axis=0).ravel(), n_bins=15)
    np.testing.assert_allclose([row[0] for row in rows], confidence, rtol=1e-6)
    np.testing.assert_allclose([row[1] for row in rows], share)


def test_cases_add_up_and_unknown_pixels_do_not_count():
    rng = np.random.default_rng(1)
    probabilities, reference = softmax(rng, 3, (8, 9, 10)), rng.integers(0, 3, (8, 9, 10))
    known = rng.random((8, 9, 10)) > 0.3
    whole = calibration(probabilities, np.where(known, reference, 255), known)
    first = calibration(probabilities[:, :3], reference[:3], known[:3])
    both = calibration(probabilities[:, 3:], reference[3:], known[3:], before=first)
    np.testing.assert_allclose(both, whole, rtol=1e-12)
    assert sum(row[2] for row in whole) == known.sum()


def test_error_equals_a_naive_loop():
    rng = np.random.default_rng(2)
    probabilities, reference = softmax(rng, 2, (400,)), rng.integers(0, 2, 400)
    sure, right = probabilities.max(axis=0), probabilities.argmax(axis=0) == reference
    expected = 0.0
    for number in range(15):
        inside = (sure >= number / 15) & ((sure < (number + 1) / 15) | (number == 14))
        if inside.any():
            expected += inside.mean() * abs(sure[inside].mean() - right[inside].mean())
    assert calibration_error(calibration(probabilities, reference)) == pytest.approx(expected, abs=1e-6)


def test_wrong_shapes_are_refused():
    with pytest.raises(DataError, match=r"expected probabilities \(K, \*\(3,\)\), got \(2, 4\)"):
        calibration(np.zeros((2, 4)), np.zeros(3, int))
    with pytest.raises(DataError, match="expected rows of 15 bins, got 1"):
        calibration(np.zeros((2, 3)), np.zeros(3, int), before=[(0.0, 0.0, 0)])


def test_parts_pooled_are_the_whole():
    """Cases in one go, and in two parts that know nothing of one another."""
    random = np.random.default_rng(3)
    cases = []
    for size in (50, 7, 300):
        shares = random.dirichlet(np.ones(3), size=size).T
        cases.append((shares, random.integers(0, 3, size)))
    whole = ()
    for shares, reference in cases:
        whole = calibration(shares, reference, before=whole)
    first = calibration(*cases[1], before=calibration(*cases[0]))
    found = pooled([first, (), calibration(*cases[2])])
    np.testing.assert_allclose(found, whole)
    assert [row[2] for row in found] == [row[2] for row in whole]
    assert pooled([]) == ()
    with pytest.raises(DataError, match="expected rows of as many bins each"):
        pooled([calibration(*cases[0], bins=3), calibration(*cases[1], bins=4)])
