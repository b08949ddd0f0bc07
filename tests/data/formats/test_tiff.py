from __future__ import annotations

import struct

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from unetkit.data.formats import checks
from unetkit.data.formats.tiff import TiffFormat
from unetkit.errors import DataError
from unetkit.records.case import Grid

TIFF = TiffFormat()


def noise(*shape, dtype="uint16"):
    values = np.random.default_rng(0).random(shape) * 200
    return values.astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32"])
def test_every_pixel_type_comes_back(tmp_path, dtype):
    stored = noise(5, 7, dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", stored)
    pixels, grid = TIFF.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(pixels, stored[None])
    assert pixels.dtype == dtype
    assert grid == Grid.plain(2)
    header = TIFF.describe(tmp_path / "a.tif")
    assert (header.channels, header.shape, header.dtype) == (1, (5, 7), dtype)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour_is_channel_first(tmp_path, planar):
    stored = noise(5, 7, 3, dtype="uint8")
    written = stored if planar == "contig" else stored.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "a.tif", written, photometric="rgb", planarconfig=planar)
    np.testing.assert_array_equal(TIFF.read(tmp_path / "a.tif")[0], stored.transpose(2, 0, 1))


def test_an_opaque_alpha_is_left_out(tmp_path):
    stored = noise(5, 7, 4, dtype="uint8")
    stored[..., 3] = 255
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", extrasamples=["unassalpha"])
    assert TIFF.read(tmp_path / "a.tif")[0].shape == (3, 5, 7)


@pytest.mark.parametrize("separate", [True, False])
@pytest.mark.parametrize(
    ("pages", "shape", "word"), [(4, (4, 5, 7), "channels"), (5, (1, 5, 5, 7), "slices")]
)
def test_up_to_four_grey_pages_are_channels_and_more_are_slices(tmp_path, pages, shape, word, separate):
    stored = noise(pages, 5, 7)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        if separate:
            for page in stored:
                file.write(page, contiguous=False)
        else:
            file.write(stored, photometric="minisblack")
    pixels, grid = TIFF.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(pixels, stored.reshape(shape))
    assert grid.rank == len(shape) - 1
    header = TIFF.describe(tmp_path / "a.tif")
    assert (header.channels, *header.shape) == shape
    assert f"its {pages} pages were taken as" in header.notes[0]
    assert word in header.notes[0]


def test_named_axes_are_followed(tmp_path):
    stored = noise(3, 2, 5, 7)
    tifffile.imwrite(tmp_path / "a.ome.tif", stored, metadata={"axes": "ZCYX"}, photometric="minisblack")
    np.testing.assert_array_equal(TIFF.read(tmp_path / "a.ome.tif")[0], stored.transpose(1, 0, 2, 3))


def test_too_many_axes_are_refused(tmp_path):
    stored = noise(3, 2, 6, 5, 7)
    tifffile.imwrite(tmp_path / "a.ome.tif", stored, metadata={"axes": "TCZYX"}, photometric="minisblack")
    with pytest.raises(DataError, match=r"axes TCZYX .* are neither a picture nor a volume with channels"):
        TIFF.read(tmp_path / "a.ome.tif")


def test_a_palette_is_indices_for_a_mask_and_colours_for_an_image(tmp_path):
    indices = np.array([[0, 1], [2, 0]], np.uint8)
    colours = np.zeros((3, 256), np.uint16)
    colours[:, 1] = (65535, 256, 0)
    tifffile.imwrite(tmp_path / "p.tif", indices, photometric="palette", colormap=colours)
    np.testing.assert_array_equal(TIFF.read_label(tmp_path / "p.tif")[0], indices)
    assert TIFF.read(tmp_path / "p.tif")[0][:, 0, 1].tolist() == [255, 1, 0]
    assert TIFF.describe(tmp_path / "p.tif").channels == 3


@settings(deadline=None, max_examples=8)
@given(st.lists(st.integers(1, 7), min_size=2, max_size=3), st.sampled_from([3, 255, 300]))
def test_labels_make_the_round_trip(tmp_path_factory, shape, high):
    path = tmp_path_factory.mktemp("t") / "l.tif"
    labels = np.random.default_rng(0).integers(0, high + 1, (max(shape) + 4, *shape[1:]))
    TIFF.write(path, labels, Grid.plain(labels.ndim))
    values, _ = TIFF.read_label(path)
    np.testing.assert_array_equal(values, labels)
    assert values.dtype == (np.uint8 if labels.max() < 256 else np.uint16)


def test_float_labels_are_cast_when_whole_and_refused_otherwise(tmp_path):
    tifffile.imwrite(tmp_path / "m.tif", np.array([[0.0, 2.0]], np.float32))
    assert TIFF.read_label(tmp_path / "m.tif")[0].tolist() == [[0, 2]]
    tifffile.imwrite(tmp_path / "m.tif", np.array([[0.0, 0.25]], np.float32))
    with pytest.raises(DataError, match=r"m\.tif: float labels: expected whole numbers, got 0\.25"):
        TIFF.read_label(tmp_path / "m.tif")


