from __future__ import annotations

import gzip

import numpy as np
import pytest

from unetkit.data.formats import files_of
from unetkit.data.formats.nrrd import NrrdFormat
from unetkit.errors import DataError
from unetkit.records.case import Grid

NRRD = NrrdFormat()
VOXELS = np.arange(60, dtype="<i2").reshape(3, 4, 5)  # (z, y, x): x runs fastest in the file
DATA = VOXELS.tobytes()
FIELDS = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "5 4 3",
    "space directions": "(0.5,0,0) (0,0.7,0) (0,0,3)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(10,20,-30)",
}


def craft(path, data=DATA, **changes):
    fields = {**FIELDS, **{name.replace("_", " "): value for name, value in changes.items()}}
    lines = ["NRRD0005", "# a remark: with a colon"]
    lines += [f"{name}: {value}" for name, value in fields.items() if value is not None]
    path.write_bytes("\n".join([*lines, "", ""]).encode() + data)
    return path


def test_voxels_and_geometry_are_those_of_the_header(tmp_path):
    path = craft(tmp_path / "a.nrrd")
    pixels, grid = NRRD.read(path)
    np.testing.assert_array_equal(pixels, VOXELS[None])
    assert pixels.dtype == np.int16
    assert grid.spacing_mm == (3.0, 0.7, 0.5)
    assert grid.origin_mm == (-10.0, -20.0, -30.0)
    assert grid.direction == ((0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (-1.0, 0.0, 0.0))
    header = NRRD.describe(path)
    assert (header.channels, header.shape, header.dtype, header.grid) == (1, (3, 4, 5), "int16", grid)


@pytest.mark.parametrize(
    ("space", "origin"),
    [
        ("RAS", (10.0, 20.0, -30.0)),
        ("LAS", (-10.0, 20.0, -30.0)),
        ("right-anterior-superior", (10.0, 20.0, -30.0)),
    ],
)
def test_other_spaces_are_turned(tmp_path, space, origin):
    assert NRRD.read(craft(tmp_path / "a.nrrd", space=space))[1].origin_mm == origin


def test_a_space_that_is_not_known_states_no_place(tmp_path):
    header = NRRD.describe(craft(tmp_path / "a.nrrd", space="scanner-xyz"))
    assert not header.grid.placed
    assert header.grid.spacing_mm == (3.0, 0.7, 0.5)
    assert "its space is not RAS, LAS or LPS" in header.notes[0]


def test_gzip_big_endian_and_a_file_beside(tmp_path):
    big = VOXELS.astype(">i2").tobytes()
    for path in (
        craft(tmp_path / "a.nrrd", gzip.compress(big), endian="big", encoding="gzip"),
        craft(tmp_path / "b.nhdr", b"", endian="big", encoding="gz", data_file="b.raw.gz"),
    ):
        (tmp_path / "b.raw.gz").write_bytes(gzip.compress(big))
        np.testing.assert_array_equal(NRRD.read(path)[0][0], VOXELS)
    assert files_of(path) == (path, tmp_path / "b.raw.gz")
    assert files_of(tmp_path / "a.nrrd") == (tmp_path / "a.nrrd",)


def test_a_header_beside_its_data_may_end_with_its_name(tmp_path):
    path = craft(tmp_path / "a.nhdr", b"", data_file="a.raw")
    (tmp_path / "a.raw").write_bytes(VOXELS.tobytes())
    whole = path.read_bytes()[:-1]  # as ITK writes it: no empty line
    path.write_bytes(whole)
    np.testing.assert_array_equal(NRRD.read(path)[0][0], VOXELS)
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"truncated|no NRRD"):
            NRRD.describe(path)


def test_channels_first_and_last(tmp_path):
    stored = np.arange(120, dtype="<i2")
    none = "none (0.5,0,0) (0,0.7,0) (0,0,3)"
    pixels, grid = NRRD.read(
        craft(
            tmp_path / "a.nrrd",
            stored.tobytes(),
            dimension="4",
            sizes="2 5 4 3",
            kinds="vector domain domain domain",
            space_directions=none,
        )
    )
    np.testing.assert_array_equal(pixels, stored.reshape(3, 4, 5, 2).transpose(3, 0, 1, 2))
    assert grid.spacing_mm == (3.0, 0.7, 0.5)
    pixels, _ = NRRD.read(
        craft(
            tmp_path / "b.nrrd",
            stored.tobytes(),
            dimension="4",
            sizes="5 4 3 2",
            kinds="domain domain domain list",
            space_directions="(0.5,0,0) (0,0.7,0) (0,0,3) none",
        )
    )
    np.testing.assert_array_equal(pixels, stored.reshape(2, 3, 4, 5))
    with pytest.raises(DataError, match="expected one label per voxel, got 2 channels"):
        NRRD.read_label(tmp_path / "b.nrrd")


