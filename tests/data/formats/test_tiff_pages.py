"""The chain of directories: cut, circular, or of another kind. (Whole files: test_tiff.)"""

import struct

import numpy as np
import pytest
import tifffile

from unetkit.data.formats.tiff_pages import check_pages
from unetkit.errors import DataError


@pytest.mark.parametrize("large", [False, True])
def test_every_directory_is_visited(tmp_path, large):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=large) as writer:
        for _ in range(3):
            writer.write(np.zeros((4, 5), np.uint8), contiguous=False, photometric="minisblack")
    with tifffile.TiffFile(path) as file:
        last = file.pages[2].offset
    whole = path.read_bytes()
    check_pages(path, len(whole))
    path.write_bytes(whole[: last + 1])
    with pytest.raises((DataError, struct.error)):  # the caller names both alike
        check_pages(path, last + 1)


def test_a_circle_of_directories_ends(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + struct.pack("<HI", 0, 8))
    check_pages(path, path.stat().st_size)


def test_other_bytes_are_no_tiff(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(b"PK\3\4 not a picture")
    with pytest.raises(DataError, match=r"a\.tif: these bytes are no TIFF file"):
        check_pages(path, path.stat().st_size)
