from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unetkit.data.exchange.shapes import (
    Shape,
    corner_points,
    draw,
    no_area,
    number_classes,
    picture,
    stated_size,
)
from unetkit.errors import DataError

HERE = Path("a.json")


def square(top, left, bottom, right):
    """A square that covers whole pixels, its corners counted from the corner of the first pixel."""
    return corner_points([left, top, right, top, right, bottom, left, bottom], where=HERE)


def test_corners_of_pixels_cover_exactly_these_pixels():
    labels, covered = draw([Shape("a", (square(1, 2, 3, 5),))], (5, 6), {"a": 1})
    expected = np.zeros((5, 6), int)
    expected[1:3, 2:5] = 1
    np.testing.assert_array_equal(labels, expected)
    assert covered == 0


def test_a_later_shape_covers_an_earlier_one_and_background_takes_away():
    shapes = [
        Shape("a", (square(0, 0, 4, 4),)),
        Shape("b", (square(2, 2, 5, 5), square(3, 3, 5, 5))),  # parts of one object add up
        Shape("a", (square(0, 0, 1, 1),)),
        Shape("background", (square(0, 3, 1, 4),)),
    ]
    labels, covered = draw(shapes, (5, 5), {"background": 0, "a": 1, "b": 2})
    expected = np.zeros((5, 5), int)
    expected[:4, :4] = 1
    expected[2:, 2:] = 2
    expected[0, 3] = 0
    np.testing.assert_array_equal(labels, expected)
    assert covered == 5  # 2 × 2 by b, and the one that was taken away


def test_a_painted_mask_may_reach_over_the_edge():
    mask = np.ones((3, 3), bool)
    for corner, count in (((0, 0), 9), ((-1, -1), 4), ((3, 4), 2), ((9, 9), 0), ((-9, 0), 0)):
        labels, _ = draw([Shape("a", corner=corner, mask=mask)], (4, 6), {"a": 7})
        assert (labels == 7).sum() == count, corner
    assert draw([Shape("a", corner=(3, 4), mask=mask)], (4, 6), {"a": 7})[0][3, 4:].tolist() == [7, 7]


def test_classes_are_numbered_and_ignore_is_none_of_them():
    classes = number_classes(["cat", "__ignore__", "dog", "cat"], where=HERE)
    assert classes.values == {"cat": 1, "dog": 2, "__ignore__": 255}
    assert (classes.names, classes.ignore_value) == ({0: "background", 1: "cat", 2: "dog"}, 255)
    assert number_classes((f"c{n}" for n in range(300)), where=HERE).ignore_value is None
    assert number_classes([*(f"c{n}" for n in range(300)), "ignore"], where=HERE).ignore_value == 65535
    for names in ([], ["background"], ["ignore"]):
        with pytest.raises(DataError, match="expected 1 to 65534 classes, got 0"):
            number_classes(names, where=HERE)


@pytest.mark.parametrize("numbers", [[1, 2, 3], ["a", 1], [None, 1], [[1], 2], [float("nan"), 1], [1e300, 0]])
def test_what_is_no_point_is_refused(numbers):
    with pytest.raises(DataError, match=r"a\.json: (the points of a shape|a point of a shape)"):
        corner_points(numbers, where=HERE)


def test_sizes():
    assert stated_size("8", 10, where=HERE) == (8, 10)
    for wrong in (None, "x", 0, -1, float("inf")):
        with pytest.raises(DataError, match="the size of an image"):
            stated_size(wrong, 10, where=HERE)


def test_a_picture_must_be_the_one_that_was_drawn_on(tmp_path, write_picture):
    image = write_picture(tmp_path / "a.png")
    classes = number_classes(["a"], where=HERE)
    content = picture(image, [Shape("a", (square(0, 0, 2, 2),))], classes, size=(8, 10), where=HERE)
    assert (content.image, content.label.sum(), content.columns["objects"]) == ((image,), 4, "1")
    with pytest.raises(
        DataError, match=r"a\.png: the shapes were drawn on 10 × 8 pixels, the image has 8 × 10"
    ):
        picture(image, [], classes, size=(10, 8), where=HERE)
    assert "a shape of the kind 'line' encloses no pixels" in str(no_area("line", HERE))
