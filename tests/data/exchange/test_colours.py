from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from unetkit.data.exchange.colours import Colours
from unetkit.errors import DataError

NUMBERS = np.array([[0, 1, 2], [2, 2, 0]], np.uint8)
COLOURS = np.array([[0, 0, 0], [255, 0, 0], [0, 128, 255]], np.uint8)


@pytest.fixture
def coloured(tmp_path):
    """Two pictures with masks of three colours, the second without red."""
    for name, numbers in (("a", NUMBERS), ("b", np.where(NUMBERS == 1, 0, NUMBERS))):
        for folder, pixels in (("images", numbers * 9), ("masks", COLOURS[numbers])):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / f"{name}.png")
    return tmp_path


def test_colours_are_numbered_alike_in_every_mask(coloured):
    assert Colours().holds(coloured)
    foreign = Colours().find(coloured)
    assert foreign.names == {0: "background", 1: "#0080ff", 2: "#ff0000"}
    swapped = np.array([0, 2, 1], np.uint8)
    first, second = (item.read().label for item in foreign.items)
    np.testing.assert_array_equal(first, swapped[NUMBERS])
    np.testing.assert_array_equal(second, swapped[np.where(NUMBERS == 1, 0, NUMBERS)])


def test_names_and_their_order_are_those_of_the_table(coloured):
    (coloured / "class_dict.csv").write_text(
        "name, r, g, b\nvoid,0,0,0\nred,255,0,0\nsea,0,128,255\nx,1,1,1\n"
    )
    foreign = Colours().find(coloured)
    assert foreign.names == {0: "background", 1: "red", 2: "sea"}
    np.testing.assert_array_equal(foreign.items[0].read().label, NUMBERS)
    (coloured / "class_dict.csv").write_text("name,r,g,b\nred,255,0,256\n")
    with pytest.raises(DataError, match="line 2: expected name, r, g, b, got red, 255, 0, 256"):
        Colours().find(coloured)


def test_shades_are_no_classes(coloured):
    shades = np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(shades).save(coloured / "masks" / "a.png")
    foreign = Colours().find(coloured)
    assert [item.id for item in foreign.items] == ["b"]
    assert "they are shades, not classes" in foreign.problems[0].problem


def test_grey_masks_are_no_colours(coloured):
    for name in "ab":
        Image.fromarray(NUMBERS).save(coloured / "masks" / f"{name}.png")
    assert not Colours().holds(coloured)


def test_jpegs_in_black_and_white_are_parted_in_the_middle(tmp_path):
    rows, columns = np.indices((48, 64))
    disk = (rows - 20) ** 2 + (columns - 30) ** 2 < 15**2
    for folder, pixels in (("images", disk * 90), ("masks", disk * 255)):
        (tmp_path / folder).mkdir()
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / folder / "a.jpg", quality=75)
    assert Colours().holds(tmp_path)
    foreign = Colours().find(tmp_path)
    assert foreign.names == {0: "background", 1: "foreground"}
    assert (foreign.items[0].read().label == disk).mean() > 0.995


@pytest.mark.parametrize(
    "pixels", [np.linspace(0, 255, 64).reshape(8, 8), np.stack([np.eye(8) * 255] * 3, -1) * [1, 0, 0]]
)
def test_other_jpegs_are_no_masks(tmp_path, pixels):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.kron(pixels, np.ones((8, 8, 1)[: pixels.ndim])).astype(np.uint8)).save(
            tmp_path / folder / "a.jpg", quality=75
        )
    foreign = Colours().find(tmp_path)
    assert foreign.items == ()
    assert "a JPEG mask of more than black and white" in foreign.problems[0].problem
