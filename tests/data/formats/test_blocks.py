from __future__ import annotations

import gzip
import zlib

import numpy as np
import pytest

from unetkit.data.formats import checks
from unetkit.data.formats.blocks import beside, read_block, read_lines
from unetkit.errors import DataError

NUMBERS = np.arange(50, dtype="<u2")


def test_the_header_ends_where_it_says(tmp_path):
    path = tmp_path / "a.nrrd"
    path.write_bytes(b"one: 1\r\ntwo: 2\n\nDATA")
    assert read_lines(path, "") == (["one: 1", "two: 2"], 16)
    path.write_bytes(b"A = 1\nLast = LOCAL\nDATA\n")
    assert read_lines(path, "last=") == (["A = 1", "Last = LOCAL"], 19)
    for text in (b"one: 1\ntwo: 2\n", b"one: 1", b"x" * 70_000):
        path.write_bytes(text)
        with pytest.raises(DataError, match=r"a\.nrrd: this file is truncated: its header is not complete"):
            read_lines(path, "")


@pytest.mark.parametrize(
    "name", ["../a.raw", "/etc/hostname", "sub/a.raw", "..", "a%03d.raw", "b\\a.raw", ""]
)
def test_a_header_leads_nowhere_else(tmp_path, name):
    (tmp_path / "a.raw").write_bytes(b"x")
    with pytest.raises(DataError, match="one plain file beside it, its name leads elsewhere"):
        beside(tmp_path / "a.mhd", name)


def test_nor_does_a_link_and_a_missing_file_is_named(tmp_path):
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "a.raw").symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match="leads elsewhere"):
        beside(tmp_path / "a.mhd", "a.raw")
    with pytest.raises(DataError, match=r"its data file 'b\.raw' is missing"):
        beside(tmp_path / "a.mhd", "b.raw")
    assert beside(tmp_path / "a.mhd", "secret") == tmp_path / "secret"


@pytest.mark.parametrize("packing", ["raw", "gzip", "zlib"])
def test_numbers_come_back_and_every_cut_is_refused(tmp_path, packing):
    data = NUMBERS.tobytes()
    packed = {"raw": data, "gzip": gzip.compress(data), "zlib": zlib.compress(data)}[packing]
    path = tmp_path / "a"
    path.write_bytes(b"HEAD" + packed)

    def read(count=50):
        return read_block(path, path, start=4, dtype=NUMBERS.dtype, count=count, packing=packing)

    np.testing.assert_array_equal(read(), NUMBERS)
    with pytest.raises(DataError, match="truncated"):
        read(count=51)
    for length in range(4, 4 + len(packed)):
        path.write_bytes(b"HEAD" + packed[: length - 4])
        with pytest.raises(DataError, match="truncated") as wrong:
            read()
        assert wrong.value.where == str(path)


def test_the_last_numbers_of_a_file_and_the_other_byte_order(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"anything" + NUMBERS.astype(">u2").tobytes())
    found = read_block(path, path, start=-1, dtype=np.dtype(">u2"), count=50)
    np.testing.assert_array_equal(found, NUMBERS)
    assert found.dtype.isnative


def test_a_bomb_is_met_before_it_unfolds(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(zlib.compress(bytes(1_000_000)))
    with pytest.raises(DataError, match="holds more than its header claims"):
        read_block(path, path, start=0, dtype=np.dtype("u1"), count=1000, packing="zlib")
    with pytest.raises(DataError, match="its header claims 5,000,000 bytes"):
        read_block(path, path, start=0, dtype=np.dtype("u1"), count=5_000_000, packing="zlib")
    monkeypatch.setattr(checks, "LIMIT_BYTES", 1000)
    with pytest.raises(DataError, match=r"would unpack to 5,000 bytes, the limit is 1,000"):
        read_block(path, path, start=0, dtype=np.dtype("u1"), count=5000, packing="gzip")