def test_a_colour_mask_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "m.tif", noise(5, 7, 3, dtype="uint8"), photometric="rgb")
    with pytest.raises(DataError, match="an RGB mask: expected one channel of class numbers, got 3"):
        TIFF.read_label(tmp_path / "m.tif")


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("shape", [(9, 11), (6, 9, 11)])
def test_a_file_cut_anywhere_in_its_content_is_refused(tmp_path, compression, shape):
    whole = tmp_path / "a.tif"
    stored = np.random.default_rng(0).integers(0, 65535, shape, dtype=np.uint16)
    tifffile.imwrite(whole, stored, compression=compression, photometric="minisblack")
    data = whole.read_bytes()
    for length in range(1, len(data) - 16, max(1, len(data) // 40)):
        whole.write_bytes(data[:length])
        with pytest.raises(DataError, match=r"truncated|no TIFF file") as wrong:
            TIFF.read(whole)
        assert wrong.value.where == str(whole)


def test_a_bomb_meets_our_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "LIMIT_BYTES", 1000)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((90, 90), np.uint8), compression="zlib")
    with pytest.raises(DataError, match="would unpack to 8,100 bytes, the limit is 1,000"):
        TIFF.read(tmp_path / "a.tif")


def test_other_bytes_and_complex_pixels_are_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"hello world, hello world")
    with pytest.raises(DataError, match="these bytes are no TIFF file"):
        TIFF.read(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "c.tif", np.zeros((4, 4), np.complex64))
    with pytest.raises(DataError, match="pixels of type complex64 cannot be used"):
        TIFF.read(tmp_path / "c.tif")


def test_the_first_of_unequal_pictures_is_read_and_said(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(noise(8, 8))
        file.write(noise(2, 2))
    assert TIFF.read(tmp_path / "a.tif")[0].shape == (1, 8, 8)
    assert TIFF.describe(tmp_path / "a.tif").notes == ("it holds 2 different pictures: the first was read",)


@pytest.mark.parametrize(
    "spacing", [(0.25, 0.5), (1.0, 1.0), (2.5, 0.00065, 0.00032), (25.4 / 72, 25.4 / 72)]
)
@pytest.mark.parametrize("high", [3, 300])
def test_a_calibrated_grid_makes_the_round_trip(tmp_path, spacing, high):
    rank = len(spacing)
    grid = Grid(spacing, (0.0,) * rank, Grid.plain(rank).direction)
    labels = np.random.default_rng(0).integers(0, high + 1, (6, 40, 30)[-rank:])
    TIFF.write(tmp_path / "l.tif", labels, grid)
    values, read = TIFF.read_label(tmp_path / "l.tif")
    np.testing.assert_array_equal(values, labels)
    assert values.dtype == (np.uint8 if high < 256 else np.uint16)
    assert read.calibrated
    np.testing.assert_allclose(read.spacing_mm, spacing, rtol=1e-6)
    assert TIFF.describe(tmp_path / "l.tif").grid == read == TIFF.read(tmp_path / "l.tif")[1]
    TIFF.write(tmp_path / "again.tif", values, read)
    assert (tmp_path / "again.tif").read_bytes() == (tmp_path / "l.tif").read_bytes()


def test_an_unknown_spacing_stays_unknown(tmp_path):
    TIFF.write(tmp_path / "l.tif", np.eye(9, dtype=np.uint8), Grid.plain(2))
    assert TIFF.read_label(tmp_path / "l.tif")[1] == Grid.plain(2)


def test_ome_and_imagej_and_tags_are_read(tmp_path):
    size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25, "PhysicalSizeZ": 2.0}
    units = {f"{name}Unit": "µm" for name in size}
    tifffile.imwrite(tmp_path / "a.ome.tif", noise(6, 5, 7), metadata={"axes": "ZYX", **size, **units})
    assert TIFF.read(tmp_path / "a.ome.tif")[1].spacing_mm == pytest.approx((0.002, 0.00025, 0.0005))
    facts = {"axes": "ZYX", "spacing": 3.0, "unit": "um"}
    tifffile.imwrite(tmp_path / "i.tif", noise(6, 5, 7), imagej=True, resolution=(2.0, 4.0), metadata=facts)
    assert TIFF.read(tmp_path / "i.tif")[1].spacing_mm == pytest.approx((0.003, 0.00025, 0.0005))
    tifffile.imwrite(tmp_path / "t.tif", noise(5, 7), resolution=(100, 200), resolutionunit="CENTIMETER")
    assert TIFF.read(tmp_path / "t.tif")[1].spacing_mm == pytest.approx((0.05, 0.1))
    tifffile.imwrite(tmp_path / "v.tif", noise(6, 5, 7), resolution=(100, 200), resolutionunit="CENTIMETER")
    assert TIFF.read(tmp_path / "v.tif")[1] == Grid.plain(3)  # nothing says how thick the slices are


