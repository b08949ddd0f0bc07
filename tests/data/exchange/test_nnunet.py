from __future__ import annotations

import shutil

import pytest

from unetkit.data.exchange.nnunet import NnUnet
from unetkit.errors import DataError


@pytest.fixture
def data(tmp_path, volumes):
    """The six volumes, with test images of which one has a label."""
    shutil.copytree(volumes, tmp_path / "set")
    for name in ("imagesTs", "labelsTs"):
        (tmp_path / "set" / name).mkdir()
    image, label = volumes / "imagesTr" / "case0_0000.nii.gz", volumes / "labelsTr" / "case0.nii.gz"
    for id in ("seen", "unseen"):
        shutil.copy(image, tmp_path / "set" / "imagesTs" / f"{id}_0000.nii.gz")
    shutil.copy(label, tmp_path / "set" / "labelsTs" / "seen.nii.gz")
    (tmp_path / "set" / "imagesTs" / "._seen_0000.nii.gz").touch()  # what a Mac leaves behind
    return tmp_path / "set"


def test_cases_names_and_the_test_part(data):
    assert NnUnet().holds(data)
    foreign = NnUnet().find(data)
    assert foreign.names == {0: "background", 1: "ball"}
    assert foreign.channels == ("CT",)
    assert [item.split for item in foreign.items] == [None] * 6 + ["test"]
    assert foreign.unseen == ((data / "imagesTs" / "unseen_0000.nii.gz",),)
    content = foreign.items[0].read()
    assert content.image == (data / "imagesTr" / "case0_0000.nii.gz",)
    assert content.label == data / "labelsTr" / "case0.nii.gz"


def test_a_missing_label_is_a_problem_of_one_case(data):
    (data / "labelsTr" / "case3.nii.gz").unlink()
    foreign = NnUnet().find(data)
    assert len(foreign.items) == 6
    assert [problem.code for problem in foreign.problems] == ["missing-mask"]


def test_a_label_that_went_away_is_refused(data):
    item = NnUnet().find(data).items[0]
    (data / "labelsTr" / "case0.nii.gz").unlink()
    with pytest.raises(DataError, match="the case has no label"):
        item.read()


def test_other_folders_are_none(tmp_path, wafers):
    assert not NnUnet().holds(wafers)
    assert not NnUnet().holds(tmp_path)
