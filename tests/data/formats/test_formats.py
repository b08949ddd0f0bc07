from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from unetkit.data.formats import (
    FORMATS,
    SUFFIXES,
    WindowedFormat,
    files_of,
    format_of,
    holds_slices,
    is_image_folder,
    kind_of,
    sort_folder,
    stem_of,
    suffix_of,
)
from unetkit.errors import DataError
from unetkit.records.case import Grid


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_every_suffix_leads_to_a_format_with_the_whole_contract(suffix):
    found = format_of(Path(f"scan.v2{suffix.upper()}"))
    assert type(found).__name__.lower().startswith(SUFFIXES[suffix])
    assert all(callable(getattr(found, name)) for name in ("describe", "read", "read_label", "write"))


def test_every_format_has_a_suffix():
    assert set(SUFFIXES.values()) == set(FORMATS)


def test_the_longest_suffix_wins():
    assert suffix_of(Path("a.nii.gz")) == ".nii.gz"
    assert stem_of(Path("a.b.nii.gz")) == "a.b"
    assert stem_of(Path("a.xyz")) == "a"


def test_an_unknown_suffix_names_the_known_ones():
    with pytest.raises(DataError, match=r"no format reads this file \(\.xyz\).*\.nii\.gz.*\.png"):
        format_of(Path("a.xyz"))


def test_dicom_is_known_by_its_bytes_where_no_suffix_tells(tmp_path):
    series = tmp_path / "1.2.840"
    series.mkdir()
    assert kind_of(series) is None
    (series / "IM1").write_bytes(bytes(128) + b"DICM")
    (series / "notes").write_bytes(bytes(200))
    assert holds_slices(series)
    assert (kind_of(series), kind_of(series / "IM1"), kind_of(series / "notes")) == ("dicom", "dicom", None)
    assert (stem_of(series), stem_of(series / "IM1")) == ("1.2.840", "IM1")
    assert type(format_of(series)).__name__ == "DicomFormat"
    assert files_of(series) == (series / "IM1", series / "notes")
    assert not holds_slices(series / "IM1")


def test_a_plain_file_consists_of_itself(tmp_path):
    assert files_of(tmp_path / "a.png") == (tmp_path / "a.png",)
    assert files_of(tmp_path / "notes.txt") == (tmp_path / "notes.txt",)


def test_a_folder_is_sorted_into_images_and_the_rest(tmp_path):
    for name in ("a.png", "._a.png", ".DS_Store", "notes.txt", "glass.jpg", "c.mrxs"):
        (tmp_path / name).touch()
    (tmp_path / "c").mkdir()  # the pixels of a MIRAX
    (tmp_path / "c" / "Data0000.dat").touch()
    (tmp_path / "b.vms").write_text("ImageFile=glass.jpg\n")  # a picture that is a part of a slide
    (tmp_path / "more").mkdir()
    images, others = sort_folder(tmp_path)
    assert [path.name for path in images] == ["a.png", "b.vms", "c.mrxs"]
    assert [path.name for path in others] == ["more", "notes.txt"]


def test_a_folder_is_an_image_by_its_name_or_by_its_slices(tmp_path):
    for name in ("a.zarr", "a.png", "plain"):
        (tmp_path / name).mkdir()
    found = [is_image_folder(tmp_path / name) for name in ("a.zarr", "a.png", "plain", "b.zarr")]
    assert found == [True, False, False, False]
    (tmp_path / "plain" / "IM1").write_bytes(bytes(128) + b"DICM")
    assert is_image_folder(tmp_path / "plain")
    (tmp_path / "a.zarr" / "c").mkdir()
    (tmp_path / "a.zarr" / "c" / "0").touch()
    assert files_of(tmp_path / "a.zarr") == (tmp_path / "a.zarr" / "c" / "0",)


@pytest.mark.parametrize(("suffix", "levels"), [(".tif", 0), (".tif", 2), (".npy", 0), (".zarr", 2)])
def test_an_image_goes_from_file_to_file_in_the_memory_of_some_of_its_rows(tmp_path, suffix, levels):
    """Twice the rows, the same memory."""
    if suffix == ".zarr":
        pytest.importorskip("zarr", reason="zarr is not installed")
    grid, peaks = Grid.plain(2), {}
    form = format_of(tmp_path / f"a{suffix}")
    assert isinstance(form, WindowedFormat)
    for rows in (600, 4000, 8000):  # the first one warms up
        source, out = (tmp_path / f"{name}{rows}{suffix}" for name in ("in", "out"))
        shape, kind = (rows, 800), np.dtype(np.uint8)

        def pattern(top, rows=rows):
            return np.add.outer(np.arange(top, min(top + 100, rows)), np.arange(800)).astype(np.uint8)

        bands = (pattern(top) for top in range(0, rows, 100))
        form.write_rows(source, bands, shape=shape, dtype=kind, grid=grid)
        tracemalloc.start()
        with form.windows(source) as opened:
            assert opened is not None
            parts = (opened.read(((top, top + 100), (0, 800)))[0] for top in range(0, rows, 100))
            form.write_rows(out, parts, shape=shape, dtype=kind, grid=grid, levels=levels)
        peaks[rows] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        with form.windows(out) as again:
            last = ((rows - 100, rows), (0, 800))
            assert np.array_equal(again.read(last)[0], pattern(rows - 100))
    assert peaks[8000] < 1.15 * peaks[4000]
    assert peaks[8000] < 5 * 2**20
