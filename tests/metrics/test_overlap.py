"""Overlap metrics against scikit-learn and by hand."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from unetkit.errors import DataError
from unetkit.metrics import LOWER_IS_BETTER, METRICS, STANDARD, overlap
from unetkit.metrics.convention import worst

quick = settings(deadline=None, max_examples=60)
pairs = hnp.arrays(bool, st.tuples(st.just(2), st.integers(1, 6), st.integers(1, 6)))
TWINS = {"dice": f1_score, "iou": jaccard_score, "precision": precision_score, "recall": recall_score}


@pytest.mark.parametrize("name", TWINS)
@quick
@given(pairs)
def test_equal_to_scikit_learn(name, pair):
    reference, prediction = pair
    value = getattr(overlap, name)(reference, prediction)
    if not pair.any():
        assert value is None
    else:
        assert value == pytest.approx(TWINS[name](reference.ravel(), prediction.ravel(), zero_division=0.0))


def test_by_hand():
    reference = np.array([[1, 1, 1, 1], [0, 0, 0, 0]], bool)
    prediction = np.array([[0, 0, 1, 1], [1, 0, 0, 0]], bool)
    assert overlap.dice(reference, prediction) == 4 / 7
    assert overlap.iou(reference, prediction) == 2 / 5
    assert overlap.precision(reference, prediction) == 2 / 3
    assert overlap.recall(reference, prediction) == 0.5
    assert overlap.volume_error(reference, prediction) == 0.25


@quick
@given(pairs)
def test_bounds_symmetry_and_identity(pair):
    first, second = pair
    for name in ("dice", "iou", "volume_error"):
        metric = getattr(overlap, name)
        assert metric(first, second) == metric(second, first)
    assert overlap.precision(first, second) == overlap.recall(second, first)
    if first.any():
        assert overlap.dice(first, first) == overlap.iou(first, first) == 1
        assert overlap.volume_error(first, first) == 0
        shared, united = overlap.dice(first, second), overlap.iou(first, second)
        assert shared is not None
        assert united is not None
        assert shared == pytest.approx(2 * united / (1 + united))


@pytest.mark.parametrize("name", ["dice", "iou", "precision", "recall", "volume_error"])
def test_convention_for_empty_masks(name):
    metric, empty, some = getattr(overlap, name), np.zeros((3, 3), bool), np.eye(3, dtype=bool)
    assert metric(some, empty) == metric(empty, some) == worst(name, (3, 3), (1.0, 1.0))
    assert metric(empty, empty) is None
    assert worst(name, (3, 3), (1.0, 1.0)) == float(name in LOWER_IS_BETTER)


def test_a_too_large_prediction_is_never_worse_than_none():
    reference = np.zeros(100, bool)
    reference[0] = True
    everything = overlap.volume_error(reference, np.ones(100, bool))
    assert everything == 0.99
    assert everything < overlap.volume_error(reference, np.zeros(100, bool))


def test_whole_numbers_are_taken_as_masks():
    assert overlap.dice(np.array([0, 255]), np.array([0, 1])) == 1


def test_shapes_must_agree_instead_of_broadcasting():
    with pytest.raises(DataError, match=r"expected a prediction of shape \(2, 3\) like the reference, got"):
        overlap.dice(np.ones((2, 3), bool), np.ones((1, 3), bool))


def test_every_row_of_the_table_is_there():
    assert list(METRICS) == [
        *STANDARD, "object_recall", "object_precision", "object_f1", "cldice",
    ]  # fmt: skip
    assert STANDARD == ("dice", "iou", "precision", "recall", "hd95", "assd", "nsd", "volume_error")
