from __future__ import annotations

import zlib

import numpy as np
import pytest

from unetkit.data.formats import files_of
from unetkit.data.formats.metaimage import MetaImageFormat
from unetkit.errors import DataError
from unetkit.records.case import Grid

META = MetaImageFormat()
VOXELS = np.arange(60, dtype="<i2").reshape(3, 4, 5)  # (z, y, x): x runs fastest in the file
DATA = VOXELS.tobytes()
FIELDS = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    # the file's x runs up, its y to the right, its z to the front: rows are directions of axes, in LPS
    "TransformMatrix": "0 0 1 -1 0 0 0 -1 0",
    "Offset": "10 20 -30",
    "ElementSpacing": "0.5 0.7 3",
    "DimSize": "5 4 3",
    "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}


def craft(path, data=DATA, **changes):
    fields = {name: value for name, value in {**FIELDS, **changes}.items() if value is not None}
    last = fields.pop("ElementDataFile", None)
    lines = [f"{name} = {value}" for name, value in fields.items()]
    lines += [] if last is None else [f"ElementDataFile = {last}"]
    path.write_bytes("\n".join([*lines, ""]).encode() + data)
    return path


def test_voxels_and_geometry_are_those_of_the_header(tmp_path):
    path = craft(tmp_path / "a.mha")
    pixels, grid = META.read(path)
    np.testing.assert_array_equal(pixels, VOXELS[None])
    assert grid.spacing_mm == (3.0, 0.7, 0.5)
    assert grid.origin_mm == (-10.0, -20.0, -30.0)
    assert grid.direction == ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    header = META.describe(path)
    assert (header.channels, header.shape, header.dtype, header.grid) == (1, (3, 4, 5), "int16", grid)


def test_zlib_big_endian_and_a_file_beside(tmp_path):
    big = zlib.compress(VOXELS.astype(">i2").tobytes())
    packed = {"CompressedData": "True", "BinaryDataByteOrderMSB": "True"}
    (tmp_path / "b.zraw").write_bytes(big)
    for path in (
        craft(tmp_path / "a.mha", big, **packed),
        craft(tmp_path / "b.mhd", b"", ElementDataFile="b.zraw", **packed),
    ):
        np.testing.assert_array_equal(META.read(path)[0][0], VOXELS)
    assert files_of(path) == (path, tmp_path / "b.zraw")


def test_a_raw_file_with_a_head_of_its_own(tmp_path):
    (tmp_path / "a.raw").write_bytes(b"HEAD" + VOXELS.tobytes())
    for size in ("4", "-1"):
        path = craft(tmp_path / "a.mhd", b"", ElementDataFile="a.raw", HeaderSize=size)
        np.testing.assert_array_equal(META.read(path)[0][0], VOXELS)


def test_the_channels_of_a_voxel_lie_together(tmp_path):
    stored = np.arange(120, dtype="<i2")
    path = craft(tmp_path / "a.mha", stored.tobytes(), ElementNumberOfChannels="2")
    np.testing.assert_array_equal(META.read(path)[0], stored.reshape(3, 4, 5, 2).transpose(3, 0, 1, 2))
    with pytest.raises(DataError, match="expected one label per voxel, got 2 channels"):
        META.read_label(path)


def test_a_picture_and_a_spacing_without_a_place(tmp_path):
    plain = {"TransformMatrix": None, "Offset": None}
    path = craft(tmp_path / "a.mha", NDims="2", DimSize="5 12", ElementSpacing="0.5 2", **plain)
    pixels, grid = META.read(path)
    assert pixels.shape == (1, 12, 5)
    assert (grid.spacing_mm, grid.calibrated, grid.placed) == ((2.0, 0.5), True, False)
    header = META.describe(craft(tmp_path / "b.mha", ElementSpacing=None, **plain))
    assert not header.grid.calibrated
    assert "it states no spacing" in header.notes[0]


def test_a_place_that_was_not_stated_is_not_invented(tmp_path):
    for grid in (Grid.plain(3), Grid((2.0, 1.0, 1.5), (0.0,) * 3, Grid.plain(3).direction, placed=False)):
        META.write(tmp_path / "a.mha", np.ones((2, 3, 4), np.uint8), grid)
        assert b"Offset" not in (tmp_path / "a.mha").read_bytes()
        assert META.read_label(tmp_path / "a.mha")[1] == grid


