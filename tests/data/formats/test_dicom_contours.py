"""Outlines in millimetres against polygons worked out by hand, on straight, tilted and downward series."""

from __future__ import annotations

import numpy as np
import pytest

from unetkit.data.catalog import find_cases
from unetkit.data.formats.dicom import DicomFormat
from unetkit.data.formats.dicom_contours import NOTE, read_regions, referenced_series
from unetkit.data.inspect import inspect
from unetkit.data.labels import read_values
from unetkit.errors import DataError
from unetkit.records.case import Case

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")

DICOM = DicomFormat()
SHAPE = (4, 7, 8)
TRIANGLE = [(0, 0), (0, 6), (6, 0)]  # (row, column) of corners: row + column < 6 is inside
HOLE = [(1, 1), (1, 3), (3, 3), (3, 1)]
EXPECTED = np.array(
    [
        [1, 1, 1, 1, 1, 1, 0, 0],
        [1, 0, 0, 1, 1, 0, 0, 0],
        [1, 0, 0, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
    ]
)
TILTED = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
SERIES = {
    "axial": {},
    "downwards": {"step": (0, 0, -2)},
    "tilted": {"across": TILTED[0], "down": TILTED[1], "step": np.cross(TILTED[0], TILTED[1]) * 3},
}


@pytest.fixture(params=list(SERIES))
def series(request, tmp_path, write_series):
    """A series, and the world (LPS mm) of a pixel of one of its planes, in the order of writing."""
    stated = SERIES[request.param]
    paths = write_series(tmp_path / "a", np.zeros(SHAPE, np.uint16), origin=(5, -6, 7), **stated)
    across, down = (np.array(stated.get(name, axis), float) for name, axis in AXES)
    step = np.array(stated.get("step", (0, 0, 2)), float)

    def world(plane, corners):
        return [
            (5, -6, 7) + plane * step + row * 0.5 * down + column * 0.7 * across for row, column in corners
        ]

    return paths, world


AXES = (("across", (1, 0, 0)), ("down", (0, 1, 0)))


def test_outlines_are_filled_on_the_slices_they_were_drawn_on(tmp_path, series, write_regions):
    paths, world = series
    rings = [world(1, TRIANGLE), world(1, HOLE)]
    other = [world(2, [(2, 2), (2, 5), (4, 5), (4, 2)])]
    write_regions(tmp_path / "rs.dcm", paths[0], [rings, other])
    case = Case("a", (tmp_path / "a",), tmp_path / "rs.dcm", "a")
    values, grid = read_values(case)
    header = DICOM.describe(tmp_path / "a")
    assert grid == header.grid
    assert values.shape == header.shape
    planes = [round(float(p)) for p in _planes(tmp_path / "a", paths)]
    expected = np.zeros(SHAPE, int)
    expected[planes.index(1)] = EXPECTED
    expected[planes.index(2), 2:4, 2:5] = 2
    np.testing.assert_array_equal(values, expected)
    assert DICOM.describe(tmp_path / "rs.dcm").notes == (NOTE,)


def _planes(folder, paths):
    """The number under which each plane of the volume was written."""
    from unetkit.data.formats.dicom import read_planes

    return [paths.index(plane.path) for plane in read_planes(folder)]


@pytest.fixture
def axial(tmp_path, write_series):
    return write_series(tmp_path / "a", np.zeros(SHAPE, np.uint16))


def ring(z, low=1, high=4):
    return [(low * 0.7, low * 0.5, z), (high * 0.7, low * 0.5, z), (high * 0.7, high * 0.5, z)]


def label(tmp_path):
    header = DICOM.describe(tmp_path / "a")
    return DICOM.read_label_on(tmp_path / "rs.dcm", header.shape, header.grid)[0]


def test_a_folder_of_series_and_outlines_is_a_data_set(tmp_path, write_series, write_regions):
    for name in ("one", "two"):
        stored = np.random.default_rng(len(name)).integers(0, 99, SHAPE).astype(np.uint16)
        paths = write_series(tmp_path / "images" / name, stored)
        (tmp_path / "masks").mkdir(exist_ok=True)
        write_regions(tmp_path / "masks" / f"{name}.dcm", paths[0], [[ring(2)]])
    found = inspect(find_cases(tmp_path))
    assert [problem for problem in found.problems if problem.severity == "refused"] == []
    assert any(NOTE in problem.problem for problem in found.problems)


def test_what_does_not_lie_on_the_image_is_refused(tmp_path, axial, write_regions):
    for heights, words in (
        ((1.0,) * 3, "0.50 to 0.50"),
        ((8.0,) * 3, "4.00 to 4.00"),
        ((0, 0, 2), "0.00 to"),
    ):
        points = [(x, y, z) for (x, y, _), z in zip(ring(0), heights, strict=True)]
        write_regions(tmp_path / "rs.dcm", axial[0], [[points]])
        with pytest.raises(DataError, match=f"region 1 lies at the slices {words}.* the slices 0 to 3"):
            label(tmp_path)
    write_regions(tmp_path / "rs.dcm", axial[0], [[ring(0.15)]])  # a rounded position is none of that
    assert label(tmp_path)[0].any()


def test_overlapping_regions_are_refused_and_the_body_is_no_region(tmp_path, axial, write_regions):
    write_regions(tmp_path / "rs.dcm", axial[0], [[ring(2)], [ring(2, 2, 5)]])
    with pytest.raises(DataError, match=r"regions 1 and 2 overlap in \d pixels of slice 1"):
        label(tmp_path)
    write_regions(tmp_path / "rs.dcm", axial[0], [[ring(2)], [ring(2, 2, 5)]], kinds=("EXTERNAL", "GTV"))
    assert set(np.unique(label(tmp_path))) == {0, 2}
    write_regions(tmp_path / "rs.dcm", axial[0], [[ring(2)]], kinds=("EXTERNAL",))
    assert set(np.unique(label(tmp_path))) == {0, 1}


def test_points_have_no_area(tmp_path, axial, write_regions):
    write_regions(tmp_path / "rs.dcm", axial[0], [[ring(2)]], geometry="POINT")
    with pytest.raises(DataError, match="holds no closed outline"):
        read_regions(tmp_path / "rs.dcm")


def test_outlines_alone_are_no_label(tmp_path, axial, write_regions):
    write_regions(tmp_path / "rs.dcm", axial[0], [[ring(2)]])
    with pytest.raises(DataError, match="lie on no grid of their own"):
        DICOM.read_label(tmp_path / "rs.dcm")
    header = DICOM.describe(axial[0])
    with pytest.raises(DataError, match="need an image of several slices"):
        DICOM.read_label_on(tmp_path / "rs.dcm", header.shape, header.grid)
    (tmp_path / "only").mkdir()
    (tmp_path / "rs.dcm").rename(tmp_path / "only" / "rs.dcm")
    assert DICOM.describe(tmp_path / "only").shape == ()


def test_it_says_which_series_it_was_drawn_on(tmp_path, axial, write_regions):
    write_regions(tmp_path / "rs.dcm", axial[0], [[ring(2)]])
    assert referenced_series(tmp_path / "rs.dcm") == {str(pydicom.dcmread(axial[0]).SeriesInstanceUID)}
    (region,) = read_regions(tmp_path / "rs.dcm")
    assert (region.number, region.name, region.kind, len(region.rings)) == (1, "region 1", "ORGAN", 1)


def test_damage_is_named_and_nothing_of_the_patient(tmp_path, axial, write_regions):
    path = tmp_path / "rs.dcm"
    write_regions(path, axial[0], [[ring(2)]])
    whole = path.read_bytes()
    for length in range(200, len(whole), 40):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"truncated|no DICOM") as wrong:
            read_regions(path)
        assert "Canary" not in str(wrong.value)
    path.write_bytes(whole)
    ds = pydicom.dcmread(path)
    ds.ROIContourSequence[0].ContourSequence[0].ContourData = ["1", "2"]
    ds.save_as(path)
    with pytest.raises(DataError, match=r"truncated or damaged: its regions cannot be read"):
        read_regions(path)


def test_a_file_that_ends_between_two_of_its_lists_is_not_whole(tmp_path, axial, write_regions):
    """Cut there it looks whole; without the last list the outline of the body would count as a region."""
    path = tmp_path / "rs.dcm"
    write_regions(path, axial[0], [[ring(2)]])
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"\x06\x30\x80\x00SQ")])
    with pytest.raises(DataError, match=r"truncated, or not complete: it has no RTROIObservationsSequence"):
        read_regions(path)
