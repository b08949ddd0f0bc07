"""Objects matched by brute force, by hand, and properties that a count of objects must have."""

import itertools

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import ndimage

from unetkit.errors import UsageError
from unetkit.metrics.objects import by_size, match_objects, object_f1, object_precision, object_recall
from unetkit.records.scores import CaseObjects

quick = settings(deadline=None, max_examples=60)
pairs = hnp.arrays(bool, st.tuples(st.just(2), st.integers(1, 6), st.integers(1, 7)))


def objects_of(mask):
    numbered, count = ndimage.label(mask, np.ones((3, 3)))
    return [numbered == index for index in range(1, count + 1)]


def naive_pairs(reference, prediction, least):
    """The best of all assignments: most pairs first, then the largest sum of IoU."""
    mine, theirs = objects_of(reference), objects_of(prediction)
    turned = len(mine) > len(theirs)
    short, long = (theirs, mine) if turned else (mine, theirs)
    best = (0, 0.0)
    for chosen in itertools.permutations(range(len(long)), len(short)):
        ious = [(a & long[j]).sum() / (a | long[j]).sum() for a, j in zip(short, chosen, strict=True)]
        ious = [iou for iou in ious if iou >= least]
        best = max(best, (len(ious), sum(ious)))
    return best[0], len(mine), len(theirs)


@quick
@given(pairs, st.sampled_from([0.1, 0.34, 0.5, 0.9]))
def test_one_to_one_equals_the_best_of_all_assignments(pair, least):
    count, n, m = naive_pairs(*pair, least)
    found = match_objects(*pair, least=least)
    assert (found.found.sum(), found.found.size, found.right.sum(), found.right.size) == (count, n, count, m)
    assert sorted(found.reference) == sorted(one.sum() for one in objects_of(pair[0]))


@quick
@given(pairs, st.sampled_from([0.0, 0.5, 1.0]))
def test_overlap_equals_a_naive_loop(pair, least):
    reference, prediction = pair
    found = match_objects(reference, prediction, matching="overlap", least=least)

    def hits(objects, other):
        return [bool((one & other).any() and (one & other).sum() >= least * one.sum()) for one in objects]

    assert found.found.tolist() == hits(objects_of(reference), prediction)
    assert found.right.tolist() == hits(objects_of(prediction), reference)


def row(*blocks, length=40):
    mask = np.zeros((3, length), bool)
    for start, stop in blocks:
        mask[1, start:stop] = True
    return mask


def test_by_hand():
    truth = row((0, 4), (10, 14), (20, 22))
    found = row((0, 4), (11, 15), (30, 33), (36, 38))
    assert object_recall(truth, found) == pytest.approx(2 / 3)
    assert object_precision(truth, found) == 0.5
    assert object_f1(truth, found) == pytest.approx(4 / 7)
    strict = match_objects(truth, found, least=0.7)
    assert (strict.recall, strict.precision) == (pytest.approx(1 / 3), 0.25)


def test_a_prediction_of_everything_finds_one_object_not_all():
    truth = row((0, 10), (12, 20), (22, 30))
    everything = np.ones_like(truth)
    assert match_objects(truth, everything).found.sum() == 0
    assert match_objects(truth, row((0, 30))).found.sum() == 1
    assert match_objects(truth, everything, matching="overlap", least=0).recall == 1


def test_more_pairs_are_worth_more_than_better_ones():
    truth, found = row((0, 6), (7, 10)), row((0, 1), (2, 10))
    # the long prediction lies best on the first object, but then the second object has none
    assert match_objects(truth, found, least=0.1).found.all()


@quick
@given(pairs, st.integers(0, 100))
def test_removing_a_wrong_object_never_lowers_precision_or_f1(pair, pick):
    reference, prediction = pair
    before = match_objects(reference, prediction)
    wrong = np.flatnonzero(~before.right)
    if not wrong.size:
        return
    gone = prediction & ~objects_of(prediction)[wrong[pick % wrong.size]]
    after = match_objects(reference, gone)
    assert after.precision >= before.precision
    assert after.recall == before.recall
    assert after.f1 >= before.f1


@quick
@given(pairs)
def test_mirrored_images_and_swapped_masks(pair):
    reference, prediction = pair
    found = match_objects(reference, prediction)
    turned = match_objects(reference[:, ::-1], prediction[:, ::-1])
    swapped = match_objects(prediction, reference)
    assert found.f1 == turned.f1 == swapped.f1
    assert (found.recall, found.precision) == (swapped.precision, swapped.recall)
    if reference.any():
        assert object_f1(reference, reference) == 1


def test_empty_masks_take_the_worst_value_or_none():
    some, empty = row((0, 3)), row()
    for metric in (object_recall, object_precision, object_f1):
        assert metric(some, empty) == metric(empty, some) == 0
        assert metric(empty, empty) is None


def test_objects_of_three_axes_are_connected_over_corners():
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[3, 3, 3] = True
    assert match_objects(mask, mask).reference.tolist() == [2, 1]


def test_sizes_are_counted_in_what_a_pixel_is():
    found = match_objects(row((0, 4), (10, 12)), row((0, 4), (20, 23))).sized(0.5)
    assert found == CaseObjects(found=(2.0,), missed=(1.0,), right=(2.0,), wrong=(1.5,))


def test_bins_pool_every_object_once():
    cases = [
        CaseObjects(found=(10.0, 100.0), missed=(1.0, 2.0), right=(11.0, 90.0), wrong=(3.0,)),
        CaseObjects(missed=(20.0,), wrong=(1.0, 200.0)),
        CaseObjects(),
    ]
    rows = by_size(cases, edges=[5.0, 50.0])
    told = [(one.least, one.most, one.found, one.reference, one.right, one.prediction) for one in rows]
    assert told == [
        (0.0, None, 2, 5, 2, 5), (0.0, 5.0, 0, 2, 0, 2), (5.0, 50.0, 1, 2, 1, 1), (50.0, None, 1, 1, 1, 2),
    ]  # fmt: skip
    assert (rows[0].recall, rows[0].precision) == (0.4, 0.4)
    assert rows[0].f1 == pytest.approx(0.4)
    assert rows[1].f1 == 0
    own = by_size(cases)
    assert [one.least for one in own] == [0.0, 0.0, 4.7, 17.0]  # terciles of 1 2 10 20 100, two digits
    assert sum(one.reference for one in own[1:]) == own[0].reference


def test_nothing_to_pool():
    (one,) = by_size([CaseObjects()])
    assert (one.recall, one.precision, one.f1) == (None, None, None)
    assert len(by_size([CaseObjects(found=(4.0, 4.0))])) == 1


@pytest.mark.parametrize(("matching", "least"), [("iou", 0.0), ("iou", 1.5), ("overlap", -0.1)])
def test_a_threshold_that_is_none_is_refused(matching, least):
    with pytest.raises(UsageError, match=rf"expected a least {matching} above 0 and up to 1, got {least}"):
        match_objects(row(), row(), matching=matching, least=least)
