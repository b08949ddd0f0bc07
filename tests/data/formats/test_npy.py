"""Arrays in .npy files: numpy reads and writes the same."""

import numpy as np
import pytest

from unetkit.data.formats import WindowedFormat, format_of
from unetkit.errors import DataError, ResourceError
from unetkit.records.case import Grid

RNG = np.random.default_rng(0)
ARRAYS = {
    "picture": RNG.integers(0, 255, (17, 23), dtype=np.uint8),
    "big-endian": RNG.integers(0, 60000, (17, 23)).astype(">u2"),
    "channels first": RNG.integers(0, 255, (3, 17, 23), dtype=np.uint8),
    "channels last": RNG.integers(0, 255, (17, 23, 3), dtype=np.uint8),
    "volume": RNG.standard_normal((7, 9, 11)).astype(np.float32),
    "volume of channels": RNG.integers(0, 255, (2, 7, 9, 11), dtype=np.int16),
    "bits": RNG.integers(0, 2, (17, 23)).astype(bool),
    "columns first": np.asfortranarray(RNG.integers(0, 255, (17, 23), dtype=np.uint8)),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_what_numpy_saved_is_read_whole_and_in_parts(tmp_path, kind):
    path, array = tmp_path / "a.npy", ARRAYS[kind]
    np.save(path, array)
    form = format_of(path)
    pixels, grid = form.read(path)
    expected = array * np.uint8(255) if kind == "bits" else array
    if kind == "channels last":
        expected = expected.transpose(2, 0, 1)
    expected = expected.reshape(pixels.shape)
    assert np.array_equal(pixels, expected)
    assert pixels.dtype.isnative
    header = form.describe(path)
    assert (header.channels, header.shape, header.dtype) == (
        *(len(pixels), pixels.shape[1:]),
        str(pixels.dtype),
    )
    assert grid == Grid.plain(pixels.ndim - 1)
    assert isinstance(form, WindowedFormat)
    with form.windows(path) as opened:
        if kind == "columns first":
            assert opened is None
            return
        region = tuple((1, size - 2) for size in pixels.shape[1:])
        assert np.array_equal(opened.read(region), pixels[:, *(slice(*span) for span in region)])


def test_labels_are_what_numpy_reads(tmp_path):
    path, labels = tmp_path / "a.npy", RNG.integers(0, 300, (5, 6, 7))
    format_of(path).write(path, labels, Grid.plain(3))
    found = np.load(path, allow_pickle=False, mmap_mode="r")
    assert found.dtype == np.uint16
    assert np.array_equal(found, labels)
    assert np.array_equal(format_of(path).read_label(path)[0], labels)
    np.save(path, np.array([[0.5]]))
    with pytest.raises(DataError, match=r"expected whole numbers, got 0\.5"):
        format_of(path).read_label(path)
    np.save(path, np.zeros((2, 5, 6, 7)))
    with pytest.raises(DataError, match="expected one label per pixel, got 2 channels"):
        format_of(path).read_label(path)


def test_rows_become_the_same_file_as_the_whole(tmp_path):
    labels = RNG.integers(0, 3, (11, 6), dtype=np.uint8)
    form = format_of(tmp_path / "a.npy")
    form.write(tmp_path / "a.npy", labels, Grid.plain(2))
    parts = (labels[top : top + 4] for top in range(0, 11, 4))
    form.write_rows(tmp_path / "b.npy", parts, shape=(11, 6), dtype=labels.dtype, grid=Grid.plain(2))
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device"), None])
def test_what_stops_the_rows_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "a.npy"
    path.write_bytes(b"old")

    def bands():
        yield np.zeros((2, 6), np.uint8)
        if error is not None:
            raise error

    wanted = {KeyboardInterrupt: KeyboardInterrupt, None: DataError}.get(error, ResourceError)
    with pytest.raises(wanted):
        format_of(path).write_rows(path, bands(), shape=(5, 6), dtype=np.dtype("u1"), grid=Grid.plain(2))
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.npy"]


def test_damage_and_what_is_no_number_is_refused(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, ARRAYS["picture"])
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(DataError, match=r"a\.npy: this file is truncated: its header claims 391 bytes"):
        format_of(path).read(path)
    path.write_bytes(whole[:40])
    with pytest.raises(DataError, match=r"a\.npy: this \.npy file is damaged, or none at all"):
        format_of(path).describe(path)
    path.write_bytes(b"\x93NUMPY\x01\x00" + b"\x20\x00" + b"{'descr': __import__('os')}".ljust(32))
    with pytest.raises(DataError, match="damaged, or none at all"):
        format_of(path).describe(path)
    np.save(path, np.array([[{}]], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"an array of object .* cannot be used"):
        format_of(path).read(path)
    np.save(path, np.zeros((3, 4), complex))
    with pytest.raises(DataError, match="an array of complex128"):
        format_of(path).read(path)


def test_a_claim_of_terabytes_is_refused_before_anything_is_made(tmp_path):
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        facts = {"descr": "|u1", "fortran_order": False, "shape": (10**6, 10**7)}
        np.lib.format.write_array_header_1_0(file, facts)
    with pytest.raises(DataError, match="its header claims 10,000,000,000,000 bytes"):
        format_of(path).describe(path)
    with pytest.raises(DataError, match="its header claims"), format_of(path).windows(path):
        pass


def test_a_header_of_any_bytes_is_read_or_refused(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, ARRAYS["volume"])
    whole = path.read_bytes()
    refused = 0
    for place in range(60):
        for bit in range(8):
            data = bytearray(whole)
            data[place] ^= 1 << bit
            path.write_bytes(data)
            try:
                format_of(path).read(path)
            except DataError as wrong:
                refused += wrong.where == str(path)
    assert refused > 300  # nothing but a DataError, or it would have come out here


@pytest.mark.parametrize("text", ["-" * 9000, "(" * 9000, "{[]: 1}", "'", "{'descr': 1, 'fortran_order': 0"])
def test_a_header_that_no_parser_takes_is_named(tmp_path, text):
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode())
    with pytest.raises(DataError, match=r"a\.npy: this \.npy file is damaged, or none at all"):
        format_of(path).read(path)
