from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from unetkit.data.catalog import find_cases
from unetkit.data.exchange import Content, Foreign, Item, Volume
from unetkit.data.exchange.writing import write_declared, write_item, write_tables, write_unseen
from unetkit.data.formats import format_of
from unetkit.data.tables import read_dataset_json
from unetkit.errors import DataError
from unetkit.records.case import Grid


def item(id, content, **more):
    return Item(id, content.label if hasattr(content.label, "name") else id, lambda: content, **more)


def store(folder, id, content, **more):
    return write_item(folder, item(id, content, **more), content)


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_pictures_are_copied_and_labels_written(tmp_path, out, write_picture):
    image = write_picture(tmp_path / "A.PNG")
    label = np.eye(8, 10, dtype=np.uint8)
    row = store(out, "a", Content((image,), label, {"objects": "3"}), split="val")
    assert row == {"id": "a", "group": "a", "split": "val", "objects": "3"}
    assert (out / "images" / "a.png").read_bytes() == image.read_bytes()
    np.testing.assert_array_equal(
        format_of(out / "masks" / "a.png").read_label(out / "masks" / "a.png")[0], label
    )
    assert sorted(path.name for path in out.iterdir()) == ["images", "masks"]


def test_volumes_keep_place_type_and_what_lies_beside(out):
    grid = Grid((2.0, 1.0, 1.5), (5.0, -3.0, 7.0), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))
    pixels = np.arange(-12, 12, dtype=np.int16).reshape(1, 2, 3, 4)
    bits = np.full((2, 3, 4), 5, np.uint8)
    content = Content(Volume(pixels, grid), bits > 0, beside={"readers": bits})
    assert store(out, "a", content, group="p")["group"] == "p"
    for folder, expected in (("images", pixels[0]), ("masks", bits > 0), ("readers", bits)):
        found, place = format_of(out / folder / "a.nii.gz").read(out / folder / "a.nii.gz")
        np.testing.assert_array_equal(found[0], expected)
        assert place.matches(grid)


def test_channels_are_numbered_as_the_catalog_reads_them(out, volumes):
    image, label = volumes / "imagesTr" / "case0_0000.nii.gz", volumes / "labelsTr" / "case0.nii.gz"
    write_tables(out, [store(out, "x", Content((image, image), label))], {})
    (case,) = find_cases(out).cases
    assert [path.name for path in case.images] == ["x_0000.nii.gz", "x_0001.nii.gz"]


def test_a_case_that_is_refused_leaves_nothing(tmp_path, out, write_picture, volumes):
    image, small = write_picture(tmp_path / "a.png"), write_picture(tmp_path / "b.png", (2, 2))
    store(out, "a_b", Content((image,), image))
    for content, words in (
        (
            Content((image,), np.zeros((2, 2), np.uint8)),
            r"its label has the shape \(2, 2\), its image \(8, 10\)",
        ),
        (Content((image,), small), r"b\.png: the label has the shape \(2, 2\), its image \(8, 10\)"),
        (Content((image,), np.full((8, 10), -1)), "labels must be whole numbers from 0"),
        (Content((tmp_path / "none.png",), image), "cannot be read"),
        (Content((tmp_path / "none.txt",), image), "no format reads this file"),
    ):
        with pytest.raises(DataError, match=words):
            store(out, "a", content)
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()) == [
        "images/a_b.png",
        "masks/a_b.png",
    ]
    with pytest.raises(DataError, match=r"another case has written 'a_b\.png' already"):
        store(out, "a_b", Content((image,), image))


def test_a_header_beside_its_data_is_not_copied(tmp_path, out):
    from unetkit.data.formats.nrrd import NrrdFormat

    NrrdFormat().write(tmp_path / "a.nrrd", np.zeros((2, 3, 4), np.uint8), Grid.plain(3))
    head, _, data = (tmp_path / "a.nrrd").read_bytes().partition(b"\n\n")
    (tmp_path / "b.nhdr").write_bytes(head + b"\ndata file: b.raw\n\n")
    (tmp_path / "b.raw").write_bytes(data)
    with pytest.raises(DataError, match="only an image in one file of a known format is copied"):
        store(out, "a", Content((tmp_path / "b.nhdr",), np.zeros((2, 3, 4), np.uint8)))


def test_unseen_images_keep_their_names_and_tell_folders_apart(tmp_path, out, write_picture):
    one, two, three = (write_picture(tmp_path / "s" / name) for name in ("x/a.png", "y/a.png", "y/b.png"))
    assert write_unseen(out, []) == 0
    assert write_unseen(out, [(one,), (two, three)]) == 2
    assert sorted(path.name for path in (out / "unseen").iterdir()) == ["x-a.png", "y-a.png", "y-b.png"]
    shutil.rmtree(out / "unseen")
    write_unseen(out, [(one,), (three,)])
    assert sorted(path.name for path in (out / "unseen").iterdir()) == ["a.png", "b.png"]


def test_tables_have_the_columns_of_all_rows(out):
    write_tables(out, [{"id": "a", "x": "1"}, {"id": "b,c", "y": "2"}], {"nodules": [{"id": "a", "z": "3"}]})
    assert (out / "index.csv").read_text() == 'id,x,y\na,1,\n"b,c",,2\n'
    assert (out / "nodules.csv").read_text() == "id,z\na,3\n"


def test_names_are_declared_as_the_catalog_reads_them(out):
    write_declared(out, Foreign((), {0: "background", 1: "Käfer"}, ("CT", "PET"), ignore_value=255))
    declared = read_dataset_json(out / "dataset.json")
    assert (declared.names, declared.channels, declared.ignore_value) == (
        {0: "background", 1: "Käfer"}, ("CT", "PET"), 255,
    )  # fmt: skip
    (out / "dataset.json").unlink()
    write_declared(out, Foreign((), {}))
    assert not (out / "dataset.json").exists()
    write_declared(out, Foreign((), {0: "background", 1: "a"}))
    assert json.loads((out / "dataset.json").read_text()) == {"labels": {"background": 0, "a": 1}}
