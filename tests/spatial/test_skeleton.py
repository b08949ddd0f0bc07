"""Skeletons against naive definitions of topology."""

import itertools

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import ndimage

from unetkit.spatial.skeleton import simple, skeleton

quick = settings(deadline=None, max_examples=60)
masks = hnp.arrays(bool, hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=7))


def euler(mask):
    """Vertices - edges + faces - cubes of the closed pixels, which touch at corners."""
    total = 0
    for count in range(mask.ndim + 1):
        for axes in itertools.combinations(range(mask.ndim), count):
            cells = np.pad(mask, 1)
            for axis in axes:
                cells = cells.take(range(1, cells.shape[axis]), axis) | cells.take(
                    range(cells.shape[axis] - 1), axis
                )
            total += (-1) ** (mask.ndim - count) * int(cells.sum())
    return total


def pieces(mask):
    objects = ndimage.label(mask, np.ones((3,) * mask.ndim))[1]
    return objects, ndimage.label(~np.pad(mask, 1))[1], euler(mask)


@quick
@given(masks)
def test_pieces_holes_and_cavities_stay(mask):
    thin = skeleton(mask)
    assert not (thin & ~mask).any()
    assert pieces(thin) == pieces(mask)
    np.testing.assert_array_equal(skeleton(thin), thin)


def naive_simple(block):
    """One object piece around the pixel; one background piece that shares a face with it, by labelling."""
    rank = block.ndim
    steps = np.abs(np.indices(block.shape) - 1).sum(axis=0)
    block = block.copy()
    block[(1,) * rank] = False
    if ndimage.label(block, np.ones((3,) * rank))[1] != 1:
        return False
    numbered, _ = ndimage.label(~block & (steps > 0) & (steps <= 2))
    return len(set(numbered[(steps == 1) & ~block])) == 1


@pytest.mark.parametrize("rank", [2, 3])
def test_simple_pixels_are_those_of_the_definition(rank):
    others = 3**rank - 1
    rng = np.random.default_rng(0)
    if rank == 2:
        codes = np.arange(256)
    else:
        few = rng.random((400, others)) < rng.choice([0.1, 0.5, 0.9], (400, 1))
        codes = few @ (1 << np.arange(others))
    expected = []
    for code in codes:
        bits = (code >> np.arange(others)) & 1
        block = np.insert(bits, others // 2, 1).reshape((3,) * rank).astype(bool)
        expected.append(naive_simple(block))
    np.testing.assert_array_equal(simple(codes, rank), expected)
    assert 0 < sum(expected) < len(codes)


def test_a_thick_line_becomes_its_middle_and_a_curve_stays():
    bar = np.zeros((7, 20), bool)
    bar[2:5, 2:18] = True
    thin = skeleton(bar)
    assert not thin[[0, 1, 2, 4, 5, 6]].any()
    assert thin[3, 4:16].all()
    curve = np.eye(9, dtype=bool)
    np.testing.assert_array_equal(skeleton(curve), curve)


def test_a_tube_in_space_becomes_one_curve():
    z, y, x = np.mgrid[:9, :9, :30]
    tube = (z - 4) ** 2 + (y - 4) ** 2 <= 9
    thin = skeleton(tube & (x > 1) & (x < 28))
    assert (thin.sum(axis=(0, 1))[6:24] == 1).all()
    assert thin[4, 4, 6:24].sum() >= 14


def test_a_ring_stays_closed():
    y, x = np.mgrid[:41, :41]
    radius = np.hypot(y - 20, x - 20)
    thin = skeleton((radius > 10) & (radius < 17))
    assert pieces(thin) == (1, 2, 0)
    assert np.ptp(radius[thin]) < 3


def test_order_in_memory_and_empty_masks_do_not_matter():
    mask = np.random.default_rng(1).random((9, 11)) < 0.7
    np.testing.assert_array_equal(skeleton(np.asfortranarray(mask)), skeleton(mask))
    assert not skeleton(np.zeros((3, 4), bool)).any()
