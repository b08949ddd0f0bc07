"""Cleaning up predictions."""

import numpy as np
import pytest
from scipy import ndimage

from unetkit.inference.cleanup import cleaned

PICTURE = np.array(
    [
        [1, 1, 0, 2, 0],
        [0, 0, 1, 0, 2],
        [0, 0, 0, 0, 0],
        [1, 0, 2, 0, 1],
    ],
    np.uint8,
)


def test_only_the_largest_object_of_the_named_classes_stays():
    expected = PICTURE.copy()
    expected[3, 0] = expected[3, 4] = 0  # the 3 pixels at the top touch at a corner
    assert np.array_equal(cleaned(PICTURE, largest_only=(1,)), expected)


def test_objects_below_their_minimum_go():
    expected = PICTURE.copy()
    expected[3, 2] = 0
    assert np.array_equal(cleaned(PICTURE, minimum_pixels={2: 2, 1: 1}), expected)
    assert cleaned(PICTURE, minimum_pixels={1: 4, 2: 3}).sum() == 0


def test_nothing_is_done_unless_asked_and_an_absent_class_is_no_problem():
    kept = PICTURE.copy()
    assert np.array_equal(cleaned(PICTURE), PICTURE)
    assert np.array_equal(cleaned(PICTURE, largest_only=(7,), minimum_pixels={9: 5}), PICTURE)
    assert np.array_equal(kept, PICTURE)


@pytest.mark.parametrize("shape", [(30, 30), (12, 12, 12)])
def test_agrees_with_a_naive_loop(shape):
    labels = (np.random.default_rng(0).random(shape) < 0.25).astype(np.uint16)
    numbered, count = ndimage.label(labels, np.ones((3,) * len(shape)))
    expected = np.zeros_like(labels)
    for index in range(1, count + 1):
        if (numbered == index).sum() >= 3:
            expected[numbered == index] = 1
    found = cleaned(labels, minimum_pixels={1: 3})
    assert found.dtype == np.uint16
    assert np.array_equal(found, expected)
