"""Rows in, rows out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from unetkit.errors import DataError
from unetkit.inference.large import RollingRows, label_rows, mean_rows, share_rows
from unetkit.records.case import Grid, Placement
from unetkit.spatial.tiles import Tiling


@settings(max_examples=40, deadline=None)
@given(some.integers(1, 40), some.integers(1, 12), some.floats(0, 0.8))
def test_every_row_is_asked_for_once_and_every_box_is_that_of_the_whole(length, tile, overlap):
    image = np.random.default_rng(0).standard_normal((2, length, 9))
    asked = []

    def rows(start, stop):
        asked.extend(range(start, stop))
        return image[:, start:stop]

    band = RollingRows(rows)
    for box in Tiling.over((length, 9), (tile, 4), overlap).boxes:
        assert np.array_equal(band(box), image[(slice(None), *box)])
    assert asked == list(range(length))


@pytest.mark.parametrize("crop", [((0, 7), (0, 5)), ((2, 6), (1, 5)), ((0, 3), (0, 5)), ((6, 7), (4, 5))])
def test_bands_of_a_box_become_the_rows_of_the_image(crop):
    box = tuple(slice(*each) for each in crop)
    height, width = (stop - start for start, stop in crop)
    logits = np.random.default_rng(0).standard_normal((3, height, width)).astype(np.float32)
    expected = np.zeros((7, 5), np.uint8)
    expected[box] = logits.argmax(0)
    bands = ((top, logits[:, top : top + 2]) for top in range(0, height, 2))
    found = list(label_rows(bands, Placement((7, 5), Grid.plain(2), crop), "a"))
    assert np.array_equal(np.concatenate(found), expected)
    assert {band.dtype for band in found} == {np.dtype(np.uint8)}


@pytest.mark.parametrize("crop", [((0, 7), (0, 5)), ((2, 6), (1, 5)), ((6, 7), (4, 5))])
def test_bands_of_a_box_become_the_probabilities_of_the_image(crop):
    """Softmax inside, in float64; background outside."""
    box = tuple(slice(*each) for each in crop)
    height, width = (stop - start for start, stop in crop)
    logits = np.random.default_rng(0).standard_normal((3, height, width)).astype(np.float32)
    expected = np.zeros((3, 7, 5))
    expected[0] = 1
    expected[(slice(None), *box)] = np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum(
        0
    )
    bands = ((top, logits[:, top : top + 2]) for top in range(0, height, 2))
    found = np.concatenate(list(share_rows(bands, Placement((7, 5), Grid.plain(2), crop), "a")), axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(some.lists(some.lists(some.integers(0, 11), max_size=4), min_size=1, max_size=4))
def test_the_mean_of_bands_is_the_mean_of_images_however_they_are_cut(cuts):
    images = np.random.default_rng(0).random((len(cuts), 2, 12, 3)).astype(np.float32)
    members = [
        iter(np.split(image, sorted(set(places) - {0}), axis=1))
        for image, places in zip(images, cuts, strict=True)
    ]
    found = np.concatenate(list(mean_rows(members)), axis=1)
    expected = images[0].copy()
    for image in images[1:]:
        expected += image
    np.testing.assert_array_equal(found, expected / np.float32(len(cuts)))


def test_an_answer_that_is_no_number_is_refused_by_name():
    logits = np.full((2, 1, 5), np.nan, np.float32)
    place = Placement((1, 5), Grid.plain(2), ((0, 1), (0, 5)))
    with pytest.raises(DataError, match="case7: expected finite logits"):
        list(label_rows([(0, logits)], place, "case7"))
    with pytest.raises(DataError, match="case7: the image has no pixel"):
        list(label_rows([], place, "case7"))
    with pytest.raises(DataError, match="case7: expected finite logits"):
        list(share_rows([(0, logits)], place, "case7"))
    with pytest.raises(DataError, match="case7: the image has no pixel"):
        list(share_rows([], place, "case7"))
