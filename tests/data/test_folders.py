from __future__ import annotations

import pytest

from unetkit.data.folders import (
    Part,
    channel_word,
    exact_pair,
    find_parts,
    is_mask_word,
    masks_beside,
    unique_ids,
    words_of,
)


def lay(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def seen(root):
    return [
        (part.images.relative_to(root).as_posix(), part.labels.relative_to(root).as_posix())
        for part in find_parts(root)
    ]


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("images", "masks"),
        ("Images", "Masks"),
        ("imgs", "masks"),
        ("images", "annotations"),
        ("images", "GT"),
        ("image", "ground_truth"),
        ("JPEGImages", "SegmentationClass"),
        ("Original", "Ground Truth"),
        ("images_png", "masks_png"),
        ("ISIC_Training_Input", "ISIC_Training_GroundTruth"),
        ("train", "train_masks"),
        ("train", "trainannot"),
        ("images", "1st_manual"),
    ],
)
def test_folders_that_mean_images_and_masks(tmp_path, images, labels):
    assert seen(lay(tmp_path, f"{images}/a.png", f"{labels}/a.png", "other/a.png")) == [(images, labels)]


def test_the_manual_masks_of_drive_are_taken_not_its_fields_of_view(tmp_path):
    lay(tmp_path, *(f"{folder}/1.png" for folder in ("images", "mask", "1st_manual")))
    assert seen(tmp_path) == [("images", "1st_manual")]


def test_exact_names_come_before_any_guess(tmp_path):
    lay(tmp_path, "images/a.png", "labels/a.txt", "masks/a.png", "1st_manual/a.png")
    assert exact_pair(tmp_path) == (tmp_path / "images", tmp_path / "masks")
    assert seen(tmp_path) == [("images", "masks")]
    assert exact_pair(lay(tmp_path / "x", "images/a.png")) is None


@pytest.mark.parametrize(
    "layout",
    ["{side}/images/{n}.png {side}/masks/{n}.png", "images/{side}/{n}.png labels/{side}/{n}.png",
     "{side}/{n}.png {side}annot/{n}.png", "{side}_images/{n}.png {side}_masks/{n}.png",
     "{side}/{n}.jpg {side}/{n}_mask.png"],
)  # fmt: skip
def test_train_and_val_are_a_split(tmp_path, layout):
    names = layout.split()
    lay(
        tmp_path,
        *(name.format(side=side, n=n) for name in names for side in ("train", "val") for n in (1, 2)),
    )
    assert [part.split for part in find_parts(tmp_path)] == ["train", "val"]


def test_a_split_of_one_side_is_none(tmp_path):
    lay(tmp_path, "train/images/1.png", "train/masks/1.png", "test/images/1.png")
    assert find_parts(tmp_path) == (Part(tmp_path / "train/images", tmp_path / "train/masks"),)


@pytest.mark.parametrize("layout", ["images/{p}/1.png masks/{p}/1.png", "{p}/images/1.png {p}/masks/1.png"])
def test_folders_of_patients_are_groups_from_three_on(tmp_path, layout):
    names = layout.split()
    lay(tmp_path, *(name.format(p=p) for name in names for p in ("p1", "p2")))
    assert [part.group for part in find_parts(tmp_path)] == ["", ""]
    lay(tmp_path, *(name.format(p="p3") for name in names))
    assert [part.group for part in find_parts(tmp_path)] == ["p1", "p2", "p3"]


def test_patients_inside_a_split_are_groups_too(tmp_path):
    names = ("images/{s}/{p}/1.png", "masks/{s}/{p}/1.png")
    sides = (("train", "a"), ("train", "b"), ("val", "c"))
    lay(tmp_path, *(name.format(s=s, p=p) for name in names for s, p in sides))
    assert [(part.split, part.group) for part in find_parts(tmp_path)] == [
        ("train", "a"),
        ("train", "b"),
        ("val", "c"),
    ]


def test_masks_in_the_one_folder_inside_are_found(tmp_path):
    lay(tmp_path, "images/a.jpg", "annotations/list.txt", "annotations/trimaps/a.png")
    assert seen(tmp_path) == [("images", "annotations/trimaps")]


def test_a_folder_per_case(tmp_path):
    lay(tmp_path, *(f"B{n}/B{n}_{word}.nii.gz" for n in (1, 2) for word in ("t1", "flair", "seg")))
    parts = find_parts(tmp_path)
    assert [(part.images.name, part.whole) for part in parts] == [("B1", True), ("B2", True)]
    assert words_of(parts[0], tmp_path) == "B1/ with images and mask of one case"


@pytest.mark.parametrize("names", [("a.png", "b.png"), ("x/a.png", "y/a.png"), ("a/1.txt",)])
def test_no_layout_is_no_part(tmp_path, names):
    assert find_parts(lay(tmp_path, *names)) == ()


def test_masks_beside_their_images(tmp_path):
    names = ("a.jpg", "a_mask.png", "b.jpg", "b_mask.png", "c.jpg")
    images, masks = masks_beside([tmp_path / name for name in names])
    assert [path.name for path in masks] == ["a_mask.png", "b_mask.png"]
    assert [path.name for path in images] == ["a.jpg", "b.jpg", "c.jpg"]
    images, masks = masks_beside([tmp_path / name for name in ("a.jpg", "a.png", "b.png", "b.JPG")])
    assert [path.name for path in images] == ["a.jpg", "b.JPG"]
    many = [tmp_path / f"{n}.png" for n in range(9)]
    assert masks_beside([*many, tmp_path / "1_seg.png"])[1] == []  # one name of ten is no layout
    lay(tmp_path, *names)
    assert words_of(find_parts(tmp_path)[0], tmp_path) == "one folder with masks beside the images"


def test_words_of_a_case(tmp_path):
    assert channel_word(tmp_path / "B1/B1-T1.nii.gz", tmp_path / "B1") == "t1"
    assert is_mask_word("Segmentation")
    assert not is_mask_word("t1")


def test_ids_are_stems_or_stems_behind_their_folders():
    assert unique_ids([("train", "1"), ("val", "2")]) == ["1", "2"]
    assert unique_ids([("", "1"), ("val", "1")]) == ["1", "val-1"]
    assert unique_ids([("a", "x"), ("a", "x"), ("a", "X")]) == ["a-x", "a-x-2", "a-X"]
