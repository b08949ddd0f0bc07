"""A generated archive: DICOM slices and the readers' XML of spheres and boxes of known place and size."""

from __future__ import annotations

import numpy as np
import pytest

from unetkit.data.catalog import find_cases
from unetkit.data.exchange.lidc import Lidc
from unetkit.data.formats import format_of
from unetkit.data.labels import read_pixels, read_values
from unetkit.errors import DataError
from unetkit.workflows.convert import convert

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")

SHAPE = (7, 32, 36)
TRAITS = {"subtlety": 5, "internalStructure": 1, "calcification": 6, "malignancy": 4}


class Archive:
    """One patient's folder, as download tools lay it out."""

    def __init__(self, folder, lidc, write_series):
        self.folder, self.lidc, self.write_series = folder, lidc, write_series

    def series(self, name, *, patient, **stated):
        stored = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) - 1024
        paths = self.write_series(
            self.folder / name, stored, PatientID=patient, RescaleSlope=1, RescaleIntercept=0, **stated
        )
        return [pydicom.dcmread(path) for path in paths]

    def drawn(self, mask, headers, *, by_height=False, **traits):
        """The XML of one reader's nodule."""
        rois = []
        for at in np.flatnonzero(mask.any(axis=(1, 2)))[::-1]:
            place = {"instance": headers[at].SOPInstanceUID, "height": headers[at].ImagePositionPatient[2]}
            if by_height:
                place["instance"] = "1.2.3.not.of.this.series"
            rois.append(self.lidc.roi(self.lidc.outline(mask[at]), **place))
        return self.lidc.nodule(rois, **traits)

    def write(self, name, sessions, *, series="", **more):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.lidc.reading(sessions, series=series, **more))
        return path


@pytest.fixture
def archive(tmp_path, lidc, write_series):
    return Archive(tmp_path / "LIDC-IDRI", lidc, write_series)


def ball(centre, radius):
    z, y, x = np.indices(SHAPE)
    return ((z - centre[0]) * 3) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 <= radius**2


def test_a_scan_with_four_readers(archive):
    headers = archive.series(
        "LIDC-IDRI-0001/1/2", patient="LIDC-IDRI-0001", step=(0, 0, -2), origin=(1, 2, 30)
    )
    masks = [ball((3, 12, 14), radius) for radius in (6, 7, 8)]
    alone = ball((2, 25, 28), 4)
    point = archive.lidc.nodule([archive.lidc.roi(np.array([(3, 4)]), height=30)])
    sessions = [
        archive.drawn(masks[0], headers, **TRAITS) + point,
        archive.drawn(masks[1], headers, by_height=True, **{**TRAITS, "malignancy": 3}),
        archive.drawn(masks[2], headers, malignancy=5) + archive.drawn(alone, headers, malignancy=1),
        "",
    ]
    archive.write("LIDC-IDRI-0001/1/2/069.xml", sessions, series=headers[0].SeriesInstanceUID)
    assert Lidc().holds(archive.folder)
    foreign = Lidc().find(archive.folder)
    assert (foreign.names, foreign.channels, foreign.problems) == (
        {0: "background", 1: "nodule"},
        ("CT",),
        (),
    )
    (item,) = foreign.items
    assert (item.id, item.group) == ("LIDC-IDRI-0001", "LIDC-IDRI-0001")
    content = item.read()
    down = slice(None, None, -1)  # the series runs downwards, the volume upwards
    assert content.image.pixels.shape == (1, *SHAPE)
    assert content.image.grid.spacing_mm == (2.0, 0.5, 0.7)
    expected = sum((mask.astype(int) << reader for reader, mask in enumerate(masks)), np.zeros(SHAPE, int))
    expected |= alone.astype(int) << 2
    np.testing.assert_array_equal(content.beside["readers"], expected[down])
    np.testing.assert_array_equal(content.label, masks[1][down])  # at least two of four: the middle one
    assert content.columns["malignancy"] == "4"
    assert (content.columns["nodules"], content.columns["nodules_by_fewer"]) == ("1", "1")
    rows = content.tables["nodules"]
    assert [(row["kind"], row["readers"], row["marked_by"]) for row in rows] == [
        ("nodule", "3", "0 1 2"), ("nodule", "1", "2"), ("nodule < 3 mm", "1", "0"),
    ]  # fmt: skip
    assert (rows[0]["slice"], rows[0]["row"], rows[0]["column"]) == ("3.0", "12.0", "14.0")
    assert rows[2]["slice"] == "6"
    widest = 2 * 8 * 0.7  # along a row, plus the pixel outside on both sides
    assert float(content.columns["diameter_mm"]) == pytest.approx(widest - 0.7, abs=1.5)


