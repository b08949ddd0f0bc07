"""Resampling equals scipy's spline; boxes and shapes by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from unetkit.spatial.grid import (
    nonzero_box,
    resample,
    resample_label,
    resampled_shape,
    spline_matrix,
)
from unetkit.spatial.regions import cut


def scipys(channel, shape, order):
    zoom = [new / old for new, old in zip(shape, channel.shape, strict=True)]
    return ndimage.zoom(channel.astype(np.float64), zoom, order=order, mode="nearest", grid_mode=True)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("old", "new"),
    [((17, 23), (30, 11)), ((200, 9), (150, 9)), ((7, 12, 20), (14, 5, 33)), ((1, 5, 4), (3, 5, 9))],
)
def test_resample_equals_scipy(old, new, order):
    array = np.random.default_rng(3).normal(size=(2, *old))
    ours = resample(array, new, order=order)
    assert ours.dtype == np.float32
    for channel, mine in zip(array, ours, strict=True):
        np.testing.assert_allclose(mine, scipys(channel, new, order), atol=5e-6)


@given(old=st.integers(1, 300), new=st.integers(1, 300), order=st.sampled_from([0, 1, 3]))
@settings(deadline=None, max_examples=25)
def test_one_axis_equals_scipy_at_any_length(old, new, order):
    line = np.random.default_rng(old).normal(size=old)
    np.testing.assert_allclose(
        resample(line[None], (new,), order=order)[0], scipys(line, (new,), order), atol=5e-6
    )


def test_resample_keeps_a_ramp_inside_and_the_same_shape_bit_for_bit():
    ramp = np.arange(100, dtype=np.float32)[None]
    there_and_back = resample(resample(ramp, (200,), order=1), (100,), order=1)
    np.testing.assert_allclose(there_and_back[0, 2:-2], ramp[0, 2:-2], atol=1e-4)
    assert np.array_equal(resample(ramp, (100,), order=3), ramp)


def test_separate_axis_repeats_slices():
    array = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    ours = resample(array, (6, 12, 12), order=3, separate_axis=0)
    for plane in range(6):
        np.testing.assert_allclose(ours[0, plane], scipys(array[0, plane // 2], (12, 12), 3), atol=5e-6)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize(("old", "new"), [((20, 31), (33, 17)), ((9, 14, 11), (5, 20, 22))])
def test_labels_equal_one_hot_and_argmax(old, new, order):
    coarse = np.random.default_rng(1).integers(0, 4, size=[-(-n // 4) for n in old]) * 3
    label = coarse.repeat(4, 0).repeat(4, 1)
    label = (label.repeat(4, 2) if len(old) == 3 else label)[tuple(slice(n) for n in old)].astype(np.uint16)
    values = np.unique(label)
    hot = np.stack([scipys(label == value, new, order) for value in values])
    ours = resample_label(label, new, order=order)
    assert ours.dtype == np.uint16
    top = np.sort(hot, axis=0)
    clear = top[-1] - top[-2] > 1e-5
    assert clear.mean() > 0.9
    assert np.array_equal(ours[clear], values[hot.argmax(0)][clear])


def test_labels_are_copied_unchanged_and_one_class_stays_one():
    label = np.array([[1, 2], [3, 0]], np.uint8)
    same = resample_label(label, (2, 2))
    assert np.array_equal(same, label)
    assert same is not label
    assert np.array_equal(resample_label(np.full((3, 3), 5, np.uint8), (2, 7)), np.full((2, 7), 5))
    assert resample_label(np.zeros((0,), np.uint8), (2,)).tolist() == [0, 0]


def test_resampled_shape_rounds_half_to_even_and_never_to_nothing():
    assert resampled_shape((5, 7), (1.0, 1.0), (2.0, 2.0)) == (2, 4)
    assert resampled_shape((1, 100), (0.1, 1.0), (1.0, 0.5)) == (1, 200)
    assert resampled_shape((9, 100), (4.0, 1.0), (0.0, 0.5)) == (9, 200)


@pytest.mark.parametrize("rank", [2, 3])
def test_nonzero_box_and_crop(rank):
    pixels = np.zeros((2, *(9,) * rank), np.int16)
    pixels[(0, *(2,) * rank)] = -3
    pixels[(1, *(6,) * rank)] = 1
    box = nonzero_box(pixels)
    assert box == ((2, 7),) * rank
    assert cut(pixels, box).shape == (2, *(5,) * rank)
    assert np.shares_memory(cut(pixels, box), pixels)
    assert nonzero_box(np.zeros((1, 3, 4))) == ((0, 3), (0, 4))


def test_control_points_never_leave_their_range_and_weights_add_up_to_one():
    weights = spline_matrix(np.linspace(0, 5, 41), 6, order=3, exact=False)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(1), 1)
    np.testing.assert_allclose(spline_matrix(np.arange(6.0), 6, order=3), np.eye(6), atol=1e-12)
