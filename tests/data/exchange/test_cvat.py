from __future__ import annotations

import numpy as np
import pytest

from unetkit.data.exchange.cvat import Cvat
from unetkit.errors import DataError

NAMES = "<label><name>dog</name></label><label><name>cat</name></label>"
META = f"<meta><task><labels>{NAMES}</labels></task></meta>"
HEAD = '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>'


def image(*shapes, name="a.png", subset="default", height=8):
    inside = "".join(shapes)
    return f'<image id="0" name="{name}" subset="{subset}" width="10" height="{height}">{inside}</image>'


def polygon(points, label="dog", order=0):
    return (
        f'<polygon label="{label}" source="manual" points="{points}" z_order="{order}"><attribute/></polygon>'
    )


@pytest.fixture
def write(tmp_path, write_picture):
    """A function that writes annotations of some images, and lists their cases."""

    def write(*images, meta=META):
        (tmp_path / "annotations.xml").write_text(f"{HEAD}{meta}{''.join(images)}</annotations>")
        return Cvat().find(tmp_path)

    write_picture(tmp_path / "images" / "a.png")
    return write


SQUARE = "2.00,1.00;5.00,1.00;5.00,3.00;2.00,3.00"


def test_every_shape_with_an_area(write):
    foreign = write(
        image(
            polygon(SQUARE),
            '<box label="cat" xtl="7" ytl="5" xbr="9" ybr="7"/>',
            '<box label="dog" xtl="0" ytl="3" xbr="4" ybr="5" rotation="90"/>',  # 2 rows × 4 columns, upended
            '<ellipse label="cat" cx="7" cy="2" rx="2" ry="1"/>',
            '<mask label="cat" rle="1, 2, 2, 1" left="7" top="4" width="3" height="2"/>',  # along the rows
            '<tag label="dog"/>',
        )
    )
    assert foreign.names == {0: "background", 1: "dog", 2: "cat"}
    expected = np.zeros((8, 10), int)
    expected[1:3, 2:5] = 1
    expected[5:7, 7:9] = 2
    expected[2:6, 1:3] = 1
    rows, columns = np.indices((8, 10)) + 0.5
    expected[(rows - 2) ** 2 + ((columns - 7) / 2) ** 2 < 1] = 2
    expected[4, 8:10] = expected[5, 9] = 2
    np.testing.assert_array_equal(foreign.items[0].read().label, expected)


def test_the_higher_order_covers_the_lower(write):
    (item,) = write(image(polygon(SQUARE, "cat", order=1), polygon(SQUARE, "dog", order=-1))).items
    content = item.read()
    assert content.label[1, 2] == 2
    assert content.columns["covered_px"] == "6"


def test_subsets_are_splits_and_folders(tmp_path, write, write_picture):
    for subset in ("Train", "Validation"):
        write_picture(tmp_path / "images" / subset / "b.png")
    items = write(
        image(subset="default"), image(name="b.png", subset="Train"), image(name="b.png", subset="Validation")
    ).items
    assert [(item.id, item.split) for item in items] == [
        ("default-a", None), ("Train-b", "train"), ("Validation-b", "val"),
    ]  # fmt: skip
    assert items[2].read().image == (tmp_path / "images" / "Validation" / "b.png",)
    assert Cvat().holds(tmp_path)
    assert Cvat().holds(tmp_path / "annotations.xml")
    assert not Cvat().holds(tmp_path / "images")


@pytest.mark.parametrize(
    ("drawn", "words"),
    [
        ('<polyline label="dog" points="0,0;1,1"/>', "of the kind 'polyline' encloses no pixels"),
        ('<polygon label="dog" points="0,0;1"/>', "no pairs of numbers"),
        ('<polygon label="dog"/>', "no pairs of numbers"),
        ('<box label="dog" xtl="a" ytl="0" xbr="1" ybr="1"/>', "the numbers of a shape 'box'"),
        ('<ellipse label="dog" cx="1" cy="1" rx="inf" ry="1"/>', "the numbers of a shape 'ellipse'"),
        ('<mask label="dog" rle="1,x" left="0" top="0" width="2" height="2"/>', "run lengths"),
        ('<mask label="dog" rle="1,9" left="0" top="0" width="2" height="2"/>', "run lengths"),
        ('<mask label="dog" rle="1" left="0" top="0" width="0" height="2"/>', "the size of an image"),
        (
            '<mask label="dog" rle="1" left="0" top="0" width="90000" height="90000"/>',
            "a mask of 90000 × 90000 pixels",
        ),
        ('<polygon points="0,0;1,1;1,0"/>', "a shape has no class name"),
    ],
)
def test_what_cannot_be_drawn_is_refused(write, drawn, words):
    (item,) = write(image(drawn)).items
    with pytest.raises(DataError, match=rf"annotations\.xml: .*{words}"):
        item.read()


def test_what_is_no_export_of_images_is_refused(tmp_path, write):
    with pytest.raises(DataError, match="these annotations are of no images"):
        write()
    with pytest.raises(DataError, match=r"a video \(tracks\)"):
        write('<track id="0" label="dog"/>')
    with pytest.raises(DataError, match="expected 1 to 65534 classes"):
        write(image(), meta="<meta/>")
    (item,) = write(image(height=9)).items
    with pytest.raises(DataError, match="drawn on 9 × 10 pixels, the image has 8 × 10"):
        item.read()
    path = tmp_path / "annotations.xml"
    path.write_text(
        path.read_text().replace("<annotations>", '<!DOCTYPE annotations [<!ENTITY a "b">]><annotations>')
    )
    with pytest.raises(DataError, match="declares a document type"):
        Cvat().find(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match="no CVAT annotations here"):
        Cvat().find(tmp_path)
