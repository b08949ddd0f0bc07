"""Tiles cover, and their weights add up to 1."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from unetkit.spatial.tiles import Tiling, frame, gaussian, starts, weights

axes = some.lists(some.tuples(some.integers(1, 24), some.integers(1, 16)), min_size=1, max_size=3)
overlaps = some.floats(0.0, 0.9)


@settings(max_examples=60, deadline=None)
@given(axes, overlaps)
def test_weights_of_all_tiles_add_up_to_one_at_every_pixel(axes, overlap):
    shape, tile = zip(*axes, strict=True)
    total = np.zeros(shape)
    tiling = Tiling.over(shape, tile, overlap)
    for box, weight in tiling.weighted_boxes():
        assert weight.dtype == np.float32
        assert weight.shape == tiling.tile
        assert np.all(weight > 0)
        total[box] += weight
    np.testing.assert_allclose(total, 1, rtol=0, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(some.integers(1, 200), some.integers(1, 64), overlaps)
def test_starts_cover_the_axis_in_order_without_repeats(length, tile, overlap):
    first = starts(length, tile, overlap)
    size = min(tile, length)
    assert first[0] == 0
    assert first[-1] + size == length
    assert list(first) == sorted(set(first))
    assert all(later - earlier <= size for earlier, later in pairwise(first))


def naive_starts(length, tile, step):
    """nnU-Net's compute_steps_for_sliding_window for one axis, written from the paper's supplement."""
    count = math.ceil((length - tile) / (tile * step)) + 1
    if count == 1:
        return [0]
    actual = (length - tile) / (count - 1)
    return [round(actual * i) for i in range(count)]


@pytest.mark.parametrize("length", [8, 9, 15, 16, 17, 100, 333])
def test_starts_at_half_overlap_are_those_of_nnunet(length):
    assert list(starts(length, 8, 0.5)) == naive_starts(length, 8, 0.5)


def test_starts_by_hand():
    assert starts(10, 4, 0.0) == (0, 3, 6)  # ceil(6 / 4) + 1 = 3 tiles, 3 apart
    assert starts(8, 4, 0.0) == (0, 4)
    assert starts(4, 4, 0.5) == (0,)
    assert starts(1, 4, 0.5) == (0,)
    assert starts(5, 1, 0.9) == (0, 1, 2, 3, 4)


def test_gaussian_by_hand():
    # length 4: centre 1.5, sigma 0.5: exp(-½·(1.5/0.5)²) = exp(-4.5), exp(-½·(0.5/0.5)²) = exp(-0.5)
    expected = [math.exp(-4.5), math.exp(-0.5), math.exp(-0.5), math.exp(-4.5)]
    np.testing.assert_allclose(gaussian(4), expected, rtol=1e-15)


def test_weights_equal_a_count_map_and_a_division():
    first = starts(21, 8, 0.5)
    values = np.random.default_rng(0).normal(size=(len(first), 8))
    top, bottom = np.zeros(21), np.zeros(21)
    ours = np.zeros(21)
    for start, value, weight in zip(first, values, weights(21, 8, first), strict=True):
        top[start : start + 8] += value * gaussian(8)
        bottom[start : start + 8] += gaussian(8)
        ours[start : start + 8] += value * weight
    np.testing.assert_allclose(ours, top / bottom, atol=1e-6)


def test_one_tile_has_weight_exactly_one():
    ((_, weight),) = Tiling.over((5, 3), (8, 8), 0.5).weighted_boxes()
    assert np.array_equal(weight, np.ones((5, 3), np.float32))


@given(
    some.lists(some.tuples(some.integers(1, 12), some.integers(1, 6)), min_size=1, max_size=3),
    some.floats(0, 0.9),
)
def test_lone_pixels_are_those_that_one_tile_covers_and_weigh_one(sizes, overlap):
    shape, tile = zip(*sizes, strict=True)
    tiling = Tiling.over(shape, tile, overlap)
    covered = np.zeros(shape, int)
    for box in tiling.boxes:
        covered[box] += 1
    for (box, weight), lone in zip(tiling.weighted_boxes(), tiling.lone_boxes(), strict=True):
        alone = np.zeros(weight.shape, bool)
        alone[lone] = True
        np.testing.assert_array_equal(alone, covered[box] == 1)
        assert (weight[alone] == 1).all()


@given(some.lists(some.tuples(*[some.integers(0, 6)] * 3).map(sorted), min_size=1, max_size=3))
def test_a_frame_and_what_it_goes_round_are_the_whole(sides):
    shape = tuple(high for *_, high in sides)
    inner = tuple(slice(start, stop) for start, stop, _ in sides)
    seen = np.zeros(shape, int)
    for box in frame(shape, inner):
        seen[box] += 1
    seen[inner] += 1
    assert (seen == 1).all()
