import numpy as np

from unetkit.records.case import Grid
from unetkit.workflows.object_places import MOST_WRONG, object_places, worst_object


def two():
    reference, prediction = np.zeros((20, 30), np.uint8), np.zeros((20, 30), np.uint8)
    reference[1:3, 1:3] = 1  # missed, 4 pixels
    reference[10:14, 10:14] = 1  # found, half covered
    prediction[10:12, 10:14] = 1
    prediction[18, 20:29] = 1  # false, 9 pixels
    prediction[1:3, 1:3] = 2  # of another class: no counterpart
    return reference, prediction


def test_the_largest_wrong_objects_come_first_then_the_least_covered():
    places = object_places(*two(), classes=("a", "b"), grid=Grid.plain(2))
    assert [(one.name, one.kind, one.size, one.covered) for one in places] == [
        ("a", "false", 9.0, 0.0),
        ("a", "missed", 4.0, 0.0),
        ("b", "false", 4.0, 0.0),
        ("a", "found", 16.0, 0.5),
    ]
    assert places[0].at == (18, 24)
    assert {one.unit for one in places} == {"pixels"}


def test_sizes_are_in_millimetres_where_the_file_says_so():
    grid = Grid((2.0, 0.5), (0, 0), ((1, 0), (0, 1)))
    sizes = {one.kind: one.size for one in object_places(*two(), classes=("a",), grid=grid)}
    assert sizes == {"false": 9.0, "missed": 4.0, "found": 16.0}  # a pixel is 1 mm²
    volume = np.ones((1, 1, 2), np.uint8)
    (one,) = object_places(
        volume, 0 * volume, classes=("a",), grid=Grid((2.0, 3.0, 5.0), (0, 0, 0), ((0,) * 3,) * 3)
    )
    assert (one.size, one.unit) == (60.0, "mm³")


def test_a_place_lies_on_its_object_even_where_the_middle_is_hollow():
    ring = np.ones((9, 9), np.uint8)
    ring[1:8, 1:8] = 0
    (one,) = object_places(ring, 0 * ring, classes=("a",), grid=Grid.plain(2))
    assert ring[one.at] == 1


def test_of_a_thousand_specks_a_few_are_kept():
    specks = np.zeros((60, 60), np.uint8)
    specks[::3, ::3] = 1
    places = object_places(0 * specks, specks, classes=("a",), grid=Grid.plain(2))
    assert len(places) == MOST_WRONG
    assert sorted(places, key=worst_object) == list(places)
    assert object_places(0 * specks, 0 * specks, classes=("a",), grid=Grid.plain(2)) == ()
