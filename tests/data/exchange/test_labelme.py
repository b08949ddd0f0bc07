from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from unetkit.data.exchange.labelme import LabelMe
from unetkit.errors import DataError


def shape(label, points, kind="polygon", **more):
    return {"label": label, "points": points, "shape_type": kind, "flags": {}, **more}


def drawing(*shapes, image="a.png", **more):
    return {"version": "5.4", "shapes": list(shapes), "imagePath": image, "imageData": None, **more}


def painted(mask):
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8)).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.fixture
def label(tmp_path, write_json, write_picture):
    """A function: the label of one image."""
    write_picture(tmp_path / "a.png")

    def read(*shapes, **more):
        write_json(tmp_path / "a.json", drawing(*shapes, **more))
        (item,) = LabelMe().find(tmp_path).items
        return item.read().label

    return read


def test_every_shape_with_an_area(label):
    mask = np.array([[1, 0, 1]], bool)
    found = label(
        shape("a", [[2, 1], [5, 1], [5, 3], [2, 3]]),
        shape("b", [[9, 5], [7, 7]], "rectangle"),  # from any corner to the other one
        shape("c", [[2, 6], [2, 4.6]], "circle"),
        shape("a", [[6, 0], [8, 0]], "mask", mask=painted(mask)),
        imageHeight=8,
        imageWidth=10,
    )
    expected = np.zeros((8, 10), int)
    expected[1:3, 2:5] = 1
    expected[5:7, 7:9] = 2
    rows, columns = np.indices((8, 10)) + 0.5
    expected[(rows - 6) ** 2 + (columns - 2) ** 2 < 1.4**2] = 3
    expected[0, [6, 8]] = 1
    np.testing.assert_array_equal(found, expected)


def test_ignored_and_background(tmp_path, label):
    whole, part = [[0, 0], [10, 0], [10, 8], [0, 8]], [[0, 0], [2, 0], [2, 8], [0, 8]]
    found = label(
        shape("a", whole), shape("__ignore__", part), shape("_background_", [[9, 0], [10, 0], [10, 8]])
    )
    assert set(np.unique(found)) == {0, 1, 255}
    foreign = LabelMe().find(tmp_path)
    assert (foreign.ignore_value, foreign.names) == (255, {0: "background", 1: "a"})


def test_images_without_a_json_are_unseen_and_classes_are_those_of_all_files(
    tmp_path, write_json, write_picture
):
    for name, word in (("x", "dog"), ("y", "cat")):
        write_picture(tmp_path / name / "a.jpg")
        write_json(tmp_path / name / "a.json", drawing(shape(word, [[0, 0], [1, 0], [1, 1]]), image="a.jpg"))
    alone = write_picture(tmp_path / "x" / "b.png")
    foreign = LabelMe().find(tmp_path)
    assert foreign.names == {0: "background", 1: "cat", 2: "dog"}
    assert [item.id for item in foreign.items] == ["x-a", "y-a"]
    assert foreign.unseen == ((alone,),)
    assert LabelMe().holds(tmp_path)
    assert not LabelMe().holds(tmp_path / "x" / "b.png")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (shape("a", [[1, 1], [2, 2]], "line"), "of the kind 'line' encloses no pixels"),
        (shape("a", [[1, 1]], "point"), "of the kind 'point'"),
        (shape("a", [[1, 1], [2, 2]]), "of the kind 'polygon'"),
        (shape("a", [[1, 1, 1]]), "no pairs of numbers"),
        (shape("a", None), "no pairs of numbers"),
        (shape("a", [[0, 0], [1, 1]], "mask", mask="no base 64!"), "the mask of a shape: "),
        (
            shape("a", [[0, 0], [1, 1]], "mask", mask="bm8gUE5H"),
            "the mask of a shape: these bytes are no PNG",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(label, row, words):
    with pytest.raises(DataError, match=rf"a\.json: .*{words}"):
        label(row)


def test_a_drawing_of_another_size_or_without_its_image(label, tmp_path):
    one = shape("a", [[0, 0], [1, 0], [1, 1]])
    with pytest.raises(DataError, match="drawn on 10 × 8 pixels, the image has 8 × 10"):
        label(one, imageHeight=10, imageWidth=8)
    with pytest.raises(DataError, match=r"missing image: there is no 'b\.png'"):
        label(one, image="b.png")
    with pytest.raises(DataError, match="names no image"):
        label(one, image=None)
    (tmp_path / "a.json").write_text('{"shapes": {}, "imagePath": "a.png"}')
    (tmp_path / "b.json").write_text('{"shapes": [{"label": ""}], "imagePath": "a.png"}')
    foreign = LabelMe().find(tmp_path)
    assert foreign.items == ()
    assert [problem.problem for problem in foreign.problems] == [
        "expected a list 'shapes' of objects",
        "a shape has no class name",
    ]
    (tmp_path / "b.json").unlink()
    (tmp_path / "a.json").unlink()
    with pytest.raises(DataError, match="no LabelMe annotations here"):
        LabelMe().find(tmp_path)


def test_a_file_that_ends_before_its_image_path_is_told(tmp_path, write_picture, write_json):
    square = [[2, 1], [5, 1], [5, 3]]
    for name in ("a", "b"):
        write_picture(tmp_path / f"{name}.png")
        write_json(tmp_path / f"{name}.json", drawing(shape("a", square), image=f"{name}.png"))
    path = tmp_path / "b.json"
    path.write_text(path.read_text().partition('"imagePath"')[0])
    (tmp_path / "notes.json").write_text("{}")  # of no picture
    foreign = LabelMe().find(tmp_path)
    assert [item.id for item in foreign.items] == ["a"]
    (problem,) = foreign.problems
    assert (problem.severity, problem.where) == ("refused", str(path))
    assert "no 'shapes' and 'imagePath'" in problem.problem