def test_the_archives_oddities(archive):
    one = archive.series("LIDC-IDRI-0002/1/2", patient="LIDC-IDRI-0002")
    two = archive.series("LIDC-IDRI-0002/3/4", patient="LIDC-IDRI-0002")
    archive.series("other", patient="Miller^Jane")
    archive.series("film", patient="Miller^Jane")
    mask = ball((3, 12, 14), 5)
    for name, headers in (("a.xml", one), ("b.xml", two)):  # the XML may lie in a tree of its own
        archive.write(f"xml/{name}", [archive.drawn(mask, headers)] * 2, series=headers[0].SeriesInstanceUID)
    archive.write("other/c.xml", [""], series="unknown")  # its own UID is missing: it lies beside its series
    archive.write("xml/film.xml", [""], root="IdriReadMessage")
    archive.write("xml/gone.xml", [""], series="1.2.3")
    (archive.folder / "xml" / "damaged.xml").write_text("<LidcReadMessage><a>")
    (archive.folder / "a folder.xml").mkdir()
    foreign = Lidc().find(archive.folder)
    assert [(item.id, item.group) for item in foreign.items] == [
        ("LIDC-IDRI-0002", "LIDC-IDRI-0002"),
        ("LIDC-IDRI-0002-2", "LIDC-IDRI-0002"),
        ("patient-1", "patient-1"),
    ]
    np.testing.assert_array_equal(foreign.items[1].read().label, mask)
    empty = foreign.items[2].read()
    assert not empty.label.any()
    assert (empty.columns["malignancy"], empty.columns["diameter_mm"]) == ("", "")
    assert foreign.notes == (
        "left out, as no reading of a CT: 1 XML",
        "left out, as nobody read it as a CT: 1 series",
    )
    where = {problem.where.rpartition("/")[2]: problem.problem for problem in foreign.problems}
    assert where["gone.xml"] == "its CT series is not here"
    assert "truncated or damaged" in where["damaged.xml"]
    assert len(where) == 3  # and the folder that is named like a file


def test_two_readings_of_one_series_are_refused_unless_they_are_the_same(archive):
    headers = archive.series("s", patient="LIDC-IDRI-0001")
    for name, sessions in (("a.xml", [""]), ("b.xml", [""])):
        archive.write(name, sessions, series=headers[0].SeriesInstanceUID)
    assert len(Lidc().find(archive.folder).items) == 1
    archive.write("b.xml", ["", ""], series=headers[0].SeriesInstanceUID)
    foreign = Lidc().find(archive.folder)
    assert foreign.items == ()
    assert foreign.problems[0].problem == "2 different readings belong to this series"


def test_marks_that_do_not_lie_in_the_series_are_refused(archive):
    headers = archive.series("s", patient="LIDC-IDRI-0001")
    uid = headers[0].SeriesInstanceUID
    ring = np.array([(1, 1), (1, 9), (9, 9), (9, 1)])
    for roi, words in (
        (archive.lidc.roi(ring, height=99), "a mark lies on a slice at 99 mm"),
        (archive.lidc.roi(ring + 28, height=2), "an outline leaves the slices of 32 × 36 pixels"),
    ):
        archive.write("s/a.xml", [archive.lidc.nodule([roi])], series=uid)
        (item,) = Lidc().find(archive.folder).items
        with pytest.raises(DataError, match=words):
            item.read()
    archive.write("s/a.xml", [""] * 17, series=uid)
    with pytest.raises(DataError, match="17 readers"):
        Lidc().find(archive.folder).items[0].read()


def test_a_missing_slice_refuses_its_scan_alone(archive):
    headers = archive.series("s", patient="LIDC-IDRI-0001")
    archive.write("s/a.xml", [""], series=headers[0].SeriesInstanceUID)
    next(
        path for path in (archive.folder / "s").glob("*.dcm") if pydicom.dcmread(path).InstanceNumber == 4
    ).unlink()
    (item,) = Lidc().find(archive.folder).items
    with pytest.raises(DataError, match=r"1 slice\(s\) are missing"):
        item.read()


def test_converted_it_is_a_data_set_with_patients_as_groups(archive, tmp_path):
    mask = ball((3, 12, 14), 5)
    for number, patient in enumerate(("LIDC-IDRI-0007", "Miller^Jane"), start=1):
        headers = archive.series(f"s{number}", patient=patient)
        sessions = [archive.drawn(mask, headers, malignancy=number)] * 2 + ["", ""]
        archive.write(f"s{number}/a.xml", sessions, series=headers[0].SeriesInstanceUID)
    done = convert(archive.folder, tmp_path / "out")
    assert (done.kind, done.cases, done.groups, done.refused) == ("lidc", 2, 2, ())
    cases = find_cases(tmp_path / "out").cases
    assert [(case.id, case.group) for case in cases] == [("LIDC-IDRI-0007",) * 2, ("patient-1",) * 2]
    for case in cases:
        np.testing.assert_array_equal(read_values(case)[0], mask)
        pixels, grid = read_pixels(case)
        assert (pixels.dtype, int(pixels.min())) == (np.int16, -1024)
        assert grid.spacing_mm == pytest.approx((2.0, 0.5, 0.7))
    readers = format_of(cases[0].images[0]).read_label(tmp_path / "out" / "readers" / "patient-1.nii.gz")[0]
    np.testing.assert_array_equal(readers, 3 * mask)
    index, nodules = (
        (tmp_path / "out" / f"{name}.csv").read_text().splitlines() for name in ("index", "nodules")
    )
    assert index[0] == "id,group,readers,nodules,nodules_by_fewer,malignancy,diameter_mm"
    assert index[2].startswith("patient-1,patient-1,4,1,0,2,")
    assert nodules[0].startswith(
        "id,group,nodule,kind,readers,marked_by,slice,row,column,diameter_mm,volume_mm3,"
    )
    assert nodules[1].startswith("LIDC-IDRI-0007,LIDC-IDRI-0007,1,nodule,2,0 1,3.0,12.0,14.0,")
    told = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not any(b"Miller" in path.read_bytes() or "Miller" in path.name for path in told)
