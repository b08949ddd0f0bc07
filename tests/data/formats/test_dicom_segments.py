from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from unetkit.data.formats.dicom import DicomFormat, write_labels
from unetkit.data.formats.dicom_segments import segment_codes
from unetkit.errors import DataError, MissingPackageError

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
highdicom = pytest.importorskip("highdicom", reason="highdicom is not installed")

DICOM = DicomFormat()
NAMES = ("liver", "lung nodule", "ball")
SHAPE = (5, 6, 7)
NAMELESS = ("PatientName", "PatientBirthDate", "AccessionNumber", "StudyID", "StudyDate", "StudyTime")


def some_labels():
    labels = np.zeros(SHAPE, np.uint8)
    labels[1, 1:3, 2:5], labels[2, 2:4, 1:6], labels[3, 0, 0] = 1, 2, 3  # slices 0 and 4 stay empty
    return labels


@pytest.fixture
def series(tmp_path, write_series):
    """A tilted, anisotropic series whose file names tell nothing of the order."""
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    stored = np.arange(np.prod(SHAPE), dtype=np.uint16).reshape(SHAPE)
    normal = np.cross(turn[0], turn[1])
    write_series(tmp_path / "a", stored, across=turn[0], down=turn[1], step=normal * 3, origin=(5, -6, 7))
    return tmp_path / "a"


