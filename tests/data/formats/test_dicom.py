from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unetkit.data.formats import checks, files_of, format_of, kind_of, stem_of
from unetkit.data.formats.dicom import INVERTED, KEPT, DicomFormat
from unetkit.errors import DataError
from unetkit.records.case import Grid

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
uid = pytest.importorskip("pydicom.uid")

DICOM = DicomFormat()
REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "hippocampus" / "dicom_unlabelled"


def volume(dtype=np.uint16, shape=(4, 5, 6)):
    info = np.iinfo(dtype)
    return np.random.default_rng(0).integers(max(info.min, -1000), min(info.max, 4000), shape).astype(dtype)


def edit(path, **tags):
    ds = pydicom.dcmread(path)
    for name, value in tags.items():
        if value is None:
            delattr(ds, name)
        else:
            setattr(ds, name, value)
    ds.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16"])
def test_a_series_is_a_volume_in_the_order_of_its_positions(tmp_path, write_series, dtype):
    stored = volume(dtype)
    write_series(tmp_path / "a", stored, origin=(10, 20, -30), step=(0, 0, 2.5))
    pixels, grid = DICOM.read(tmp_path / "a")
    np.testing.assert_array_equal(pixels, stored[None])
    assert pixels.dtype == dtype
    assert grid == Grid(
        (2.5, 0.5, 0.7), (-10.0, -20.0, -30.0), ((0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (-1.0, 0.0, 0.0))
    )
    header = DICOM.describe(tmp_path / "a")
    assert (header.channels, header.shape, header.dtype, header.grid) == (1, stored.shape, dtype, grid)
    assert kind_of(tmp_path / "a") == "dicom"
    assert len(files_of(tmp_path / "a")) == 4


def test_slices_that_run_downwards_are_turned(tmp_path, write_series):
    stored = volume()
    write_series(tmp_path / "a", stored, origin=(0, 0, 9), step=(0, 0, -3))
    pixels, grid = DICOM.read(tmp_path / "a")
    np.testing.assert_array_equal(pixels[0], stored[::-1])
    assert grid.origin_mm == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("dtype", "slope", "intercept", "bits", "expected"),
    [
        ("uint16", 1, -1024, 12, "int16"),
        ("uint16", 1, -1024, 16, "int32"),
        ("int16", 2, 0, 16, "int32"),
        ("uint16", 0.5, 3, 12, "float32"),
        ("int16", 1, 0, 16, "int16"),
    ],
)
def test_slope_and_intercept_make_the_smallest_exact_type(
    tmp_path, write_series, dtype, slope, intercept, bits, expected
):
    stored = volume(dtype)
    write_series(
        tmp_path / "a",
        stored,
        RescaleSlope=slope,
        RescaleIntercept=intercept,
        BitsStored=bits,
        HighBit=bits - 1,
    )
    pixels, _ = DICOM.read(tmp_path / "a")
    np.testing.assert_array_equal(pixels[0], stored * float(slope) + intercept)
    assert pixels.dtype == expected == DICOM.describe(tmp_path / "a").dtype


def test_each_slice_has_its_own_slope(tmp_path, write_series):
    stored = volume()
    write_series(tmp_path / "a", stored, RescaleSlope=[0.5, 1.5, 2.0, 0.25], RescaleIntercept=0)
    pixels, _ = DICOM.read(tmp_path / "a")
    slopes = np.array([0.5, 1.5, 2.0, 0.25])[:, None, None]
    np.testing.assert_allclose(pixels[0], stored * slopes, rtol=1e-6)
    assert pixels.dtype == np.float32


@pytest.mark.parametrize("syntax", ["RLELossless", "JPEG2000Lossless"])
def test_compressed_slices_are_the_same(tmp_path, write_series, syntax):
    stored = volume(shape=(2, 64, 66))  # JPEG 2000 takes nothing smaller
    write_series(tmp_path / "a", stored, syntax=getattr(uid, syntax))
    np.testing.assert_array_equal(DICOM.read(tmp_path / "a")[0][0], stored)


