from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from unetkit.data.catalog import find_cases
from unetkit.data.labels import read_values
from unetkit.errors import DataError, ResourceError, UsageError
from unetkit.workflows.check import check
from unetkit.workflows.convert import Conversion, convert

SQUARE = [2, 1, 5, 1, 5, 3, 2, 3]  # x, y: columns 2 to 4, rows 1 and 2


def corners(points):
    return [points[at : at + 2] for at in range(0, len(points), 2)]


def write_coco(folder, names):
    images = [{"id": n, "file_name": f"{name}.png", "height": 8, "width": 10} for n, name in enumerate(names)]
    rows = [{"id": n, "image_id": n, "category_id": 1, "segmentation": [SQUARE]} for n in range(len(names))]
    whole = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "spot"}]}
    (folder / "instances.json").write_text(json.dumps(whole))


def write_labelme(folder, names):
    for name in names:
        shapes = [{"label": "spot", "points": corners(SQUARE), "shape_type": "polygon"}]
        (folder / f"{name}.json").write_text(json.dumps({"shapes": shapes, "imagePath": f"{name}.png"}))


def write_cvat(folder, names):
    points = ";".join(f"{x},{y}" for x, y in corners(SQUARE))
    images = "".join(
        f'<image name="{name}.png" width="10" height="8"><polygon label="spot" points="{points}"/></image>'
        for name in names
    )
    (folder / "annotations.xml").write_text(f"<annotations>{images}</annotations>")


def write_yolo(folder, names):
    (folder / "labels").mkdir()
    for name in names:
        numbers = " ".join(f"{x / 10} {y / 8}" for x, y in corners(SQUARE))
        (folder / "labels" / f"{name}.txt").write_text(f"0 {numbers}")
    (folder / "data.yaml").write_text("names:\n  0: spot\n")
    (folder / "images").mkdir()
    for name in names:
        (folder / f"{name}.png").rename(folder / "images" / f"{name}.png")


WRITERS = {"coco": write_coco, "labelme": write_labelme, "cvat": write_cvat, "yolo": write_yolo}


@pytest.fixture(params=WRITERS)
def drawn(request, tmp_path):
    """The same three pictures with the same squares, as each of the tools writes them."""
    folder = tmp_path / request.param
    folder.mkdir()
    for number, name in enumerate("abc"):
        pixels = np.random.default_rng(number).integers(0, 99, (8, 10), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    WRITERS[request.param](folder, "abc")
    return folder


@pytest.fixture
def coco(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate("abc"):
        Image.fromarray(np.full((8, 10), number, np.uint8)).save(folder / f"{name}.png")
    write_coco(folder, "abc")
    return folder


def test_three_tools_give_the_same_data_set(drawn, tmp_path):
    done = convert(drawn, tmp_path / "out")
    assert (done.kind, done.cases, done.groups, done.refused) == (drawn.name, 3, 3, ())
    assert done.classes == {0: "background", 1: "spot"}
    expected = np.zeros((8, 10), int)
    expected[1:3, 2:5] = 1
    catalog = find_cases(tmp_path / "out")
    assert [case.id for case in catalog.cases] == ["a", "b", "c"]
    assert catalog.names == {0: "background", 1: "spot"}
    for case in catalog.cases:
        np.testing.assert_array_equal(read_values(case)[0], expected)
    assert not check(tmp_path / "out").refused
    assert Conversion.from_json((tmp_path / "out" / "conversion.json").read_bytes(), where="") == done


def test_folders_of_volumes(volumes, tmp_path):
    done = convert(volumes, tmp_path / "out", "nnunet")
    assert (done.cases, done.source) == (6, volumes.name)
    catalog = find_cases(tmp_path / "out")
    assert [case.id for case in catalog.cases] == [f"case{n}" for n in range(6)]
    assert (tmp_path / "out" / "images" / "case0.nii.gz").read_bytes() == (
        volumes / "imagesTr" / "case0_0000.nii.gz"
    ).read_bytes()
    assert catalog.channels == ("CT",)


def test_a_refused_case_stops_nothing_and_is_named(coco, tmp_path):
    (coco / "b.png").write_bytes(b"no picture")
    done = convert(coco, tmp_path / "out", "coco")
    assert (done.cases, [each.id for each in done.refused]) == (2, ["b"])
    assert "b.png" in done.refused[0].where
    assert [case.id for case in find_cases(tmp_path / "out").cases] == ["a", "c"]


def test_where_nothing_can_be_used_nothing_is_written(coco, tmp_path):
    for name in "abc":
        (coco / f"{name}.png").unlink()
    with pytest.raises(DataError, match=r"no case can be used: missing image: there is no 'a\.png'"):
        convert(coco, tmp_path / "out", "coco")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_only_an_earlier_conversion_is_replaced_and_only_when_told(coco, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    convert(coco, out)  # an empty folder is free
    with pytest.raises(UsageError, match=r"an earlier conversion already.*--overwrite"):
        convert(coco, out)
    (coco / "c.png").unlink()
    assert convert(coco, out, overwrite=True).cases == 2
    assert not (out / "images" / "c.png").exists()
    (out / "conversion.json").unlink()
    with pytest.raises(UsageError, match=r"something that no conversion made already.*another folder"):
        convert(coco, out, overwrite=True)
    assert (out / "images" / "a.png").exists()


def test_source_and_target_do_not_lie_in_one_another(coco, tmp_path):
    for target in (coco, coco / "out", tmp_path):
        with pytest.raises(UsageError, match="lie in one another"):
            convert(coco, target, overwrite=True)


def test_a_dry_run_writes_nothing(coco, tmp_path):
    done = convert(coco, tmp_path / "out", dry_run=True)
    assert (done.cases, done.groups) == (3, 3)
    assert not (tmp_path / "out").exists()


def test_a_failure_half_way_leaves_what_was_there(coco, tmp_path, monkeypatch):
    out = tmp_path / "out"
    convert(coco, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def full(*_):
        raise ResourceError("no room left", cure="free space", where=out)

    monkeypatch.setattr("unetkit.workflows.convert.write_tables", full)
    with pytest.raises(ResourceError, match="no room left"):
        convert(coco, out, overwrite=True)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "photos"]


def test_an_unknown_kind_is_answered_with_the_nearest(coco, tmp_path):
    with pytest.raises(UsageError, match=r"there is no dataset_kind 'cocos'.*use 'coco'"):
        convert(coco, tmp_path / "out", "cocos")
    with pytest.raises(DataError, match="there is no such file or folder"):
        convert(tmp_path / "nothing", tmp_path / "out", "coco")
