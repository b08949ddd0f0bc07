"""Bands cut to blocks and tiles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from unetkit.data.formats.rows import KeptRows, blocks, counted, label_tiles, level_shapes, with_levels
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


@settings(max_examples=40, deadline=None)
@given(some.lists(some.integers(1, 9), min_size=1, max_size=6), some.integers(1, 6), some.integers(0, 3))
def test_levels_are_every_second_row_and_column_whatever_the_bands(heights, columns, levels):
    for image in (
        np.arange(sum(heights) * columns).reshape(-1, columns),
        np.arange(sum(heights) * columns * 5).reshape(-1, 5, columns),
    ):
        found = zip(*with_levels(np.split(image, np.cumsum(heights)[:-1]), levels), strict=True)
        shapes = level_shapes(image.shape, levels)
        for level, (parts, shape) in enumerate(zip(found, shapes, strict=True)):
            step = slice(None, None, 2**level)
            expected = image[step, step] if image.ndim == 2 else image[:, step, step]
            assert np.array_equal(np.concatenate(parts), expected)
            assert expected.shape == shape


@settings(max_examples=60, deadline=None)
@given(some.integers(1, 30), some.integers(1, 9), some.lists(some.integers(1, 9), min_size=1, max_size=8))
def test_rows_of_chunks_are_read_once_and_are_those_of_the_image(length, step, heights):
    image, asked = np.arange(2 * length * 3).reshape(2, length, 3), []

    def read(region):
        (start, stop), columns = region
        asked.extend(range(start, stop))
        return image[:, start:stop, slice(*columns)]

    rows, top = KeptRows(read, step=step, length=length), 0
    for height in heights:
        stop = min(top + height, length)
        if stop > top:
            assert np.array_equal(rows.read(((top, stop), (0, 3))), image[:, top:stop])
        top = stop
    assert asked == list(range(len(asked)))
    assert len(asked) == min(-(-top // step) * step, length)
    for region in (((0, 1), (1, 2)), ((length - 1, length), (0, 3)), ((0, length), (0, 3))):
        assert np.array_equal(rows.read(region), image[:, slice(*region[0]), slice(*region[1])])
