from __future__ import annotations

import shutil

import pytest

from unetkit.data.exchange.msd import Msd
from unetkit.data.exchange.nnunet import NnUnet
from unetkit.errors import DataError

FACTS = {
    "name": "Balls",
    "modality": {"0": "CT"},
    "labels": {"0": "background", "1": "ball"},
    "training": [
        {"image": f"./imagesTr/case{n}.nii.gz", "label": f"./labelsTr/case{n}.nii.gz"} for n in (0, 1)
    ],
    "test": ["./imagesTs/case9.nii.gz", "./imagesTs/gone.nii.gz"],
}


@pytest.fixture
def data(tmp_path, volumes, write_json):
    """Two cases, one test image, and what a Mac leaves behind."""
    for n in (0, 1):
        for folder, name in (("imagesTr", f"case{n}_0000"), ("labelsTr", f"case{n}")):
            (tmp_path / folder).mkdir(exist_ok=True)
            shutil.copy(volumes / folder / f"{name}.nii.gz", tmp_path / folder / f"case{n}.nii.gz")
    (tmp_path / "imagesTr" / "._case0.nii.gz").touch()
    (tmp_path / "imagesTs").mkdir()
    shutil.copy(tmp_path / "imagesTr" / "case0.nii.gz", tmp_path / "imagesTs" / "case9.nii.gz")
    write_json(tmp_path / "dataset.json", FACTS)
    return tmp_path


def test_the_list_says_which_cases_there_are(data):
    assert Msd().holds(data)
    assert not NnUnet().holds(data)
    foreign = Msd().find(data)
    assert [item.id for item in foreign.items] == ["case0", "case1"]
    assert (foreign.names, foreign.channels) == ({0: "background", 1: "ball"}, ("CT",))
    assert foreign.unseen == ((data / "imagesTs" / "case9.nii.gz",),)
    assert foreign.items[1].read().label == data / "labelsTr" / "case1.nii.gz"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training": []}, "'training' lists no case"),
        ({"training": {"a": 1}}, "expected a list 'training'"),
        (
            {"training": [{"image": "../x.nii.gz", "label": "a"}]},
            r"'\.\./x\.nii\.gz' does not lie in this folder",
        ),
        ({"training": [{"image": "/x.nii.gz", "label": "a"}]}, "does not lie in this folder"),
        ({"training": [{"image": "a.nii.gz"}]}, "'None' does not lie in this folder"),
        ({"test": ["../x.nii.gz"]}, "does not lie in this folder"),
    ],
)
def test_a_list_that_cannot_be_is_refused(data, write_json, changes, words):
    write_json(data / "dataset.json", {**FACTS, **changes})
    with pytest.raises(DataError, match=rf"dataset\.json: .*{words}"):
        Msd().find(data)


def test_a_file_that_is_listed_and_missing_refuses_its_case(data, write_json):
    for name in ("gone.nii.gz", "9" * 400):
        write_json(
            data / "dataset.json", {**FACTS, "training": [{"image": name, "label": "labelsTr/case0.nii.gz"}]}
        )
        (item,) = Msd().find(data).items
        with pytest.raises(DataError, match="missing image"):
            item.read()
    (data / "labelsTr" / "case0.nii.gz").unlink()
    with pytest.raises(DataError, match="the case has no label"):
        item.read()


def test_other_folders_are_none(data, volumes, write_json):
    assert not Msd().holds(volumes)
    assert not Msd().holds(data / "imagesTr")
    write_json(data / "dataset.json", {**FACTS, "training": 3})
    assert not Msd().holds(data)