def test_labels_are_written_in_the_smallest_type(tmp_path):
    labels = np.array([[[0, 1], [2, 300]]])
    META.write(tmp_path / "a.mha", labels, Grid.plain(3))
    values, _ = META.read_label(tmp_path / "a.mha")
    assert values.dtype == np.uint16
    np.testing.assert_array_equal(values, labels)
    with pytest.raises(DataError, match=r"not as a header beside data.*name it \.mha"):
        META.write(tmp_path / "a.mhd", labels, Grid.plain(3))


@pytest.mark.parametrize("packed", ["True", "False"])
def test_a_file_cut_anywhere_is_refused(tmp_path, packed):
    data = VOXELS.tobytes()
    path = craft(tmp_path / "a.mha", zlib.compress(data) if packed == "True" else data, CompressedData=packed)
    whole = path.read_bytes()
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"truncated|no MetaImage") as wrong:
            META.read(path)
        assert wrong.value.where == str(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"DimSize": "5 4"}, "its sizes do not fit its number of axes"),
        ({"DimSize": "5 4 0"}, "no whole numbers above 0"),
        ({"DimSize": "5 4 x"}, "'DimSize' holds no numbers"),
        ({"DimSize": None}, "its header has no 'DimSize'"),
        ({"DimSize": "5 4 300000"}, "truncated: its header claims 12,000,000 bytes"),
        ({"NDims": "4", "DimSize": "5 4 3 1"}, "expected 2 or 3 axes, got 4"),
        ({"ElementType": "MET_LONG"}, "binary numbers of a known size, got 'MET_LONG'"),
        ({"BinaryData": "False"}, "binary numbers"),
        ({"ElementDataFile": "../x.raw"}, "leads elsewhere"),
        ({"ElementDataFile": "x%03d.raw 1 3 1"}, "leads elsewhere"),
        ({"ElementDataFile": None}, "its header is not complete"),
        ({"ElementSpacing": "1 1 0"}, "the steps between its voxels"),
        ({"ElementSpacing": "1 1"}, "expected 3 spacings"),
        ({"TransformMatrix": "1 0 0 1"}, "a direction of 9 numbers"),
        ({"HeaderSize": "5", "CompressedData": "True"}, "before a compressed stream"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path, changes, words):
    with pytest.raises(DataError, match=words) as wrong:
        META.read(craft(tmp_path / "a.mha", **changes))
    assert "a.mha" in str(wrong.value)


def test_units_of_length_become_mm(tmp_path):
    header = META.describe(craft(tmp_path / "a.mha", DistanceUnits="um"))
    assert header.grid.spacing_mm == pytest.approx((0.003, 0.0007, 0.0005))
    assert header.grid.origin_mm == pytest.approx((-0.010, -0.020, -0.030))
    header = META.describe(craft(tmp_path / "a.mha", DistanceUnits="ell"))
    assert header.grid.spacing_mm == (3.0, 0.7, 0.5)
    assert header.notes == ("its unit 'ell' is not known: its numbers were taken as mm",)
    plain = {"TransformMatrix": None, "Offset": None, "DistanceUnits": "cm"}
    assert META.describe(craft(tmp_path / "a.mha", **plain)).grid.spacing_mm == (30.0, 7.0, 5.0)


def test_the_size_of_an_element_is_its_spacing_where_no_other_is_stated(tmp_path):
    header = META.describe(craft(tmp_path / "a.mha", ElementSpacing=None, ElementSize="0.5 0.7 3"))
    assert (header.grid.spacing_mm, header.grid.calibrated) == ((3.0, 0.7, 0.5), True)
    header = META.describe(craft(tmp_path / "a.mha", ElementSize="9 9 9"))
    assert header.grid.spacing_mm == (3.0, 0.7, 0.5)


def test_flags_are_read_by_their_first_letter(tmp_path):
    big = VOXELS.astype(">i2").tobytes()
    for word in ("true", "T", "1"):
        path = craft(tmp_path / "a.mha", big, BinaryData=word, BinaryDataByteOrderMSB=word)
        np.testing.assert_array_equal(META.read(path)[0][0], VOXELS)
