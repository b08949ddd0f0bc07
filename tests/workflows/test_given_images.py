"""A data set gives its cases, a file or a folder its images, a folder of slices its volume."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from unetkit.errors import DataError
from unetkit.records.plan import EXAMPLE, DataPlan
from unetkit.workflows.given_images import given_images

PICTURES = DataPlan.model_validate(EXAMPLE["data"])
VOLUMES = PICTURES.model_copy(update={"rank": 3})


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)


def test_a_data_set_gives_its_labelled_cases_and_a_folder_its_images(wafers):
    cases = given_images(wafers, PICTURES)
    assert len(cases) == 12
    assert all(case.label for case in cases)
    plain = given_images(wafers / "images", PICTURES)
    assert [case.id for case in plain] == [case.id for case in cases]
    assert not any(case.label for case in plain)
    (single,) = given_images(wafers / "images" / "wafer00-0.png", PICTURES)
    assert (single.id, single.group) == ("wafer00-0", "wafer00-0")


def test_a_folder_whose_list_names_the_images_is_a_data_set(tmp_path):
    picture(tmp_path / "camera" / "a.png")
    picture(tmp_path / "camera" / "b.png")
    picture(tmp_path / "drawn" / "a.png")
    (tmp_path / "index.csv").write_text("image,label\ncamera/a.png,drawn/a.png\ncamera/b.png,\n")
    assert [(case.id, case.label is None) for case in given_images(tmp_path, PICTURES)] == [
        ("a", False),
        ("b", True),
    ]


def test_a_list_of_groups_beside_images_makes_no_data_set(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "index.csv").write_text("id,group\na,one\n")
    assert [case.id for case in given_images(tmp_path, PICTURES)] == ["a"]


def test_a_folder_of_slices_is_one_volume_to_a_model_of_volumes(write_series, tmp_path):
    write_series(tmp_path / "scan", np.zeros((3, 8, 8), np.int16))
    (volume,) = given_images(tmp_path / "scan", VOLUMES)
    assert volume.images == (tmp_path / "scan",)
    assert len(given_images(tmp_path / "scan", PICTURES)) == 3


def test_a_folder_without_an_image_is_refused(tmp_path):
    with pytest.raises(DataError, match="this folder holds no image"):
        given_images(tmp_path, PICTURES)