def test_masks_geometry_and_references_are_those_of_the_series(tmp_path, series):
    labels, path = some_labels(), tmp_path / "seg.dcm"
    write_labels(path, labels, source=series, names=NAMES)
    values, grid = DICOM.read_label(path)
    np.testing.assert_array_equal(values, labels)
    assert grid.difference(DICOM.describe(series).grid, tolerance=1e-4) is None
    # and as highdicom reads it, on the slices of the source in the order of their positions
    planes = sorted((pydicom.dcmread(each) for each in series.iterdir()), key=lambda ds: ds.InstanceNumber)
    found = highdicom.seg.segread(path).get_pixels_by_source_instance(
        source_sop_instance_uids=[ds.SOPInstanceUID for ds in planes], combine_segments=True
    )
    np.testing.assert_array_equal(found, labels)
    ds = pydicom.dcmread(path)
    referenced = {
        item.ReferencedSOPInstanceUID for item in ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert referenced == {plane.SOPInstanceUID for plane in planes}
    assert ds.ReferencedSeriesSequence[0].SeriesInstanceUID == planes[0].SeriesInstanceUID
    assert (ds.StudyInstanceUID, ds.FrameOfReferenceUID) == (
        planes[0].StudyInstanceUID,
        planes[0].FrameOfReferenceUID,
    )
    assert ds.SeriesInstanceUID != planes[0].SeriesInstanceUID
    assert [item.SegmentLabel for item in ds.SegmentSequence] == list(NAMES)
    assert {item.SegmentAlgorithmType for item in ds.SegmentSequence} == {"AUTOMATIC"}


def test_the_patient_is_in_the_patient_module_and_nowhere_else(tmp_path, series):
    write_labels(tmp_path / "seg.dcm", some_labels(), source=series, names=NAMES)
    ds = pydicom.dcmread(tmp_path / "seg.dcm")
    assert (str(ds.PatientName), ds.PatientID) == ("Canary^Yellow", "CANARY-4711")
    found = [
        element.tag
        for element in ds.iterall()
        if "canary" in str(element.value).lower() and element.VR != "SQ"
    ]
    study = {0x00080090}  # the referring physician is of the study's module, which is the series' own
    assert {tag for tag in found if tag.group != 0x0010} <= study


def test_a_foreign_segmentation_without_empty_slices_is_laid_on_its_image(tmp_path, series):
    labels, path = some_labels(), tmp_path / "seg.dcm"
    planes = [pydicom.dcmread(each) for each in sorted(series.iterdir(), reverse=True)]
    order = [ds.InstanceNumber - 1 for ds in planes]
    code = segment_codes("ball")
    described = [
        highdicom.seg.SegmentDescription(n, name, code[0], code[1], "MANUAL")
        for n, name in enumerate(NAMES, start=1)
    ]
    for kind in ("BINARY", "LABELMAP"):
        highdicom.seg.Segmentation(
            planes, labels[order], kind, described, highdicom.UID(), 2, highdicom.UID(), 1, "x", "x", "0", "1"
        ).save_as(path)
        header = DICOM.describe(series)
        values, grid = DICOM.read_label_on(path, header.shape, header.grid)
        np.testing.assert_array_equal(values, labels)
        assert grid == header.grid
        assert DICOM.read_label(path)[0].shape == (3, 6, 7)  # alone: the slices that it holds
    gap = labels.copy()
    gap[2] = 0
    highdicom.seg.Segmentation(
        planes, gap[order], "BINARY", described, highdicom.UID(), 2, highdicom.UID(), 1, "x", "x", "0", "1"
    ).save_as(path)
    np.testing.assert_array_equal(DICOM.read_label_on(path, header.shape, header.grid)[0], gap)
    assert DICOM.describe(path).shape == (2, 6, 7)
    gap[3, 0, 0], gap[4, 1, 1] = 3, 3  # slices 1, 3 and 4
    highdicom.seg.Segmentation(
        planes, gap[order], "BINARY", described, highdicom.UID(), 2, highdicom.UID(), 1, "x", "x", "0", "1"
    ).save_as(path)
    np.testing.assert_array_equal(DICOM.read_label_on(path, header.shape, header.grid)[0], gap)
    assert DICOM.describe(path).notes == (
        "it holds the slices with objects only: its image tells the others",
    )
    with pytest.raises(DataError, match="does not hold every slice of its image"):
        DICOM.read_label(path)


def test_a_segmentation_of_another_series_is_refused(tmp_path, series, write_series):
    write_labels(tmp_path / "seg.dcm", some_labels(), source=series, names=NAMES)
    write_series(tmp_path / "b", np.zeros(SHAPE, np.uint16), step=(0, 0, 3))
    header = DICOM.describe(tmp_path / "b")
    with pytest.raises(
        DataError, match=r"seg\.dcm: this segmentation does not lie on the grid of its image: a frame at"
    ):
        DICOM.read_label_on(tmp_path / "seg.dcm", header.shape, header.grid)
    with pytest.raises(DataError, match=r"6 × 7 pixels, the image has \(4, 4\)"):
        DICOM.read_label_on(tmp_path / "seg.dcm", (5, 4, 4), header.grid)


def test_overlapping_and_fractional_segments_are_no_label(tmp_path, series):
    planes = sorted((pydicom.dcmread(each) for each in series.iterdir()), key=lambda ds: ds.InstanceNumber)
    code = segment_codes("ball")
    described = [highdicom.seg.SegmentDescription(n, "x", code[0], code[1], "MANUAL") for n in (1, 2)]
    both = np.zeros((*SHAPE, 2), np.uint8)
    both[2, 1:4, 1:4, 0] = both[2, 2:5, 2:5, 1] = 1
    uids = (highdicom.UID(), 2, highdicom.UID(), 1, "x", "x", "0", "1")
    path = tmp_path / "seg.dcm"
    highdicom.seg.Segmentation(planes, both, "BINARY", described, *uids).save_as(path)
    with pytest.raises(DataError, match=r"segments 1 and 2 overlap in 4 pixels"):
        DICOM.read_label_on(path, SHAPE, DICOM.describe(series).grid)
    highdicom.seg.Segmentation(planes, both[..., :1] * 0.5, "FRACTIONAL", described[:1], *uids).save_as(path)
    with pytest.raises(DataError, match="type FRACTIONAL holds no class per pixel"):
        DICOM.read_label(path)


def test_a_picture_has_a_segmentation_too(tmp_path, write_series):
    (image,) = write_series(tmp_path / "a", np.zeros((1, 6, 7), np.uint16))
    labels = np.zeros((6, 7), np.uint8)
    labels[2:4, 1:3] = 2
    write_labels(tmp_path / "seg.dcm", labels, source=image, names=NAMES)
    values, grid = DICOM.read_label(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(values, labels)
    assert grid.spacing_mm == (0.5, 0.7)
    values, grid = DICOM.read_label_on(tmp_path / "seg.dcm", (6, 7), DICOM.describe(image).grid)
    np.testing.assert_array_equal(values, labels)


def changed(path, *, without=(), **tags):
    """The file with other elements."""
    ds = pydicom.dcmread(path)
    for name in without:
        delattr(ds, name)
    for name, value in tags.items():
        setattr(ds, name, value)
    if "SOPClassUID" in tags:
        ds.file_meta.MediaStorageSOPClassUID = tags["SOPClassUID"]
    ds.save_as(path, enforce_file_format=True)
    return path


def radiograph(path):
    """The file as one that knows nothing of the body."""
    without = ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    return changed(path, without=without, SOPClassUID="1.2.840.10008.5.1.4.1.1.1", Modality="CR")


def test_a_radiograph_has_no_place_in_the_body_and_a_segmentation(tmp_path, write_series):
    image = radiograph(*write_series(tmp_path / "a", np.zeros((1, 6, 7), np.uint16)))
    labels = np.eye(6, 7, dtype=np.uint8)
    write_labels(tmp_path / "seg.dcm", labels, source=image, names=NAMES)
    values, grid = DICOM.read_label(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(values, labels)
    assert (grid.calibrated, grid.rank) == (False, 2)


def test_frames_of_one_file_are_referred_to_in_its_own_order(tmp_path, series, write_frames):
    stored, order = np.zeros(SHAPE, np.uint16), np.array([2, 0, 4, 3, 1])
    write_frames(tmp_path / "frames.dcm", next(series.iterdir()), stored, order)
    write_labels(tmp_path / "seg.dcm", some_labels(), source=tmp_path / "frames.dcm", names=NAMES)
    values, grid = DICOM.read_label(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(values, some_labels())
    assert grid.difference(DICOM.describe(tmp_path / "frames.dcm").grid, tolerance=1e-4) is None


def test_an_anonymised_series_lacks_names_not_a_segmentation(tmp_path, series):
    for path in series.iterdir():
        changed(path, without=NAMELESS)
    write_labels(tmp_path / "seg.dcm", some_labels(), source=series, names=NAMES)
    np.testing.assert_array_equal(DICOM.read_label(tmp_path / "seg.dcm")[0], some_labels())


def test_names_with_any_letters_come_back(tmp_path, series, write_series):
    for path in series.iterdir():
        changed(path, SpecificCharacterSet="ISO_IR 100", PatientName="Ké^Zoë", without=("PatientName",))
    write_labels(tmp_path / "seg.dcm", some_labels(), source=series, names=("Läsion", "病変", "ball"))
    ds = pydicom.dcmread(tmp_path / "seg.dcm")
    assert [item.SegmentLabel for item in ds.SegmentSequence] == ["Läsion", "病変", "ball"]
    assert ds.PatientName == "Ké^Zoë"


def test_the_orientation_of_a_radiograph_is_kept(tmp_path, write_series):
    image = radiograph(*write_series(tmp_path / "a", np.zeros((1, 6, 7), np.uint16)))
    for stated, kept in ((None, None), (["L", "F"], ["L", "F"])):
        if stated:
            changed(image, PatientOrientation=stated)
        write_labels(tmp_path / "seg.dcm", np.eye(6, 7, dtype=np.uint8), source=image, names=NAMES)
        assert pydicom.dcmread(tmp_path / "seg.dcm").PatientOrientation == (kept or "")


@pytest.mark.parametrize("stated", ["nothing", "empty", "9"])
def test_slices_of_no_thickness_are_as_thick_as_they_lie_apart(tmp_path, series, stated):
    for path in series.iterdir():
        changed(path, without=("SliceThickness",))
        if stated != "nothing":
            changed(path, SliceThickness=None if stated == "empty" else stated)
    write_labels(tmp_path / "seg.dcm", some_labels(), source=series, names=NAMES)
    groups = pydicom.dcmread(tmp_path / "seg.dcm").SharedFunctionalGroupsSequence[0]
    assert groups.PixelMeasuresSequence[0].SliceThickness == (9 if stated == "9" else pytest.approx(3))
    assert DICOM.read_label(tmp_path / "seg.dcm")[1].spacing_mm == pytest.approx((3, 0.5, 0.7))


def test_labels_that_do_not_fit_are_refused(tmp_path, series):
    with pytest.raises(
        DataError, match=r"labels of shape \(2, 2, 2\) with values to 0 do not fit 5 planes of 6 × 7"
    ):
        write_labels(tmp_path / "s.dcm", np.zeros((2, 2, 2), np.uint8), source=series, names=NAMES)
    with pytest.raises(DataError, match="with values to 3 do not fit 5 planes of 6 × 7 and 1 classes"):
        write_labels(tmp_path / "s.dcm", some_labels(), source=series, names=NAMES[:1])


def test_every_cut_is_refused(tmp_path, series):
    path = tmp_path / "seg.dcm"
    write_labels(path, some_labels(), source=series, names=NAMES)
    whole = path.read_bytes()
    for length in range(1, len(whole), len(whole) // 60):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"truncated|no DICOM file") as wrong:
            DICOM.read_label(path)
        assert wrong.value.where == str(path)


@pytest.mark.parametrize(
    ("name", "category", "kind"),
    [
        ("Liver", "Anatomical Structure", "Liver"),
        ("left kidney", "Anatomical Structure", "Kidney"),
        ("lung_nodule", "Morphologically Abnormal Structure", "Nodule"),
        ("tumor", "Morphologically Abnormal Structure", "Neoplasm"),
        ("ball", "Tissue", "Tissue"),
        ("7", "Tissue", "Tissue"),
    ],
)
def test_codes_are_found_by_name(name, category, kind):
    assert [code.meaning for code in segment_codes(name)] == [category, kind]


def test_without_highdicom_the_extra_is_named(tmp_path, series, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "highdicom", None)
    with pytest.raises(
        MissingPackageError, match=r"needs the package 'highdicom'.*pip install 'unetkit\[dicom\]'"
    ):
        write_labels(tmp_path / "s.dcm", some_labels(), source=series, names=NAMES)


def complaints(path):
    """What dciodvfy calls an error."""
    said = subprocess.run(["dciodvfy", str(path)], capture_output=True, check=False)
    told = (said.stdout + said.stderr).decode(errors="replace").splitlines()
    assert "Segmentation" in told, told  # the object it was taken for
    return [line for line in told if line.startswith(("Error", "Abort"))]


@pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dciodvfy (Debian: dicom3tools) is not installed"
)
@pytest.mark.parametrize(
    "kind",
    ["tilted", "magnetic", "nameless", "thin", "picture", "radiograph", "frames", "empty", "long names"],
)
def test_dciodvfy_has_no_complaint(tmp_path, series, write_series, write_frames, kind):
    path, source, labels, names = tmp_path / "seg.dcm", series, some_labels(), NAMES
    if kind == "magnetic":
        for each in series.iterdir():
            changed(each, SOPClassUID="1.2.840.10008.5.1.4.1.1.4", Modality="MR", PatientSex="F")
    elif kind in ("nameless", "thin"):
        for each in series.iterdir():
            changed(each, without=NAMELESS if kind == "nameless" else ("SliceThickness",))
    elif kind in ("picture", "radiograph"):
        (source,) = write_series(tmp_path / "b", np.zeros((1, 6, 7), np.uint16))
        source = radiograph(source) if kind == "radiograph" else source
        labels = labels[2]
    elif kind == "frames":
        source = tmp_path / "frames.dcm"
        write_frames(source, next(series.iterdir()), np.zeros(SHAPE, np.uint16), np.array([2, 0, 4, 3, 1]))
    elif kind == "empty":
        labels = 0 * labels
    elif kind == "long names":
        names = ("left kidney", "liver tumour\\n " * 9, "é病" * 9)
    write_labels(path, labels, source=source, names=names)
    assert complaints(path) == []
    del (ds := pydicom.dcmread(path)).SegmentSequence[0].SegmentAlgorithmName
    ds.save_as(path)
    assert any("SegmentAlgorithmName" in line for line in complaints(path))
