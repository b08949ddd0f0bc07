"""Slides through OpenSlide: a stand-in that keeps to its interface, and the library where it is."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import tifffile

from unetkit.data.formats import WindowedFormat, files_of, format_of, slide
from unetkit.errors import DataError, MissingPackageError
from unetkit.records.case import Grid

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 255, (70, 90, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 255, (70, 90, 1), dtype=np.uint8)
ALPHA[:20], ALPHA[20:40] = 255, 0
PIXELS = np.concatenate([COLOURS, ALPHA], axis=2)
MIRAX = slide.SlideFormat()


@pytest.fixture
def scan(tmp_path, slides, openslide):
    """Writes a slide that the stand-in opens."""

    def write(name="a.mrxs", **words):
        slides.write_stand_in(tmp_path / name, PIXELS, **words)
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    ("facts", "background"),
    [
        ({}, (255, 255, 255)),
        ({"background_color": "102030"}, (16, 32, 48)),
        ({"background_color": "x"}, None),
    ],
)
def test_what_is_see_through_shows_the_background(scan, facts, background):
    pixels, _ = MIRAX.read(scan(**facts))
    share = ALPHA.astype(float) / 255
    behind = np.array(background or (255, 255, 255))
    wanted = np.moveaxis(COLOURS * share + behind * (1 - share), -1, 0)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels[:, :40], wanted[:, :40])  # opaque, and nothing at all
    np.testing.assert_allclose(pixels, wanted, atol=1)


def test_the_spacing_is_that_of_the_full_resolution(scan):
    grid = MIRAX.describe(scan(mpp_x="0.25", mpp_y="0.5")).grid
    assert grid.calibrated
    assert grid.spacing_mm == pytest.approx((0.0005, 0.00025))
    for facts in (
        {},
        {"mpp_x": "0.25"},
        {"mpp_x": "0.25", "mpp_y": "wide"},
        {"mpp_x": "nan", "mpp_y": "inf"},
    ):
        assert MIRAX.describe(scan(**facts)).grid == Grid.plain(2)


def test_the_header_is_known_before_a_pixel_is_decoded(scan, openslide):
    header = MIRAX.describe(scan(whole=0))
    assert (header.channels, header.shape, header.dtype, header.lossy) == (3, (70, 90), "uint8", True)
    assert openslide.last.asked == []
    assert openslide.OpenSlide.opened == 0


@pytest.mark.parametrize("facts", [{}, {"level[0].tile-height": 16}, {"level[0].tile-height": 10**9}])
def test_any_part_is_that_of_the_whole_and_rows_are_decoded_once(scan, openslide, monkeypatch, facts):
    monkeypatch.setattr(slide, "_COLUMNS", 32)
    path = scan(**facts)
    whole, grid = MIRAX.read(path)
    assert isinstance(MIRAX, WindowedFormat)
    with MIRAX.windows(path) as opened:
        assert (opened.header.grid, opened.channels) == (grid, 3)
        rows = [opened.read(((top, min(top + 9, 70)), (0, 90))) for top in range(0, 70, 9)]
        assert np.array_equal(np.concatenate(rows, axis=1), whole)
        asked = openslide.last.asked
        assert sum(width * height for *_, width, height in asked) == 70 * 90
        assert max(width for _, _, width, _ in asked) == 32
        for _ in range(5):
            (a, b), (c, d) = (sorted(RNG.choice(n + 1, 2, replace=False)) for n in (70, 90))
            assert np.array_equal(opened.read(((a, b), (c, d))), whole[:, a:b, c:d])
    assert openslide.OpenSlide.opened == 0


def test_a_damaged_part_is_named_when_it_is_read_and_the_slide_is_closed(scan, openslide):
    path = scan(whole=40, **{"level[0].tile-height": 20})
    with MIRAX.windows(path) as opened:
        assert opened.read(((0, 40), (0, 90))).shape == (3, 40, 90)
        with pytest.raises(DataError, match=r"a\.mrxs: this slide is truncated or damaged \(cannot decode"):
            opened.read(((40, 50), (0, 90)))
    with pytest.raises(DataError, match="truncated or damaged"):
        MIRAX.read(path)
    assert openslide.OpenSlide.opened == 0


@pytest.mark.parametrize("name", ["a.mrxs", "a.scn", "a.vms", "a.vmu", "a.bif"])
def test_other_bytes_are_no_slide(tmp_path, openslide, name):
    path = tmp_path / name
    with pytest.raises(DataError, match="cannot be read"):
        format_of(path).read(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="empty"):
        format_of(path).describe(path)
    path.write_bytes(b"not a slide")
    with pytest.raises(DataError, match="OpenSlide finds no slide in this file") as refused:
        format_of(path).describe(path)
    assert "the folder or the pictures beside it" in refused.value.cure
    assert refused.value.where == str(path)


def test_a_slide_beyond_the_limit_is_not_read_as_a_whole(scan, monkeypatch):
    monkeypatch.setattr("unetkit.data.formats.checks.LIMIT_BYTES", 3 * 70 * 90 - 1)
    path = scan()
    with pytest.raises(DataError, match=r"would unpack to 18,900 bytes, the limit is 18,899"):
        MIRAX.read(path)
    with MIRAX.windows(path) as opened:
        assert opened.read(((0, 9), (0, 90))).shape == (3, 9, 90)


@pytest.mark.parametrize("error", [ModuleNotFoundError("no openslide"), OSError("libopenslide.so.1")])
def test_without_the_library_the_extra_is_named(scan, monkeypatch, error):
    class Lacking:
        def find_spec(self, name, *_):
            if name == "openslide":
                raise error

    path = scan()
    monkeypatch.delitem(sys.modules, "openslide")
    monkeypatch.setattr(sys, "meta_path", [Lacking(), *sys.meta_path])
    with pytest.raises(MissingPackageError, match="needs the package 'openslide'") as refused:
        MIRAX.describe(path)
    assert refused.value.cure == "pip install 'unetkit[slides]'"


def test_a_slide_is_no_mask(scan):
    path, labels = scan(), np.zeros((2, 2), np.uint8)
    for refused in (
        lambda: MIRAX.read_label(path),
        lambda: MIRAX.write(path, labels, Grid.plain(2)),
        lambda: MIRAX.write_rows(path, [labels], shape=(2, 2), dtype=labels.dtype, grid=Grid.plain(2)),
    ):
        with pytest.raises(DataError, match="a slide is a photograph and holds no class numbers"):
            refused()


def test_the_files_beside_a_slide_belong_to_it(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    for name in ("Slidedat.ini", "Data0000.dat"):
        (folder / name).touch()
    (tmp_path / "a.mrxs").touch()
    assert files_of(tmp_path / "a.mrxs") == (
        tmp_path / "a.mrxs",
        folder / "Data0000.dat",
        folder / "Slidedat.ini",
    )
    text = "[Virtual Microscope Specimen]\nImageFile=one.jpg\nMapFile=gone.jpg\nMacroImage=../b.jpg\nx=..\n"
    for name in ("one.jpg", "two.jpg"):
        (tmp_path / name).touch()
    (tmp_path.parent / "b.jpg").touch()
    (tmp_path / "b.vms").write_text(text)
    assert files_of(tmp_path / "b.vms") == (tmp_path / "b.vms", tmp_path / "one.jpg")
    assert files_of(tmp_path / "c.scn") == (tmp_path / "c.scn",)


def test_the_library_itself(tmp_path):
    pytest.importorskip("openslide", reason="openslide is not installed")
    path = tmp_path / "a.scn"  # OpenSlide goes by the bytes: a tiled TIFF is a slide to it
    tifffile.imwrite(path, COLOURS, photometric="rgb", tile=(32, 32), metadata=None)
    pixels, _ = MIRAX.read(path)
    assert np.array_equal(pixels, np.moveaxis(COLOURS, -1, 0))
    with MIRAX.windows(path) as opened:
        assert np.array_equal(opened.read(((30, 60), (10, 80))), pixels[:, 30:60, 10:80])
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError):
        MIRAX.read(path)