def test_monochrome1_is_inverted_unless_its_values_are_quantities(tmp_path, write_series):
    stored = volume()
    tags = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11}
    write_series(tmp_path / "a", stored, **tags)
    np.testing.assert_array_equal(DICOM.read(tmp_path / "a")[0][0], 4095 - stored)
    assert DICOM.describe(tmp_path / "a").notes == (INVERTED,)
    write_series(tmp_path / "b", stored, RescaleSlope=1, RescaleIntercept=-1024, **tags)
    np.testing.assert_array_equal(DICOM.read(tmp_path / "b")[0][0], stored.astype(int) - 1024)
    assert DICOM.describe(tmp_path / "b").notes == (KEPT,)


def test_one_file_is_a_picture_with_or_without_a_suffix(tmp_path, write_series):
    stored = volume(shape=(1, 5, 6))
    (path,) = write_series(tmp_path / "a", stored)
    pixels, grid = DICOM.read(path)
    np.testing.assert_array_equal(pixels, stored)
    assert (grid.spacing_mm, grid.calibrated, grid.placed) == ((0.5, 0.7), True, False)
    bare = path.rename(tmp_path / "1.2.840.7")
    assert (kind_of(bare), stem_of(bare)) == ("dicom", "1.2.840.7")
    edit(bare, PixelSpacing=None)
    assert format_of(bare).read(bare)[1] == Grid.plain(2)  # a detector's spacing is not the body's


def test_colours_are_channels(tmp_path, write_series):
    (path,) = write_series(tmp_path / "a", volume(np.uint8, (1, 4, 6)))
    rgb = volume(np.uint8, (4, 6, 3))
    ds = pydicom.dcmread(path)
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.PixelData = rgb.tobytes()
    ds.save_as(path, enforce_file_format=True)
    np.testing.assert_array_equal(DICOM.read(path)[0], np.moveaxis(rgb, -1, 0))
    assert DICOM.describe(path).channels == 3
    with pytest.raises(DataError, match="expected one label per pixel, got colours"):
        DICOM.read_label(path)


def test_a_multi_frame_file_is_a_volume(tmp_path, write_series, write_frames):
    stored, order = volume(), np.array([2, 0, 3, 1])
    (source, *_) = write_series(tmp_path / "a", stored)
    path = tmp_path / "b.dcm"
    write_frames(path, source, stored, order)
    pixels, grid = DICOM.read(path)
    back = np.argsort(order)
    np.testing.assert_array_equal(pixels[0], stored[back] * np.array([1, 2, 3, 4])[:, None, None])
    assert (grid.spacing_mm, grid.origin_mm) == ((3.0, 0.5, 0.7), (-1.0, -2.0, 0.0))
    write_frames(path, source, stored, np.array([2, 0, 1, 1]))
    with pytest.raises(DataError, match=r"two slices lie at one place: b\.dcm \(frame 3\) and b\.dcm"):
        DICOM.read(path)


def test_frames_without_places_are_no_volume(tmp_path, write_series):
    stored = volume()
    (source, *_) = write_series(tmp_path / "a", stored)
    edit(source, NumberOfFrames=4, PixelData=stored.tobytes())
    with pytest.raises(DataError, match="does not say where it lies"):
        DICOM.read(source)


def test_two_series_and_what_lies_beside(tmp_path, write_series):
    first = write_series(tmp_path / "a", volume())
    (tmp_path / "a" / "readme.txt").write_text("x")
    (tmp_path / "a" / "DICOMDIR").write_bytes(b"x" * 200)
    assert DICOM.describe(tmp_path / "a").shape == (4, 5, 6)
    (other,) = write_series(tmp_path / "b", volume(shape=(1, 5, 6)))
    other.rename(tmp_path / "a" / "other.dcm")
    with pytest.raises(
        DataError, match=r"this folder holds 2 series: 4 files such as 00\.dcm; 1 files such as"
    ):
        DICOM.read(tmp_path / "a")
    (tmp_path / "a" / "other.dcm").unlink()
    first[0].write_bytes(b"\0" * 50)  # a slice cut to nothing is no reason to go without it
    with pytest.raises(DataError, match=r"00\.dcm: these bytes are no DICOM file"):
        DICOM.read(tmp_path / "a")


