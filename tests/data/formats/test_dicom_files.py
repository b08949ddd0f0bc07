from __future__ import annotations

import numpy as np
import pytest

from unetkit.data.formats import dicom_files
from unetkit.data.formats.dicom_files import read_dataset, read_header, read_headers, read_stored
from unetkit.errors import DataError, MissingPackageError

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")

STORED = np.arange(30, dtype=np.uint16).reshape(1, 5, 6)


@pytest.fixture
def path(tmp_path, write_series):
    return write_series(tmp_path / "a", STORED, origin=(1, 2, 3))[0]


def edit(path, **tags):
    ds = pydicom.dcmread(path)
    for name, value in tags.items():
        if value is None:
            delattr(ds, name)
        else:
            setattr(ds, name, value)
    ds.save_as(path, enforce_file_format=True)


def test_a_plane_says_where_it_lies_in_dicoms_own_world(path):
    file = read_header(path)
    (plane,) = file.planes
    assert (plane.rows, plane.columns, plane.position) == (5, 6, (1.0, 2.0, 3.0))
    assert (plane.across, plane.down, plane.spacing_mm) == ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.5, 0.7))
    assert (file.channels, file.bits, file.dtype, file.inverted) == (1, 16, np.uint16, False)
    np.testing.assert_array_equal(read_stored(file), STORED[:, None])


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"Rows": None}, "its planes cannot be read"),
        ({"Rows": 0}, "its size cannot be read"),
        ({"Rows": 500}, "truncated: its header claims 6,000 bytes, it can hold at most 60"),
        ({"Rows": 60000, "Columns": 60000, "NumberOfFrames": 9}, "would unpack to 64,800,000,000 bytes"),
        ({"NumberOfFrames": 2**31 - 1}, "claims 2,147,483,647 frames and holds 480 at most"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "pixels of the kind 'PALETTE COLOR' with 1 samples"),
        ({"PhotometricInterpretation": None}, "PhotometricInterpretation cannot be read"),
        ({"BitsAllocated": 12, "BitsStored": 12}, "12 bits in 12 cannot be used"),
        ({"BitsStored": 17}, "17 bits in 16 cannot be used"),
        ({"PixelData": None}, "truncated, or no image: it has no pixel data"),
        ({"SeriesInstanceUID": None}, "SeriesInstanceUID cannot be read"),
        ({"ModalityLUTSequence": []}, "its values run through a table"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused_by_name(path, tags, words):
    edit(path, **tags)
    with pytest.raises(DataError, match=words) as wrong:
        read_header(path)
    assert wrong.value.where == str(path)


def test_pixels_that_cannot_be_decoded(tmp_path, write_series):
    noise = np.random.default_rng(0).integers(0, 4000, (1, 64, 64)).astype(np.uint16)
    (path,) = write_series(tmp_path / "noise", noise)
    ds = pydicom.dcmread(path)
    ds.compress(pydicom.uid.JPEG2000Lossless)
    data = bytearray(ds.PixelData)
    data[40:] = b"\xff" * (len(data) - 40)
    ds.PixelData = bytes(data)
    ds.save_as(path, enforce_file_format=True)
    with pytest.raises(DataError, match="its pixels cannot be decoded"):
        read_stored(read_header(path))


def test_a_compression_without_a_decoder_names_the_package(path, monkeypatch):
    ds = pydicom.dcmread(path)
    ds.compress(pydicom.uid.RLELossless)
    ds.save_as(path, enforce_file_format=True)
    monkeypatch.setattr(pydicom.pixels.get_decoder(pydicom.uid.RLELossless), "_available", {})
    with pytest.raises(
        MissingPackageError, match=r"RLE Lossless needs a decoder.*pip install 'unetkit\[dicom\]'"
    ):
        read_stored(read_header(path))


def test_without_pydicom_the_extra_is_named(path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(
        MissingPackageError, match=r"needs the package 'pydicom'.*pip install 'unetkit\[dicom\]'"
    ):
        read_header(path)


def test_reports_are_no_images_and_doses_are(path):
    assert [file.path for file in read_headers([path])] == [path]
    for kind in ("1.2.840.10008.5.1.4.1.1.88.22", "1.2.840.10008.5.1.4.1.1.481.3"):
        edit(path, SOPClassUID=kind)
        assert read_headers([path]) == ()
    edit(path, SOPClassUID="1.2.840.10008.5.1.4.1.1.481.2")
    assert len(read_headers([path])) == 1


def test_only_what_an_image_needs_is_read(path):
    """No tag of group 0010 (patient) is asked for; the whole header only for a segmentation's references."""
    assert not any(pydicom.datadict.tag_for_keyword(name) >> 16 == 0x0010 for name in dicom_files._TAGS)
    assert read_dataset(path).PatientID == "CANARY-4711"
    assert "PixelData" not in read_dataset(path)


def test_a_stream_that_claims_more_than_the_header_is_not_decoded(tmp_path, write_series):
    path = write_series(tmp_path, np.arange(4096, dtype=np.uint16).reshape(1, 64, 64))[0]
    ds = pydicom.dcmread(path)
    ds.compress(pydicom.uid.JPEG2000Lossless)
    ds.save_as(path)
    assert read_stored(read_header(path)).shape == (1, 1, 64, 64)
    data = path.read_bytes()
    at = data.index(b"\xff\x4f\xff\x51") + 8
    sizes = (50_000).to_bytes(4, "big")
    path.write_bytes(data[:at] + sizes * 2 + data[at + 8 :])
    with pytest.raises(
        DataError, match=r"a stream in it claims 50,000 × 50,000 pixels, its header 4,096"
    ) as no:
        read_stored(read_header(path))
    assert no.value.where == str(path)