def test_the_density_of_a_photograph_is_no_spacing(tmp_path):
    tifffile.imwrite(tmp_path / "t.tif", noise(5, 7), resolution=(72, 72), resolutionunit="INCH")
    assert TIFF.read(tmp_path / "t.tif")[1] == Grid.plain(2)


def claim(path, code, value):
    """Write over a tag of one value."""
    with tifffile.TiffFile(path) as file:
        tag = file.pages[0].tags[code]
        at, kind = tag.valueoffset, {3: "<H", 4: "<I"}[int(tag.dtype)]
    data = bytearray(path.read_bytes())
    data[at : at + struct.calcsize(kind)] = struct.pack(kind, value)
    path.write_bytes(data)


@pytest.mark.parametrize("compression", ["lzw", "packbits", "zlib", "zstd", "jpeg"])
def test_a_size_that_its_strips_cannot_fill_is_refused(tmp_path, compression):
    pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    path, words = tmp_path / "a.tif", {"compression": compression, "photometric": "minisblack"}
    tifffile.imwrite(path, np.zeros((24, 30), np.uint8), rowsperstrip=8, **words)
    claim(path, 257, 50)  # rows: more strips than there are
    with pytest.raises(
        DataError, match=r"this TIFF is damaged: its size needs 7 strips or tiles, it names 3"
    ):
        TIFF.describe(path)
    claim(path, 257, 60_000)
    claim(path, 256, 60_000)
    claim(path, 278, 20_000)  # rows per strip
    with pytest.raises(DataError, match=r"truncated: its header claims 3,600,000,000 bytes"):
        TIFF.describe(path)


def test_a_jpeg_tile_that_claims_more_than_its_place_is_refused(tmp_path):
    pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    path, words = tmp_path / "a.tif", {"compression": "jpeg", "photometric": "minisblack"}
    tifffile.imwrite(path, np.zeros((24, 30), np.uint8), tile=(16, 16), **words)
    data = path.read_bytes()
    at = data.index(b"\xff\xc0\x00\x0b\x08") + 5
    path.write_bytes(data[:at] + struct.pack(">HH", 65000, 65000) + data[at + 4 :])
    with pytest.raises(
        DataError, match=r"a\.tif: .*a stream in it claims 65,000 × 65,000 pixels, its header 256"
    ):
        TIFF.read(path)
    with TIFF.windows(path) as opened, pytest.raises(DataError, match="claims 65,000 × 65,000 pixels"):
        opened.read(((0, 24), (0, 30)))


@pytest.fixture(params=["colours", "grey", "hamamatsu", "hamamatsu beyond 4 GiB"])
def scan(request, tmp_path, slides):
    """A slide, what Pillow decodes of it, and its spacing in mm."""
    pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    y, x = np.mgrid[:90, :128]
    smooth = np.stack([x + y, 2 * x, 255 - y], axis=-1).astype(np.uint8) // 16 * 16
    if request.param.startswith("hamamatsu"):
        path, start = tmp_path / "a.ndpi", 64 if request.param == "hamamatsu" else 2**32 + 10
        return path, slides.write_ndpi(path, smooth, per_mm=4400, start=start), 1 / 4400
    path, picture = tmp_path / "a.svs", smooth if request.param == "colours" else smooth[..., 0]
    return path, slides.write_svs(path, np.ascontiguousarray(picture[:, :101])), 0.499e-3


def test_a_slide_is_its_full_resolution_in_parts_or_whole(scan):
    path, expected, spacing = scan
    expected = np.moveaxis(np.atleast_3d(expected), -1, 0)
    header = TIFF.describe(path)
    assert (header.channels, header.shape, header.lossy) == (len(expected), expected.shape[1:], True)
    assert header.grid.calibrated
    assert header.grid.spacing_mm == pytest.approx((spacing, spacing))
    assert header.notes == (
        "a slide: its full resolution was read, its label and the picture of the glass were not",
    )
    whole, grid = TIFF.read(path)
    assert grid == header.grid
    np.testing.assert_allclose(whole.astype(int), expected.astype(int), atol=2)
    with TIFF.windows(path) as opened:
        assert opened.channels == len(whole)
        rows = [opened.read(((top, min(top + 13, 90)), (0, whole.shape[2]))) for top in range(0, 90, 13)]
        assert np.array_equal(np.concatenate(rows, axis=1), whole)
        assert np.array_equal(opened.read(((40, 77), (30, 70))), whole[:, 40:77, 30:70])


def test_a_cut_slide_is_refused(tmp_path, slides):
    path = tmp_path / "a.ndpi"
    slides.write_ndpi(path, noise(64, 64, 3, dtype="uint8"))
    whole = path.read_bytes()
    for length in (len(whole) - 1, len(whole) - 200, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"a\.ndpi: this TIFF is truncated"):
            TIFF.describe(path)
