from __future__ import annotations

import pytest

from unetkit.data.pairing import pair_by_word, pair_names


def test_equal_names_need_no_guess():
    assert pair_names(["a", "b"], ["b", "a", "c_mask"]) == ({"a": "a", "b": "b"}, "")


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("a1", "a1_mask"),
        ("a1", "a1-Mask"),
        ("a1", "a1mask"),
        ("a1", "a1_gt"),
        ("a1", "a1_segmentation"),
        ("a1", "mask_a1"),
        ("image_07", "mask_07"),
        ("img07", "label07"),
        ("IMG_07", "IMG_07_labels"),
        ("a 1", "a 1.seg"),
    ],
)
def test_a_word_for_masks_is_left_out(image, label):
    pairs, guessed = pair_names([image], [label])
    assert pairs == {image: label}
    assert guessed == f"'{label}' was taken as the mask of '{image}', and so on"


def test_accents_and_capitals_that_one_disk_wrote_otherwise():
    two, one = "zu" + chr(0x308) + "g", "z" + chr(0xFC) + "g"
    assert pair_names([two, "b"], [one, "b"]) == ({"b": "b", two: one}, "")
    pairs, guessed = pair_names(["Img1", "Img2"], ["img1", "img2"])
    assert pairs == {"Img1": "img1", "Img2": "img2"}
    assert guessed == "'img1' was taken as the mask of 'Img1', and so on"


def test_capitals_that_tell_two_images_apart_are_no_slip():
    assert pair_names(["A", "a"], ["a"])[0] == {"a": "a"}
    assert pair_names(["Ab", "aB"], ["ab"])[0] == {}


@pytest.mark.parametrize(("image", "label"), [("a1", "a11_mask"), ("a1", "b1_mask"), ("a1", "a1_old")])
def test_other_names_are_not_guessed(image, label):
    assert pair_names([image], [label]) == ({}, "")


def test_a_missing_mask_stays_missing_beside_worded_ones():
    assert pair_names(["a", "a1", "b"], ["a1_mask", "b"])[0] == {"a1": "a1_mask", "b": "b"}


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (["21_training", "22_training"], ["21_manual9", "22_manual9"]),
        (["scan_001", "scan_002"], ["hand_001", "hand_002"]),
        (["t_1_5_leftImg8bit", "t_2_5_leftImg8bit"], ["t_1_5_gtFine_labelIds", "t_2_5_gtFine_labelIds"]),
    ],
)
def test_names_that_differ_alike(images, labels):
    pairs, guessed = pair_names(images, labels)
    assert pairs == dict(zip(images, labels, strict=True))
    assert guessed.endswith("as their names differ alike")


def test_of_the_masks_of_cityscapes_the_numbered_one_is_taken():
    images = [f"town_{n}_leftImg8bit" for n in (1, 2)]
    labels = [f"town_{n}_gtFine_{kind}" for n in (1, 2) for kind in ("color", "labelIds", "instanceIds")]
    assert pair_names(images, labels)[0] == {
        f"town_{n}_leftImg8bit": f"town_{n}_gtFine_labelIds" for n in (1, 2)
    }


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (["s_1", "s_2"], ["h_1", "h_3"]),  # h_3 has no image
        (["s_1", "s_2"], ["h_1_a", "h_1_b"]),  # two masks of one image
        (["1", "2"], ["3", "4"]),
        (["s_1"], ["h_1"]),  # one pair shows no rule
        (["s_1", "s_2", "x"], ["h_1", "x"]),  # names are mostly kept: what is missing is missing
    ],
)
def test_names_that_do_not_differ_alike_are_not_guessed(images, labels):
    assert not set(pair_names(images, labels)[0].values()) - set(images)


def test_images_and_masks_of_one_folder():
    stems = ["a", "a_mask", "b", "mask_b", "mask"]
    assert pair_by_word(stems, stems) == {"a": "a_mask", "b": "mask_b"}