def test_a_picture_and_spacings_without_a_place(tmp_path):
    plain = {"space": None, "space_directions": None, "space_origin": None, "kinds": None}
    path = craft(tmp_path / "a.nrrd", dimension="2", sizes="5 12", spacings="0.5 2", **plain)
    pixels, grid = NRRD.read(path)
    assert pixels.shape == (1, 12, 5)
    assert (grid.spacing_mm, grid.calibrated, grid.placed) == ((2.0, 0.5), True, False)
    header = NRRD.describe(craft(tmp_path / "b.nrrd", spacings="nan nan nan", **plain))
    assert not header.grid.calibrated
    assert "it states no spacing" in header.notes[0]


def test_a_place_that_was_not_stated_is_not_invented(tmp_path):
    for grid in (Grid.plain(3), Grid((2.0, 1.0, 1.5), (0.0,) * 3, Grid.plain(3).direction, placed=False)):
        NRRD.write(tmp_path / "a.nrrd", np.ones((2, 3, 4), np.uint8), grid)
        assert b"space origin" not in (tmp_path / "a.nrrd").read_bytes()
        assert NRRD.read_label(tmp_path / "a.nrrd")[1] == grid


def test_the_same_labels_give_the_same_bytes_in_the_smallest_type(tmp_path):
    labels = np.array([[[0, 1], [2, 300]]])
    for name in "ab":
        NRRD.write(tmp_path / f"{name}.nrrd", labels, Grid.plain(3))
    assert (tmp_path / "a.nrrd").read_bytes() == (tmp_path / "b.nrrd").read_bytes()
    values, _ = NRRD.read_label(tmp_path / "a.nrrd")
    assert values.dtype == np.uint16
    np.testing.assert_array_equal(values, labels)
    with pytest.raises(DataError, match=r"not as a header beside data.*name it \.nrrd"):
        NRRD.write(tmp_path / "a.nhdr", labels, Grid.plain(3))


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_a_file_cut_anywhere_is_refused(tmp_path, encoding):
    data = VOXELS.tobytes()
    path = craft(tmp_path / "a.nrrd", gzip.compress(data) if encoding == "gzip" else data, encoding=encoding)
    whole = path.read_bytes()
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"truncated|no NRRD") as wrong:
            NRRD.read(path)
        assert wrong.value.where == str(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sizes": "5 4"}, "its sizes do not fit its dimension"),
        ({"sizes": "5 4 -3"}, "its sizes do not fit its dimension"),
        ({"sizes": "5 4 x"}, "a number of its header cannot be read"),
        ({"sizes": None}, "its header has no 'sizes'"),
        ({"sizes": "5 4 300000"}, "truncated: its header claims 12,000,000 bytes"),
        ({"type": "block"}, "got type 'block'"),
        ({"encoding": "ascii"}, "encoding 'ascii'"),
        ({"endian": None}, "byte order"),
        ({"data_file": "../x.raw"}, "leads elsewhere"),
        ({"data_file": "LIST"}, "its data file 'LIST' is missing"),
        ({"line_skip": "2"}, "'line skip'"),
        ({"space_directions": "(1,0,0) (0,1,0)"}, "expected 3 space directions"),
        ({"space_directions": "(1,0,0) (1,0,0) (0,0,1)"}, "lie in one plane"),
        ({"space_directions": "(1,0,0) (0,0,0) (0,0,1)"}, "the steps between its voxels"),
        ({"space_origin": "(1,2)"}, "a space origin of 3 numbers"),
        ({"dimension": "5", "sizes": "5 4 3 1 1"}, "expected 2 or 3 axes and one for channels"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path, changes, words):
    with pytest.raises(DataError, match=words) as wrong:
        NRRD.read(craft(tmp_path / "a.nrrd", **changes))
    assert "a.nrrd" in str(wrong.value)


def test_units_of_length_become_mm(tmp_path):
    header = NRRD.describe(craft(tmp_path / "a.nrrd", space_units='"cm" "cm" "cm"'))
    assert header.grid.spacing_mm == (30.0, 7.0, 5.0)
    assert header.grid.origin_mm == (-100.0, -200.0, -300.0)
    assert header.notes == ()
    plain = {"space": None, "space_directions": None, "space_origin": None, "kinds": None}
    header = NRRD.describe(craft(tmp_path / "a.nrrd", spacings="2 4 5", units='"um" "µm" "furlong"', **plain))
    assert header.grid.spacing_mm == (5.0, 0.004, 0.002)
    assert header.notes == ("its unit 'furlong' is not known: its numbers were taken as mm",)


def test_the_spacing_of_a_channel_axis_is_none_of_the_volume(tmp_path):
    plain = {"space": None, "space_directions": None, "space_origin": None}
    stored = np.arange(120, dtype="<i2").tobytes()
    shape = {"dimension": "4", "sizes": "2 5 4 3", "kinds": "vector domain domain domain"}
    for first in ("1", "nan"):
        _, grid = NRRD.read(
            craft(tmp_path / "a.nrrd", stored, spacings=f"{first} 0.5 0.7\t3", **shape, **plain)
        )
        assert (grid.spacing_mm, grid.calibrated) == ((3.0, 0.7, 0.5), True)


def test_a_size_beyond_numbers_is_refused(tmp_path):
    for size in ("inf", "nan"):
        with pytest.raises(DataError, match="its sizes do not fit its dimension"):
            NRRD.read(craft(tmp_path / "a.nrrd", sizes=f"5 4 {size}"))
