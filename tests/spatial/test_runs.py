"""Components as runs are those of scipy, pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from unetkit.spatial.runs import runs

MASKS = arrays.arrays(bool, arrays.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=7))
CONNECTIVITY = st.sampled_from(["face", "full"])


def numbered(mask: np.ndarray, connectivity: str) -> np.ndarray:
    reach = 1 if connectivity == "face" else mask.ndim
    return ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, reach))[0]


@given(MASKS, CONNECTIVITY)
def test_every_pixel_has_the_number_that_scipy_gives_it(mask, connectivity):
    found, wanted = runs(mask, connectivity=connectivity), numbered(mask, connectivity)
    assert found.count == wanted.max()
    np.testing.assert_array_equal(found.numbered(), wanted)
    assert found.sizes.tolist() == np.bincount(wanted.ravel(), minlength=found.count + 1)[1:].tolist()


@given(MASKS, st.integers(0, 2**31))
def test_pixels_of_some_components(mask, seed):
    found, wanted = runs(mask), numbered(mask, "full")
    some = np.random.default_rng(seed).random(found.count) < 0.5
    assert found.of(some).tolist() == np.flatnonzero(np.isin(wanted, np.flatnonzero(some) + 1)).tolist()


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3), (2, 0, 3)])
def test_a_mask_without_a_pixel_has_none(shape):
    found = runs(np.zeros(shape, bool))
    assert (found.count, found.numbered().shape, found.sizes.tolist()) == (0, shape, [])


def test_the_end_of_a_row_does_not_touch_the_start_of_the_next():
    mask = np.zeros((3, 4), bool)
    mask[0, 3] = mask[1, 0] = mask[2, 3] = True
    assert runs(mask).count == 3


def test_any_layout_of_memory_will_do():
    mask = np.random.default_rng(0).random((6, 5, 4)) < 0.4
    for view in (mask.T, mask[::-1, ::2], np.asfortranarray(mask)):
        np.testing.assert_array_equal(runs(view).numbered(), numbered(view, "full"))
