"""What a model calls a value counts where the data has no name for it, and nowhere else."""

from __future__ import annotations

import pytest

from unetkit.data.catalog import Catalog
from unetkit.data.inspect import Inspection
from unetkit.data.naming import named_as
from unetkit.records.plan import DataPlan

MODEL = DataPlan(
    rank=2, channels=("image",), classes=("background", "class 1", "class 2"), label_values=(0, 1, 2)
)


def seen(tmp_path, names, values, stated=()):
    data = MODEL.model_copy(update={"classes": names, "label_values": values})
    return Inspection(Catalog(tmp_path, "images", (), names=dict(stated)), (), (), data)


@pytest.mark.parametrize(
    ("names", "values", "expected"),
    [
        (("background", "foreground"), (0, 1), ("background", "class 1")),
        (("background", "foreground"), (0, 2), ("background", "class 2")),
        (("background", "foreground"), (1, 2), ("class 1", "class 2")),
        (("background", "class 1", "class 7"), (0, 1, 7), ("background", "class 1", "class 7")),
        (("background", "foreground"), (0, 7), ("background", "class 7")),
        (("background", "foreground"), (8, 9), ("background", "class 9")),
    ],
)
def test_values_of_the_model_have_its_names(tmp_path, names, values, expected):
    found = named_as(seen(tmp_path, names, values), MODEL)
    assert (found.data.classes, found.data.label_values) == (expected, values)


def test_a_model_of_one_class_keeps_it_beside_a_new_one(tmp_path):
    one = MODEL.model_copy(update={"classes": ("background", "foreground"), "label_values": (0, 1)})
    found = named_as(seen(tmp_path, ("background", "class 1", "class 2"), (0, 1, 2)), one)
    assert found.data.classes == ("background", "foreground", "class 2")


def test_names_that_are_stated_stay(tmp_path):
    stated = seen(tmp_path, ("background", "hole"), (0, 1), stated={1: "hole"})
    assert named_as(stated, MODEL) is stated
    refused = Inspection(Catalog(tmp_path, "images", ()), (), (), None)
    assert named_as(refused, MODEL) is refused