def test_reports_among_the_slices_are_left_out(tmp_path, write_series):
    write_series(tmp_path / "a", volume())
    (other,) = write_series(tmp_path / "b", volume(shape=(1, 5, 6)))
    edit(other, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", SeriesInstanceUID=uid.generate_uid())
    other.rename(tmp_path / "a" / "report.dcm")
    assert DICOM.describe(tmp_path / "a").shape == (4, 5, 6)


def test_the_dose_of_a_plan_among_the_slices_is_left_out(tmp_path, write_series):
    write_series(tmp_path / "a", volume())
    (other,) = write_series(tmp_path / "b", volume(shape=(1, 3, 4)))
    edit(other, SOPClassUID="1.2.840.10008.5.1.4.1.1.481.2", SeriesInstanceUID=uid.generate_uid())
    assert DICOM.describe(other).shape == (3, 4)
    other.rename(tmp_path / "a" / "RD.dcm")
    assert DICOM.describe(tmp_path / "a").shape == (4, 5, 6)


def test_every_cut_of_a_slice_is_refused_by_name(tmp_path, write_series):
    paths = write_series(tmp_path / "a", volume())
    whole = paths[2].read_bytes()
    for length in range(1, len(whole), 29):
        paths[2].write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"truncated|no DICOM file") as wrong:
            DICOM.read(tmp_path / "a")
        assert wrong.value.where == str(paths[2])
    paths[2].write_bytes(whole)
    assert DICOM.read(tmp_path / "a")[0].shape == (1, 4, 5, 6)


def test_a_claim_meets_our_limit(tmp_path, write_series, monkeypatch):
    write_series(tmp_path / "a", volume())
    monkeypatch.setattr(checks, "LIMIT_BYTES", 200)
    with pytest.raises(DataError, match="would unpack to 240 bytes, the limit is 200"):
        DICOM.read(tmp_path / "a")


def test_a_grey_image_is_a_label_as_stored(tmp_path, write_series):
    stored = volume(np.uint8) % 3
    write_series(tmp_path / "a", stored, RescaleSlope=2, RescaleIntercept=7)
    values, grid = DICOM.read_label(tmp_path / "a")
    np.testing.assert_array_equal(values, stored)
    assert grid == DICOM.describe(tmp_path / "a").grid


def test_labels_without_their_image_are_not_written(tmp_path):
    with pytest.raises(DataError, match=r"a\.dcm: a DICOM segmentation refers to the images"):
        DICOM.write(tmp_path / "a.dcm", np.zeros((2, 2, 2), np.uint8), Grid.plain(3))


def test_nothing_of_the_patient_is_in_an_error(tmp_path, write_series):
    paths = write_series(tmp_path / "a", volume())
    edit(paths[0], PatientName="Canary^Yellow", Rows=None)
    with pytest.raises(DataError) as wrong:
        DICOM.read(tmp_path / "a")
    text = f"{wrong.value} {wrong.value.__cause__}"
    assert "anary" not in text
    assert "its planes cannot be read" in text


@pytest.mark.real_data
@pytest.mark.parametrize(("study", "shape"), [(1, (32, 51, 35)), (2, (35, 48, 36)), (3, (40, 50, 34))])
def test_real_series(study, shape):
    folder = REAL / f"Study{study}"
    if not folder.is_dir():
        pytest.skip(f"{REAL} is not there")
    pixels, grid = DICOM.read(folder)
    assert pixels.shape == (1, *shape)
    assert grid == Grid(
        (1.0, 1.0, 1.0), (0.0, 0.0, 1.0), ((0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (-1.0, 0.0, 0.0))
    )
    for path in sorted(folder.iterdir())[::9]:
        ds = pydicom.dcmread(path)
        at = round(float(ds.ImagePositionPatient[2])) - 1
        np.testing.assert_array_equal(pixels[0, at], ds.pixel_array)
