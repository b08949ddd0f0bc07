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


def cut_by_one_is_refused(path):
    whole = path.read_bytes()
    check_pages(path, len(whole))
    with tifffile.TiffFile(path) as file:
        pages = [page for each in file.pages for page in (each, *(each.pages or ()))]
        end = max(page.dataoffsets[-1] + page.databytecounts[-1] for page in pages)
    path.write_bytes(whole[: end - 1])
    with pytest.raises(
        DataError, match=rf"truncated: its pixels end at byte {end:,}, the file at {end - 1:,}"
    ):
        check_pages(path, end - 1)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_pixels_of_a_smaller_copy_that_nobody_reads_must_be_there(tmp_path, large, order):
    path = tmp_path / "a.tif"
    image = np.random.default_rng(0).integers(0, 255, (64, 80), dtype=np.uint8)
    words = {"tile": (16, 16), "compression": "zlib", "photometric": "minisblack"}
    with tifffile.TiffWriter(path, bigtiff=large, byteorder=order) as writer:
        writer.write(image, subifds=2, **words)
        writer.write(image[::2, ::2], subfiletype=1, **words)
        writer.write(image[::4, ::4], subfiletype=1, **words)
    cut_by_one_is_refused(path)


def test_pixels_of_a_second_picture_must_be_there(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for edge in (4, 30):
            writer.write(np.zeros((edge, edge), np.uint8), photometric="minisblack", rowsperstrip=3)
    cut_by_one_is_refused(path)


def test_a_tile_that_is_left_out_lies_nowhere(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(bytes(100))
    for starts, counts in (((0, 50), (0, 50)), ((2**40, 10), (0, 5))):
        entries = b"".join(
            struct.pack("<HHQQ", code, 16, 2, 80 + 16 * number) for number, code in enumerate((324, 325))
        )
        head = b"II" + struct.pack("<HHHQ", 43, 8, 0, 16) + struct.pack("<Q", 2) + entries + bytes(8)
        path.write_bytes(head.ljust(80) + struct.pack("<4Q", *starts, *counts))
        check_pages(path, path.stat().st_size)
