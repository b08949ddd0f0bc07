from __future__ import annotations

import numpy as np
import pytest

from unetkit.data.exchange.yolo import Yolo, label_path
from unetkit.errors import DataError

SQUARE = "{} 0.2 0.25 0.5 0.25 0.5 0.75 0.2 0.75\n"


@pytest.fixture
def lay(tmp_path, write_picture):
    """A function: an image (10 × 8 pixels) with its lines, None for no file."""

    def place(name, lines):
        write_picture(tmp_path / name)
        if lines is not None:
            path = label_path(tmp_path / name, tmp_path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(lines)

    return place


def test_outlines_are_filled_in_shares_of_the_image(tmp_path, lay):
    lay("images/a.png", SQUARE.format(0) + "1 0 0 0.1 0 0.1 0.125 0 0.125\n")
    (item,) = Yolo().find(tmp_path).items
    expected = np.zeros((8, 10), int)
    expected[2:6, 2:5] = 1
    expected[0, 0] = 2
    np.testing.assert_array_equal(item.read().label, expected)


@pytest.mark.parametrize("names", ["images/{}/a.png", "{}/images/a.png"])
def test_folders_are_the_split(tmp_path, lay, names):
    for side in ("train", "valid"):
        lay(names.format(side), SQUARE.format(0))
    foreign = Yolo().find(tmp_path)
    assert [item.split for item in foreign.items] == ["train", "val"]
    assert len({item.id for item in foreign.items}) == 2
    assert Yolo().holds(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "names:\n  0: cell\n  2: rim\n",
        "nc: 3\nnames: ['cell', '', \"rim\"]\n",
        "names:\n- cell\n- x\n- rim\n",
        "names: {0: cell, 2: 'rim'}\n",
        "names:  # of two\n  0: cell  # round\n  2: rim\n",
    ],
)
def test_names_are_those_of_data_yaml(tmp_path, lay, text):
    (tmp_path / "data.yaml").write_text(text)
    lay("images/a.png", SQUARE.format(2))
    foreign = Yolo().find(tmp_path)
    value = next(value for value, name in foreign.names.items() if name == "rim")
    assert foreign.names[1] == "cell"
    assert set(np.unique(foreign.items[0].read().label)) == {0, value}


def test_images_without_lines(tmp_path, lay):
    lay("images/a.png", SQUARE.format(0))
    lay("images/b.png", None)
    lay("images/c.png", "")
    lay("test/images/d.png", None)
    foreign = Yolo().find(tmp_path)
    assert [item.id for item in foreign.items] == ["a", "b", "c"]
    assert [int(np.asarray(item.read().label).max()) for item in foreign.items] == [1, 0, 0]
    assert foreign.unseen == ((tmp_path / "test/images/d.png",),)
    assert foreign.notes == (
        "1 images have no text file: they show background only, as Ultralytics reads them",
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 0.5 0.5 0.2 0.2", "a shape of the kind 'box' encloses no pixels"),
        ("0 0.1 0.1 0.5 0.5 0.7", "no list of pairs between 0 and 1"),
        ("0 10 10 50 10 50 50", "no list of pairs between 0 and 1"),
        ("cat 0.1 0.1 0.5 0.1 0.5 0.5", "line 1: expected a class and numbers"),
        ("0.5 0.1 0.1 0.5 0.1 0.5 0.5", "line 1: expected a class and numbers"),
        ("0 nan 0.1 0.5 0.1 0.5 0.5", "line 1: expected a class and numbers"),
    ],
)
def test_damaged_lines_refuse_their_image(tmp_path, lay, line, words):
    lay("images/a.png", line)
    lay("images/b.png", SQUARE.format(0))
    first, second = Yolo().find(tmp_path).items
    with pytest.raises(DataError, match=words) as wrong:
        first.read()
    assert wrong.value.where == str(tmp_path / "labels/a.txt")
    assert np.asarray(second.read().label).max() == 1
