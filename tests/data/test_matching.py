from __future__ import annotations

import pytest

from unetkit.data.folders import find_parts
from unetkit.data.matching import Found, Named, listed, match_cases, name_cases, read_index, rows_by_id
from unetkit.data.tables import Row
from unetkit.errors import DataError


def lay(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def matched(root, index=None):
    found = Found()
    match_cases(root, name_cases(root, find_parts(root), found), index, found)
    return found


def test_a_mask_of_one_part_is_no_mask_of_another(tmp_path):
    lay(tmp_path, *(f"{side}/{kind}/1.png" for side in ("train", "val") for kind in ("images", "masks")))
    lay(tmp_path, "train/masks/9.png", "val/images/9.png")
    found = matched(tmp_path)
    assert [(case.id, case.split) for case in found.cases] == [("train-1", "train"), ("val-1", "val")]
    assert [problem.code for problem in found.problems] == ["missing-mask", "missing-image"]
    assert found.notes[0] == "the names of the folders state what is trained on and what is held out"


def test_channels_of_a_case_folder_come_in_order_of_their_words(tmp_path):
    lay(tmp_path, *(f"B{n}/B{n}_{word}.nii.gz" for n in (1, 2) for word in ("t2", "flair", "seg")))
    found = matched(tmp_path)
    assert [path.name for path in found.cases[0].images] == ["B1_flair.nii.gz", "B1_t2.nii.gz"]
    assert found.cases[0].label == tmp_path / "B1/B1_seg.nii.gz"
    assert found.channels == ("flair", "t2")


def test_numbered_channels_with_worded_masks(tmp_path):
    lay(tmp_path, *(f"images/p{n}_{c:04}.png" for n in (1, 2) for c in (0, 1)))
    lay(tmp_path, "masks/p1_seg.png", "masks/p2_seg.png")
    found = matched(tmp_path)
    assert [(case.id, len(case.images)) for case in found.cases] == [("p1", 2), ("p2", 2)]


def test_images_of_pascal_voc_without_a_mask_are_left_out(tmp_path):
    lay(tmp_path, "JPEGImages/a.jpg", "JPEGImages/b.jpg", "SegmentationClass/a.png")
    found = matched(tmp_path)
    assert [case.id for case in found.unlabelled] == ["b"]
    assert found.problems == []
    assert any("1 images have no mask" in text for text in found.notes)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.txt", r"only a\.txt\. Do this: outlines are no masks yet: unet convert .* OUT"),
        ("cat/a.png", r"only cat, dog\. Do this: put one mask per image into labels/ itself"),
        ("a.webp", r"only a\.webp\. Do this: put the masks there, as \.png"),
    ],
)
def test_a_folder_without_readable_masks_says_what_it_holds(tmp_path, name, words):
    lay(tmp_path, "images/a.png", f"labels/{name}", *(["labels/dog/a.png"] if "/" in name else []))
    with pytest.raises(DataError, match=f"this folder holds no mask that can be read, {words}"):
        matched(tmp_path)


def test_what_lies_beside_images_and_masks_in_one_folder_is_no_stray(tmp_path):
    lay(tmp_path, "a.jpg", "a_mask.png", "dataset.json", "notes.txt")
    (tmp_path / "index.csv").write_text("id,group\na,g\n")
    index = read_index(tmp_path / "index.csv", ("a",), Found())
    found = matched(tmp_path, index)
    assert [case.group for case in found.cases] == ["g"]
    assert [problem.problem for problem in found.problems] == [
        "1 entries are no pictures and were left out: notes.txt"
    ]


def test_a_row_may_write_the_accents_of_an_image_otherwise(tmp_path):
    two, one = "zu" + chr(0x308) + "g", "z" + chr(0xFC) + "g"
    lay(tmp_path, f"images/{two}.png", f"masks/{two}.png")
    (tmp_path / "index.csv").write_text(f"id,group\n{one},g\n", encoding="utf-8")
    index = read_index(tmp_path / "index.csv", (two,), Found())
    assert [(case.id, case.group) for case in matched(tmp_path, index).cases] == [(two, "g")]


def test_a_row_may_name_the_file_of_an_image(tmp_path):
    (tmp_path / "index.csv").write_text("id,group\na.png,g\nb.v2,h\nc.png,i\nc,j\nd.tif,k\n")
    index = read_index(tmp_path / "index.csv", ("a", "b", "b.v2", "c.png", "c"), Found())
    assert {id: row.values["group"] for id, row in (index or {}).items()} == {
        "a": "g",
        "b.v2": "h",
        "c.png": "i",
        "c": "j",
        "d.tif": "k",
    }
    with pytest.raises(DataError, match="line 5: the id 'c' occurs twice"):
        read_index(tmp_path / "index.csv", ("a", "c"), Found())


def test_rows_need_ids_of_their_own(tmp_path):
    rows = [Row(2, {"id": "a"}), Row(3, {"id": "a"})]
    assert rows_by_id(rows[:1], tmp_path) == {"a": rows[0]}
    with pytest.raises(DataError, match="line 3: the id 'a' occurs twice"):
        rows_by_id(rows, tmp_path)


def test_an_index_row_without_image_is_refused(tmp_path):
    found = Found()
    match_cases(tmp_path, Named(), {"z": Row(2, {"id": "z"})}, found)
    assert found.problems[0].problem == "index.csv names 'z' (line 2), which has no image"


def test_a_long_list_is_cut():
    assert listed(["a", "b"]) == "a, b"
    assert listed(["a", "b", "c"], 2) == "a, b …"
