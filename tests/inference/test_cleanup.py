"""Cleaning up predictions, and how the least size of an object is found."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from unetkit.inference.cleanup import LEAST_GAIN, believable, cleaned, objects

PICTURE = np.array(
    [
        [1, 1, 0, 2, 0],
        [0, 0, 1, 0, 2],
        [0, 0, 0, 0, 0],
        [1, 0, 2, 0, 1],
    ],
    np.uint8,
)
MASKS = arrays(np.uint8, (6, 7), elements=st.integers(0, 2))


def test_objects_below_their_minimum_go():
    expected = PICTURE.copy()
    expected[3, 2] = 0
    assert np.array_equal(cleaned(PICTURE, (1, 2)), expected)
    assert cleaned(PICTURE, (4, 3)).sum() == 0


def test_nothing_is_done_unless_asked_and_a_class_beyond_the_end_needs_nothing():
    kept = PICTURE.copy()
    assert cleaned(PICTURE, ()) is PICTURE
    assert cleaned(PICTURE, (0, 1)) is PICTURE
    assert np.array_equal(cleaned(PICTURE, (9,)), np.where(PICTURE == 1, 0, PICTURE))
    assert np.array_equal(kept, PICTURE)


@pytest.mark.parametrize("shape", [(30, 30), (12, 12, 12)])
def test_agrees_with_a_naive_loop(shape):
    labels = (np.random.default_rng(0).random(shape) < 0.25).astype(np.uint16)
    numbered, count = ndimage.label(labels, np.ones((3,) * len(shape)))
    expected = np.zeros_like(labels)
    for index in range(1, count + 1):
        if (numbered == index).sum() >= 3:
            expected[numbered == index] = 1
    found = cleaned(labels, (3,))
    assert found.dtype == np.uint16
    assert np.array_equal(found, expected)


@settings(max_examples=60, deadline=None)
@given(MASKS, MASKS, arrays(bool, (6, 7)), st.integers(0, 8), st.booleans())
def test_dice_of_the_objects_is_dice_of_the_cleaned_mask(labels, reference, known, least, largest):
    for row, index in zip(objects(labels, reference, known, classes=3), (1, 2), strict=True):
        kept = (cleaned(labels, (least, least), (largest, largest)) == index) & known
        actual = (reference == index) & known
        both = int(kept.sum() + actual.sum())
        expected = 2 * int((kept & actual).sum()) / both if both else None
        assert row.dice(least, largest=largest) == (pytest.approx(expected) if both else None)


def cases(specks: int, blobs: int) -> list:
    """``specks`` cases of one wrong pixel, ``blobs`` cases of a right object of 9 and a wrong pixel."""
    speck, blob, empty = np.zeros((3, 8, 8), np.uint8)
    speck[1, 1] = 1
    blob[3:6, 3:6] = 1
    rows = [objects(speck, empty, None, classes=2)[0]] * specks
    return rows + [objects(blob | speck, blob, None, classes=2)[0]] * blobs


def test_the_smallest_size_that_takes_the_specks_is_found():
    found = believable(cases(5, 5))
    assert (found.pixels, found.cases) == (9, 10)
    assert found.before == pytest.approx((18 / 19) / 2)
    assert found.after == 1.0


def test_true_small_objects_keep_every_object():
    speck, empty = np.zeros((2, 8, 8), np.uint8)
    speck[1, 1] = 1
    right = [objects(speck, speck, None, classes=2)[0]] * 9
    wrong = [objects(speck, empty, None, classes=2)[0]]
    # without the specks the case without the class is undefined, and the nine others are missed
    assert believable(right + wrong).pixels == 0


def test_a_size_that_fits_one_case_alone_is_not_asked_for():
    """The mean is best without the object of 30 pixels of one odd case, but not by a standard error."""
    speck, blob, odd, empty = np.zeros((4, 12, 12), np.uint8)
    speck[0, 0] = 1
    blob[2:10, 2:10] = 1
    odd[2:8, 2:7] = 1
    rows = [objects(blob | speck, blob, None, classes=2)[0]] * 6
    rows += [objects(speck, empty, None, classes=2)[0]] * 6
    rows += [objects(odd, empty, None, classes=2)[0]]
    found = believable(rows)
    assert found.pixels == 30
    assert found.after < 1.0  # the odd one stays


def test_few_cases_or_a_small_gain_change_nothing():
    assert believable(cases(4, 4)).pixels == 0
    large, near = np.zeros((2, 40, 40), np.uint8)
    large[5:35, 5:35] = 1
    near[:] = large
    near[0, 0] = 1
    row = objects(near, large, None, classes=2)[0]
    found = believable([row] * 6)
    assert 0 < 1 - found.before < LEAST_GAIN
    assert found.pixels == 0
    assert believable([]).pixels == 0


def test_only_the_largest_stays_where_it_is_asked_for():
    expected = PICTURE.copy()
    expected[3, [0, 4]] = 0
    assert np.array_equal(cleaned(PICTURE, (), (True, False)), expected)
    assert np.array_equal(cleaned(PICTURE, (), (True,)), expected)
    expected[3, 2] = 0
    assert np.array_equal(cleaned(PICTURE, (), (True, True)), expected)
    assert cleaned(PICTURE, (9,), (True,)).max() == 2
    assert not (cleaned(PICTURE, (9,), (True,)) == 1).any()
    assert cleaned(PICTURE, (), (False, False)) is PICTURE


def test_of_equal_objects_the_first_stays():
    assert cleaned(np.array([0, 1, 0, 1, 0, 1], np.uint8), (), (True,)).tolist() == [0, 1, 0, 0, 0, 0]


def blob_and(*extras: tuple[int, int], true: int = 6) -> object:
    """A right object of ``true`` squared pixels, and wrong ones of these heights and widths beside it."""
    right = np.zeros((30, 60), np.uint8)
    right[2 : 2 + true, 2 : 2 + true] = 1
    found = right.copy()
    for number, (height, width) in enumerate(extras):
        found[20 : 20 + height, 12 * number : 12 * number + width] = 1
    return objects(found, right, None, classes=2)[0]


def test_one_object_is_believed_where_no_size_tells_right_from_wrong():
    # in one case the wrong object is larger than the right one of another case: a size would cost that one
    rows = [blob_and((5, 5), true=6), blob_and((4, 4), true=5), blob_and((3, 3), true=4)] * 2
    rule = believable(rows)
    assert rule.largest
    assert rule.pixels == 0
    assert rule.after == 1.0
    assert rule.before < 0.8


def test_a_size_is_preferred_to_one_object_where_both_help():
    rule = believable([blob_and((2, 2))] * 6)
    assert (rule.largest, rule.pixels, rule.after) == (False, 36, 1.0)


def test_true_second_objects_are_kept():
    two = np.zeros((12, 12), np.uint8)
    two[1:5, 1:5] = two[7:10, 7:10] = 1
    assert not believable([objects(two, two, None, classes=2)[0]] * 8).largest
