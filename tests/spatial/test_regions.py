"""Regions against scipy, naive loops and hand-worked cases."""

import itertools
import math

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import ndimage

from unetkit.spatial import regions

quick = settings(deadline=None, max_examples=60)
masks = hnp.arrays(bool, hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=7))


def naive_surface(mask):
    marked = np.zeros_like(mask)
    for index in np.ndindex(mask.shape):
        for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
            there = list(index)
            there[axis] += step
            outside = not 0 <= there[axis] < mask.shape[axis]
            if mask[index] and (outside or not mask[tuple(there)]):
                marked[index] = True
    return marked


def naive_directed(start, goal, spacing):
    return [
        min(math.dist(np.multiply(p, spacing), np.multiply(q, spacing)) for q in np.argwhere(goal))
        for p in np.argwhere(start)
    ]


@quick
@given(masks)
def test_surface_is_what_the_definition_says(mask):
    np.testing.assert_array_equal(regions.surface(mask), naive_surface(mask))
    np.testing.assert_array_equal(regions.surface(mask), mask & ~ndimage.binary_erosion(mask))


def test_surface_of_a_solid_block_is_its_hull_also_at_the_image_border():
    assert regions.surface(np.ones((4, 5, 6), bool)).sum() == 4 * 5 * 6 - 2 * 3 * 4
    assert regions.surface(np.zeros((3, 3), bool)).sum() == 0


@quick
@given(
    hnp.arrays(
        bool,
        st.tuples(st.just(2), st.integers(1, 6), st.integers(1, 6), st.integers(1, 4)),
    ),
    st.tuples(*[st.sampled_from([0.1, 0.7, 1.0, 5.0])] * 3),
)
def test_distances_equal_a_naive_loop(pair, spacing):
    first, second = pair
    if not (first.any() and second.any()):
        return
    there, back = regions.distances(first, second, spacing_mm=spacing)
    mine, other = naive_surface(first), naive_surface(second)
    np.testing.assert_allclose(there, naive_directed(mine, other, spacing), rtol=1e-12)
    np.testing.assert_allclose(back, naive_directed(other, mine, spacing), rtol=1e-12)


@pytest.mark.parametrize("way", ["near and tree", "tree alone", "transform"])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (5.0, 0.8, 0.8), (100.0, 0.01, 0.01)])
def test_every_way_to_a_distance_gives_the_same(way, spacing, monkeypatch):
    if way != "near and tree":
        monkeypatch.setattr(regions, "_NEAR_STEPS", 1)
    monkeypatch.setattr(regions, "_TRANSFORM_PIXELS_PER_POINT", 1e9 if way == "transform" else 0)
    rng = np.random.default_rng(3)
    soft = [ndimage.gaussian_filter(rng.normal(size=(20, 24, 28)), 2) for _ in range(2)]
    first, second = soft[0] > 0.1, soft[1] > 0.15
    there, back = regions.distances(first, second, spacing_mm=spacing)
    mine, other = regions.surface(first), regions.surface(second)
    to_other = ndimage.distance_transform_edt(~other, sampling=spacing)
    to_mine = ndimage.distance_transform_edt(~mine, sampling=spacing)
    np.testing.assert_allclose(there, to_other[mine], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(back, to_mine[other], rtol=1e-9, atol=1e-12)


def test_distances_on_a_single_axis_and_across_the_whole_image():
    first, second = np.zeros(300, bool), np.zeros(300, bool)
    first[0], second[299] = True, True
    there, back = regions.distances(first, second, spacing_mm=(0.5,))
    assert there.tolist() == back.tolist() == [149.5]


def test_the_closest_offsets_are_complete():
    for spacing in [(1.0, 1.0), (3.0, 1.0), (0.2, 0.2, 4.0), (1.0,), (1000.0, 1e-4, 1e-4)]:
        offsets, lengths = regions._near(len(spacing), spacing)
        assert np.all(np.diff(lengths) >= 0)
        assert lengths[0] == 0
        known = {tuple(row) for row in offsets.tolist()}
        for other in itertools.product(range(-8, 9), repeat=len(spacing)):
            if other not in known:
                assert math.dist(np.multiply(other, spacing), np.zeros(len(spacing))) >= lengths[-1] - 1e-12


def test_distances_need_two_objects():
    with pytest.raises(ValueError, match="two masks with at least one pixel each"):
        regions.distances(np.ones(3, bool), np.zeros(3, bool), spacing_mm=(1.0,))


@quick
@given(masks)
def test_components_sizes_and_boxes_agree_with_scipy(mask):
    for connectivity, reach in (("face", 1), ("full", mask.ndim)):
        numbered, count = regions.components(mask, connectivity=connectivity)
        expected, n = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, reach))
        np.testing.assert_array_equal(numbered, expected)
        assert count == n
        assert regions.sizes(numbered, count).tolist() == [
            int((expected == i).sum()) for i in range(1, n + 1)
        ]
        for number, box in enumerate(regions.boxes(numbered, count), start=1):
            assert box == regions.bounding_box(numbered == number)


@quick
@given(masks)
def test_bounding_box_holds_every_pixel_and_no_empty_edge(mask):
    box = regions.bounding_box(mask)
    if box is None:
        assert not mask.any()
        return
    inside = regions.cut(mask, box)
    assert inside.sum() == mask.sum()
    for axis in range(mask.ndim):
        assert inside.take(0, axis).any()
        assert inside.take(-1, axis).any()


def test_bounding_box_margin_stops_at_the_image():
    mask = np.zeros((5, 9), bool)
    mask[0, 4] = True
    assert regions.bounding_box(mask, margin=2) == ((0, 3), (2, 7))


def test_boxes_of_numbers_that_do_not_occur():
    assert regions.boxes(np.array([0, 2]), 2) == (None, ((1, 2),))
    assert regions.boxes(np.zeros(3, int), 0) == ()


def test_diagonal_counts_whole_pixels():
    assert regions.diagonal((1, 1), (3.0, 4.0)) == 5.0


@pytest.mark.parametrize("shape", [(14, 17), (9, 10, 11)])
@pytest.mark.parametrize("radius", [1, 2.5, 4])
def test_balls_grow_and_shrink_a_mask_as_a_naive_loop_does(shape, radius):
    random = np.random.default_rng(3)
    mask = ndimage.gaussian_filter(random.random(shape), 1.5) > 0.5
    reach = np.mgrid[tuple(slice(-int(radius), int(radius) + 1) for _ in shape)]
    ball = (reach**2).sum(axis=0) <= radius**2
    assert np.array_equal(regions.dilate_ball(mask, radius), ndimage.binary_dilation(mask, ball))
    assert np.array_equal(
        regions.erode_ball(mask, radius), ndimage.binary_erosion(mask, ball, border_value=1)
    )


def test_balls_leave_full_and_empty_masks_alone():
    for value in (False, True):
        mask = np.full((5, 6), value)
        assert np.array_equal(regions.dilate_ball(mask, 3), mask)
        assert np.array_equal(regions.erode_ball(mask, 3), mask)
