from __future__ import annotations

import numpy as np
import pytest

from unetkit.data.exchange.coco import Coco
from unetkit.errors import DataError

CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]
SQUARE = [2, 1, 5, 1, 5, 3, 2, 3]  # x, y: columns 2 to 4, rows 1 and 2


def annotations(*rows, images=None):
    images = images or [{"id": 1, "file_name": "a.png", "height": 8, "width": 10}]
    rows = [{"id": n, "image_id": 1, "category_id": 3, "iscrowd": 0, **row} for n, row in enumerate(rows)]
    return {"images": images, "annotations": rows, "categories": CATEGORIES}


@pytest.fixture
def labels(tmp_path, write_json, write_picture):
    """A function: the label that some annotations make of one image."""
    write_picture(tmp_path / "images" / "a.png")

    def read(*rows):
        write_json(tmp_path / "instances.json", annotations(*rows))
        (item,) = Coco().find(tmp_path).items
        return item.read().label

    return read


def test_polygons_and_both_kinds_of_run_lengths(labels):
    label = labels(
        {"segmentation": [SQUARE, [0, 7, 1, 7, 1, 8, 0, 8]]},
        # down the columns: 2 in, 6 out, 1 in; then 24 + 32 · 1 out, 1 in
        {"category_id": 7, "segmentation": {"size": [8, 10], "counts": [0, 2, 6, 1, 71]}},
        {"category_id": 7, "segmentation": {"size": [8, 10], "counts": "h11"}},
    )
    expected = np.zeros((8, 10), int)
    expected[1:3, 2:5] = expected[7, 0] = 1
    expected[0:2, 0] = expected[0, 1] = expected[0, 7] = 2
    np.testing.assert_array_equal(label, expected)


def test_classes_are_numbered_by_category_and_images_without_objects_are_background(tmp_path, labels):
    assert not labels().any()
    foreign = Coco().find(tmp_path)
    assert foreign.names == {0: "background", 1: "cat", 2: "dog"}
    assert (foreign.items[0].id, foreign.items[0].split, foreign.items[0].group) == ("a", None, "")
    assert Coco().holds(tmp_path)
    assert Coco().holds(tmp_path / "instances.json")


def test_splits_come_from_names_of_files_or_folders(tmp_path, write_json, write_picture):
    for split in ("train", "val"):
        write_picture(tmp_path / f"{split}2017" / "a.png", (8, 10 if split == "train" else 12))
        images = [{"id": 1, "file_name": "a.png", "height": 8, "width": 10 if split == "train" else 12}]
        write_json(tmp_path / "annotations" / f"instances_{split}2017.json", annotations(images=images))
    items = Coco().find(tmp_path).items
    assert [(item.id, item.split) for item in items] == [("train-a", "train"), ("val-a", "val")]
    assert [item.read().label.shape for item in items] == [(8, 10), (8, 12)]
    for split in ("train", "valid"):
        write_picture(tmp_path / "flow" / split / "b.png")
        images = [{"id": 1, "file_name": "b.png", "height": 8, "width": 10}]
        write_json(tmp_path / "flow" / split / "_annotations.coco.json", annotations(images=images))
    items = Coco().find(tmp_path / "flow").items
    assert [item.split for item in items] == ["train", "val"]
    assert items[1].read().image == (tmp_path / "flow" / "valid" / "b.png",)


def test_what_else_lies_in_cocos_own_folder_is_left_out_by_name(tmp_path, write_json, write_picture):
    write_picture(tmp_path / "val2017" / "a.png")
    whole, folder = annotations({"segmentation": [SQUARE]}), tmp_path / "annotations"
    poses = {**whole, "categories": [{**row, "keypoints": ["nose"]} for row in CATEGORIES]}
    captions = {"info": {}, "images": whole["images"], "annotations": [{"image_id": 1, "caption": "a dog"}]}
    write_json(folder / "captions_val2017.json", captions)
    write_json(folder / "image_info_test2017.json", {"images": [], "categories": CATEGORIES})
    write_json(folder / "instances_val2017.json", whole)
    write_json(folder / "person_keypoints_val2017.json", poses)
    foreign = Coco().find(tmp_path)
    assert [item.read().label.sum() for item in foreign.items] == [6]
    (note,) = foreign.notes
    assert note.endswith(": captions_val2017.json, image_info_test2017.json, person_keypoints_val2017.json")
    (folder / "instances_val2017.json").unlink()
    assert len(Coco().find(tmp_path).items) == 1  # key points come with outlines, too
    (folder / "person_keypoints_val2017.json").unlink()
    with pytest.raises(DataError, match=r"captions_val2017\.json: expected a list 'categories'"):
        Coco().find(tmp_path)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"bbox": [1, 1, 2, 2]}, "a shape of the kind 'box' encloses no pixels"),
        ({"segmentation": []}, "encloses no pixels"),
        ({"category_id": 9, "segmentation": [SQUARE]}, "category '9', which is not listed"),
        ({"segmentation": [[1, 2, 3]]}, "no pairs of numbers"),
        (
            {"segmentation": {"size": [10, 8], "counts": [80]}},
            r"for an image of \[10, 8\], expected \[8, 10\]",
        ),
        ({"segmentation": {"size": [8, 10], "counts": [81]}}, "run lengths of a mask do not fit"),
        ({"segmentation": {"size": [8, 10], "counts": "o"}}, "run lengths of a mask do not fit"),
    ],
)
def test_an_object_that_cannot_be_drawn_refuses_its_image(labels, row, words):
    with pytest.raises(DataError, match=rf"instances\.json: .*{words}"):
        labels(row)


def test_a_json_that_is_damaged_is_refused_by_name(tmp_path, write_json, write_picture):
    path = tmp_path / "instances.json"
    whole = annotations({"segmentation": [SQUARE]})
    for changed, words in (
        ({**whole, "images": None}, "expected a list 'images'"),
        ({**whole, "annotations": [1]}, "expected a list 'annotations'"),
        ({**whole, "annotations": [{"image_id": 2}]}, "belongs to the image '2', which is not listed"),
        ({**whole, "categories": [{"id": 1}]}, "an entry has no 'name'"),
        ({**whole, "categories": [{"name": "x"}]}, "an entry has no number 'id'; it has: name"),
        ({**whole, "images": [{"id": 1}]}, "an entry has no 'file_name'"),
    ):
        write_json(path, changed)
        with pytest.raises(DataError, match=words):
            Coco().find(path)
    path.write_text('{"images": ' + "[" * 10**5)
    with pytest.raises(DataError, match="not valid JSON"):
        Coco().find(path)
    with pytest.raises(DataError, match="no COCO annotations here"):
        Coco().find(write_picture(tmp_path / "other" / "a.png").parent)
