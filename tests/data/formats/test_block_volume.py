"""NRRD and MetaImage are two headers of one kind of block; what they share is tested through both of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from unetkit.data.formats.block_volume import BlockVolume, label_block
from unetkit.errors import DataError
from unetkit.records.case import Grid


@pytest.fixture
def volume(tmp_path):
    """Two channels of 3 × 4 × 5 behind a head of 7 bytes, the higher byte first."""
    path = tmp_path / "a.raw"
    path.write_bytes(b"a head." + np.arange(120, dtype=">u2").tobytes())
    return BlockVolume(
        path=path,
        data=path,
        start=7,
        packing="raw",
        dtype=np.dtype(">u2"),
        channels=2,
        interleaved=False,
        shape=(3, 4, 5),
        grid=Grid.plain(3),
        notes=("a note",),
    )


def test_channels_lie_behind_one_another_or_together(volume):
    numbers = np.arange(120)
    np.testing.assert_array_equal(volume.pixels(), numbers.reshape(2, 3, 4, 5))
    together = replace(volume, interleaved=True).pixels()
    np.testing.assert_array_equal(together, numbers.reshape(3, 4, 5, 2).transpose(3, 0, 1, 2))
    assert together.dtype == np.uint16
    assert together.flags.c_contiguous


def test_the_claim_is_compared_with_the_file(volume):
    header = volume.header()
    assert (header.channels, header.shape, header.dtype, header.notes) == (
        2,
        (3, 4, 5),
        "uint16",
        ("a note",),
    )
    volume.path.write_bytes(volume.path.read_bytes()[:-1])
    with pytest.raises(DataError, match="truncated"):
        volume.header()
    with pytest.raises(DataError, match="truncated"):
        volume.pixels()


def test_the_data_beside_a_header_are_a_part_of_it(volume, tmp_path):
    assert volume.parts() == (volume.path,)
    beside = tmp_path / "b.raw"
    assert replace(volume, data=beside).parts() == (volume.path, beside)


def test_labels_are_little_endian_and_in_one_file(tmp_path):
    values, data = label_block(tmp_path / "a.nrrd", np.array([[1, 258]]), beside=".nhdr", whole=".nrrd")
    assert (values.dtype, data) == (np.dtype("uint16"), b"\x01\x00\x02\x01")
    with pytest.raises(DataError, match=r"not as a header beside data.*name it \.nrrd"):
        label_block(tmp_path / "a.NHDR", values, beside=".nhdr", whole=".nrrd")
