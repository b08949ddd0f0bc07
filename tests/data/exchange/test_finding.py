from __future__ import annotations

import pytest

from unetkit.data.exchange.finding import case_ids, find_image, split_word
from unetkit.errors import DataError


@pytest.fixture
def data(tmp_path):
    for name in ("set/images/a.png", "set/a.png", "set/b.png", "secret.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path / "set"


def found(name, data):
    folders = [data / "images", data]
    return find_image(name, folders, inside=data, where=data / "a.json").relative_to(data).as_posix()


def test_the_first_folder_that_has_it(data):
    assert found("a.png", data) == "images/a.png"
    assert found("b.png", data) == "b.png"
    assert found("..\\b.png", data) == "b.png"  # from images/, as Windows writes it


def test_a_path_of_another_machine_leaves_its_name(data):
    assert found("/home_of_somebody/photos/a.png", data) == "images/a.png"
    assert found("C:\\photos\\b.png", data) == "b.png"
    assert found("../../../x/b.png", data) == "b.png"


@pytest.mark.parametrize("name", ["../secret.png", "../../secret.png", "c.png", "images/../../secret.png"])
def test_nothing_outside_of_the_data_set_is_opened(data, name):
    with pytest.raises(
        DataError, match=r"a\.json: missing image: there is no '(secret|c)\.png' in images/, \./"
    ):
        found(name, data)


def test_no_name_is_no_image(data):
    for name in ("", "..", "a\0.png"):
        with pytest.raises(DataError, match=r"names no image|missing image"):
            found(name, data)


def test_names_are_as_short_as_tells_them_apart():
    assert case_ids(["x/a.png", "y/b.png"]) == ["a", "b"]
    assert case_ids(["x/a.png", "y\\a.png"]) == ["x-a", "y-a"]
    assert case_ids(["x/a.png", "x/a.jpg"]) == ["x-a.png", "x-a.jpg"]
    assert case_ids(["../a b.png"])[0].startswith("a_b-")  # a name that a disk takes, different for each
    with pytest.raises(DataError, match=r"two entries name the image 'x/a\.png'"):
        case_ids(["b.png", "x/a.png", "x/A.png"])  # many disks take these for one


def test_words_for_splits():
    assert split_word(["valid"]) == "val"
    assert split_word(["_annotations.coco.json", "test"]) == "test"
    assert split_word(["constraint.json"]) is None
