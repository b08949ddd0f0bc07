from __future__ import annotations

import numpy as np
import pytest

from unetkit.data.exchange.rtstruct import Rtstruct
from unetkit.errors import DataError
from unetkit.workflows.convert import convert

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")

SHAPE = (4, 12, 14)


def ring(z, top, left, bottom, right):
    """A box in mm (LPS) around whole pixels of 0.5 × 0.7 mm."""
    corners = [(top, left), (top, right), (bottom, right), (bottom, left)]
    return [((column - 0.5) * 0.7, (row - 0.5) * 0.5, z) for row, column in corners]


def rename(path, names):
    ds = pydicom.dcmread(path)
    for row, name in zip(ds.StructureSetROISequence, names, strict=True):
        row.ROIName = name
    ds.save_as(path)


@pytest.fixture
def clinic(tmp_path, write_series, write_regions):
    """Two patients: the same regions under other numbers; one RTSTRUCT lies among the slices."""
    for name, order in (("one", ("Heart", "lung ")), ("two", ("Lung", "heart"))):
        paths = write_series(tmp_path / name, np.zeros(SHAPE, np.uint16), PatientID=f"{name}^Miller")
        boxes = {"heart": ring(2, 2, 2, 8, 8), "lung": ring(2, 4, 4, 6, 10)}
        target = tmp_path / name / "rs.dcm" if name == "one" else tmp_path / "structures" / "rs"
        target.parent.mkdir(exist_ok=True)
        write_regions(target, paths[0], [[boxes[each.strip().lower()]] for each in order])
        rename(target, order)
    return tmp_path


def test_regions_are_classes_by_name_and_the_smaller_one_is_on_top(clinic):
    assert Rtstruct().holds(clinic)
    foreign = Rtstruct().find(clinic)
    assert foreign.names == {0: "background", 1: "Heart", 2: "Lung"}
    assert [(item.id, item.group) for item in foreign.items] == [
        ("patient-1", "patient-1"),
        ("patient-2", "patient-2"),
    ]
    expected = np.zeros(SHAPE, int)
    expected[1, 2:8, 2:8], expected[1, 4:6, 4:10] = 1, 2
    for item in foreign.items:
        content = item.read()
        np.testing.assert_array_equal(content.label, expected)
        assert content.columns == {"regions": "2", "covered_px": "8"}
        assert content.image.pixels.shape == (1, *SHAPE)


def test_nothing_of_a_patient_is_written(clinic, tmp_path):
    done = convert(clinic, tmp_path.parent / f"{tmp_path.name}-out", "rtstruct")
    assert (done.cases, done.groups) == (2, 2)
    out = tmp_path.parent / f"{tmp_path.name}-out"
    for path in (each for each in out.rglob("*") if each.is_file()):
        assert not any(word in path.read_bytes() for word in (b"Miller", b"Canary", b"CANARY")), path


def test_what_belongs_to_no_series_or_to_one_that_has_another_is_refused(clinic, write_series, write_regions):
    other = write_series(clinic / "gone", np.zeros((2, 4, 4), np.uint16))
    write_regions(clinic / "structures" / "lost", other[0], [[ring(0, 0, 0, 2, 2)]])
    for path in other:
        path.unlink()
    write_regions(clinic / "structures" / "again", next((clinic / "two").iterdir()), [[ring(0, 0, 0, 2, 2)]])
    foreign = Rtstruct().find(clinic)
    assert [item.id for item in foreign.items] == ["patient-1"]
    told = sorted(problem.problem for problem in foreign.problems)
    assert told == [
        "it refers to 0 of the series here, expected 1",
        "its series has several RTSTRUCTs",
        "its series has several RTSTRUCTs",
    ]


def test_a_folder_without_one_is_refused(tmp_path, write_series):
    write_series(tmp_path / "a", np.zeros((2, 4, 4), np.uint16))
    assert not Rtstruct().holds(tmp_path)
    assert not Rtstruct().holds(tmp_path / "nothing")
    with pytest.raises(DataError, match="no RTSTRUCT here"):
        Rtstruct().find(tmp_path)
