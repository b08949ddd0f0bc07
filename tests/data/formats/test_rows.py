"""Bands cut to blocks and tiles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from unetkit.data.formats.rows import blocks, counted, label_tiles
from unetkit.errors import DataError


@settings(max_examples=40, deadline=None)
@given(some.lists(some.integers(1, 9), min_size=1, max_size=6), some.integers(1, 7))
def test_blocks_are_the_rows_again_at_one_height(heights, rows):
    image = np.arange(sum(heights) * 2).reshape(-1, 2)
    bands = np.split(image, np.cumsum(heights)[:-1])
    found = list(blocks(bands, rows))
    assert {len(block) for block in found[:-1]} <= {rows}
    assert np.array_equal(np.concatenate(found), image)


def test_a_volume_is_tiled_slice_by_slice_whatever_its_bands():
    volume = np.arange(4 * 3 * 5).reshape(4, 3, 5)
    tiles = list(label_tiles([volume[:3], volume[3:]], rank=3, edge=2))
    expected = [
        plane[top : top + 2, left : left + 2] for plane in volume for top in (0, 2) for left in (0, 2, 4)
    ]
    assert len(tiles) == len(expected)
    assert all(np.array_equal(a, b) for a, b in zip(tiles, expected, strict=True))


@pytest.mark.parametrize("shapes", [[(2, 3)], [(2, 3), (3, 3)], [(2, 3), (2, 4)], []])
def test_rows_that_do_not_fill_the_image_never_become_a_file(shapes):
    with pytest.raises(DataError, match=r"expected rows of labels that fill \(4, 3\), got"):
        list(counted([np.zeros(shape) for shape in shapes], (4, 3)))
    assert len(list(counted([np.zeros((2, 3))] * 2, (4, 3)))) == 2
