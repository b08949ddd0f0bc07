"""Whatever a stranger's annotation says, it is used or refused by name: no other error, no claim believed."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from unetkit.data.exchange import FAMILY, KINDS
from unetkit.errors import DataError
from unetkit.lookup import pick

ODD = (None, [], {}, "", "x", -1, 1e300, 10**400, True, [[]], [None], "\0", float("nan"))
SQUARE = [[2, 1], [5, 1], [5, 3]]
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "height": 8, "width": 10}],
    "annotations": [
        {"image_id": 1, "category_id": 2, "segmentation": [[2, 1, 5, 1, 5, 3]]},
        {"image_id": 1, "category_id": 2, "segmentation": {"size": [8, 10], "counts": [3, 2]}},
        {"image_id": 1, "category_id": 2, "segmentation": {"size": [8, 10], "counts": "32"}},
    ],
    "categories": [{"id": 2, "name": "cat"}],
}
LABELME = {
    "shapes": [
        {"label": "a", "points": SQUARE, "shape_type": "polygon"},
        {"label": "a", "points": SQUARE[:2], "shape_type": "circle"},
    ],
    "imagePath": "a.png",
    "imageHeight": 8,
    "imageWidth": 10,
}
CVAT = (
    '<annotations><meta><task><labels><label><name>dog</name></label></labels></task></meta>'
    '<image name="a.png" width="10" height="8"><polygon label="dog" points="2,1;5,1;5,3" z_order="1"/>'
    '<box label="dog" xtl="7" ytl="5" xbr="9" ybr="7" rotation="3"/>'
    '<mask label="dog" rle="1, 2, 2, 1" left="7" top="4" width="3" height="2"/></image></annotations>'
)  # fmt: skip


def places(tree, path=()):
    """The path of every value in a JSON."""
    yield path
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in pairs:
        yield from places(value, (*path, key))


def replaced(tree, path, value):
    if not path:
        return value
    result = copy.deepcopy(tree)
    inner = result
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return result


def survive(kind, source):
    """Read everything; True where something was refused."""
    refused = 0
    try:
        foreign = pick(FAMILY, KINDS, kind)().find(source)
    except DataError:
        return True
    for item in foreign.items:
        try:
            label = item.read().label
        except DataError:
            refused += 1
        else:
            assert label.shape == (8, 10)
    return bool(refused or foreign.problems)


@pytest.mark.parametrize(("kind", "whole"), [("coco", COCO), ("labelme", LABELME)])
def test_every_value_of_a_json_may_be_odd(kind, whole, tmp_path, write_json, write_picture):
    write_picture(tmp_path / "a.png")
    path = write_json(tmp_path / "a.json", whole)
    assert not survive(kind, path)
    count = 0
    for place in places(whole):
        for value in ODD:
            path.write_text(json.dumps(replaced(whole, place, value)))
            count += survive(kind, path)
    assert count > 150


def test_every_attribute_of_an_xml_may_be_odd(tmp_path, write_picture):
    write_picture(tmp_path / "a.png")
    path = tmp_path / "annotations.xml"
    path.write_text(CVAT)
    assert not survive("cvat", path)
    count = 0
    for part in CVAT.split('"')[1::2]:
        for value in ("", "x", "-1", "1e300", "9" * 400, "nan", "1,2", ";", "²"):
            path.write_text(CVAT.replace(f'"{part}"', f'"{value}"', 1))
            count += survive("cvat", path)
    assert count > 60


def test_bytes_that_fell_out(tmp_path, write_picture, write_json):
    write_picture(tmp_path / "a.png")
    random = np.random.default_rng(0)
    for kind, name, text in (("coco", "a.json", json.dumps(COCO)), ("cvat", "annotations.xml", CVAT)):
        refused = 0
        for _ in range(60):
            start, length = random.integers(0, len(text)), random.integers(1, 40)
            (tmp_path / name).write_text(text[:start] + text[start + length :])
            refused += survive(kind, tmp_path / name)
        assert refused > 30  # nothing but a DataError, or it would have come out here
