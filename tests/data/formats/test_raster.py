from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from unetkit.data.formats import checks
from unetkit.data.formats.raster import RasterFormat
from unetkit.errors import DataError
from unetkit.records.case import Grid

RASTER = RasterFormat()


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


@pytest.mark.parametrize("name", ["a.png", "a.bmp"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_pixels_come_back_channel_first(tmp_path, name, shape):
    stored = noise(*shape)
    Image.fromarray(stored).save(tmp_path / name)
    pixels, grid = RASTER.read(tmp_path / name)
    expected = stored[None] if stored.ndim == 2 else stored.transpose(2, 0, 1)
    np.testing.assert_array_equal(pixels, expected)
    assert grid == Grid.plain(2)
    header = RASTER.describe(tmp_path / name)
    assert (header.channels, header.shape, header.dtype, header.lossy) == (
        len(pixels),
        (5, 7),
        "uint8",
        False,
    )


def test_sixteen_bits_are_kept(tmp_path):
    stored = noise(5, 7, dtype=np.uint16)
    Image.fromarray(stored).save(tmp_path / "a.png")
    np.testing.assert_array_equal(RASTER.read(tmp_path / "a.png")[0][0], stored)
    assert RASTER.describe(tmp_path / "a.png").dtype == "uint16"


def test_jpeg_is_read_and_said_to_be_lossy(tmp_path):
    Image.fromarray(noise(8, 9, 3)).save(tmp_path / "a.jpg")
    assert RASTER.read(tmp_path / "a.jpg")[0].shape == (3, 8, 9)
    assert RASTER.describe(tmp_path / "a.jpg").lossy


def test_exif_rotation_is_applied(tmp_path):
    stored = np.zeros((4, 6), np.uint8)
    stored[0, 0] = 200
    image = Image.fromarray(stored)
    exif = image.getexif()
    exif[0x0112] = 6  # a quarter turn clockwise to stand upright
    image.save(tmp_path / "a.png", exif=exif)
    pixels, _ = RASTER.read(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels[0], np.rot90(stored, -1))
    Image.fromarray(noise(40, 60)).save(tmp_path / "a.jpg", exif=exif)
    header = RASTER.describe(tmp_path / "a.jpg")
    assert header.shape == RASTER.read(tmp_path / "a.jpg")[0].shape[1:] == (60, 40)
    assert header.notes == ("the EXIF rotation was applied",)


def test_an_opaque_alpha_is_left_out_and_a_real_one_kept(tmp_path):
    rgba = noise(5, 7, 4)
    rgba[..., 3] = 255
    Image.fromarray(rgba).save(tmp_path / "opaque.png")
    np.testing.assert_array_equal(RASTER.read(tmp_path / "opaque.png")[0], rgba[..., :3].transpose(2, 0, 1))
    rgba[0, 0, 3] = 7
    Image.fromarray(rgba).save(tmp_path / "clear.png")
    assert RASTER.read(tmp_path / "clear.png")[0].shape == (4, 5, 7)


def palette(indices):
    image = Image.fromarray(indices).convert("P")
    image = Image.frombytes("P", indices.shape[::-1], indices.tobytes())
    image.putpalette([10, 20, 30, 200, 100, 50, 1, 2, 3])
    return image


def test_a_palette_is_indices_for_a_mask_and_colours_for_an_image(tmp_path):
    indices = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    palette(indices).save(tmp_path / "p.png")
    np.testing.assert_array_equal(RASTER.read_label(tmp_path / "p.png")[0], indices)
    assert RASTER.read(tmp_path / "p.png")[0][:, 0, 1].tolist() == [200, 100, 50]
    assert "palette" in RASTER.describe(tmp_path / "p.png").notes[0]


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_masks_of_few_bits_hold_their_own_numbers(tmp_path, bits):
    values = np.array([[0, 1, 1, 0], [1, 0, (1 << bits) - 1, 1]], np.uint8)
    rows = b"".join(
        b"\0" + np.packbits(np.unpackbits(row[:, None], axis=1)[:, 8 - bits :].reshape(-1)).tobytes()
        for row in values
    )
    (tmp_path / "m.png").write_bytes(png(4, 2, bits, 0, zlib.compress(rows)))
    np.testing.assert_array_equal(RASTER.read_label(tmp_path / "m.png")[0], values)


def png(width, height, depth, colour, data):
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_labels_make_the_round_trip(tmp_path, suffix):
    labels = noise(5, 7)
    RASTER.write(tmp_path / f"l{suffix}", labels, Grid.plain(2))
    np.testing.assert_array_equal(RASTER.read_label(tmp_path / f"l{suffix}")[0], labels)


def test_sixteen_bit_labels_make_the_round_trip(tmp_path):
    labels = noise(5, 7, dtype=np.uint16)
    RASTER.write(tmp_path / "l.png", labels, Grid.plain(2))
    np.testing.assert_array_equal(RASTER.read_label(tmp_path / "l.png")[0], labels)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("rows", [1, 512, 1100])
def test_pillow_reads_what_was_written_in_bands_and_finds_every_checksum_right(tmp_path, rows, kind):
    labels = np.repeat(noise(rows, 3, dtype=kind), 40, axis=1)
    RASTER.write(tmp_path / "l.png", labels, Grid.plain(2))
    with Image.open(tmp_path / "l.png") as picture:
        picture.verify()
    with Image.open(tmp_path / "l.png") as picture:
        assert picture.mode == {1: "L", 2: "I;16"}[labels.itemsize]
        np.testing.assert_array_equal(np.asarray(picture), labels)


@pytest.mark.parametrize(("name", "shape"), [("l.jpg", (4, 4)), ("l.png", (3, 4, 4))])
def test_labels_are_only_written_where_they_stay_exact(tmp_path, name, shape):
    with pytest.raises(DataError, match=r"cannot be kept exactly.*Do this: write \.png for pictures"):
        RASTER.write(tmp_path / name, np.zeros(shape, np.uint8), Grid.plain(len(shape)))


def test_a_colour_mask_is_refused(tmp_path):
    Image.fromarray(noise(4, 4, 3)).save(tmp_path / "m.png")
    with pytest.raises(DataError, match=r"m\.png: an RGB mask: expected one channel.*grey or palette PNG"):
        RASTER.read_label(tmp_path / "m.png")


@pytest.mark.parametrize("channels", [3, 4])
def test_a_mask_of_equal_channels_is_a_grey_one(tmp_path, channels):
    values = np.eye(8, dtype=np.uint8) * 255
    stored = np.repeat(values[..., None], channels, axis=-1)
    if channels == 4:
        stored[..., 3] = 255
    Image.fromarray(stored).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(RASTER.read_label(tmp_path / "grey.png")[0], values)
    stored[0, 0, -1] = 9  # one channel differs, or one pixel is not opaque
    Image.fromarray(stored).save(tmp_path / "grey.png")
    with pytest.raises(DataError, match="an RGB mask"):
        RASTER.read_label(tmp_path / "grey.png")


@pytest.mark.parametrize("swapped", [False, True])
def test_a_gif_mask_is_its_greys_however_its_palette_is_ordered(tmp_path, swapped):
    values = np.array([[0, 255, 0], [255, 255, 0]], np.uint8)
    image = Image.frombytes("P", (3, 2), ((values > 0) ^ swapped).astype(np.uint8).tobytes())
    image.putpalette([255, 255, 255, 0, 0, 0] if swapped else [0, 0, 0, 255, 255, 255])
    image.save(tmp_path / "m.gif", optimize=False)
    np.testing.assert_array_equal(RASTER.read_label(tmp_path / "m.gif")[0], values)
    assert RASTER.describe(tmp_path / "m.gif").shape == (2, 3)


def test_a_gif_of_colours_or_of_several_pictures_is_no_mask(tmp_path):
    palette(np.array([[0, 1, 2]], np.uint8)).save(tmp_path / "m.gif")
    assert RASTER.read(tmp_path / "m.gif")[0][:, 0, 1].tolist() == [200, 100, 50]
    with pytest.raises(DataError, match="an RGB mask"):
        RASTER.read_label(tmp_path / "m.gif")
    frames = [Image.fromarray(noise(4, 4)), Image.fromarray(noise(4, 4) // 2)]
    frames[0].save(tmp_path / "m.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="a GIF of several pictures"):
        RASTER.read(tmp_path / "m.gif")


def test_a_jpeg_mask_is_refused_whatever_its_name_says(tmp_path):
    Image.fromarray(noise(4, 4)).save(tmp_path / "m.png", format="JPEG")
    with pytest.raises(DataError, match="a JPEG mask is refused: its compression invents label values"):
        RASTER.read_label(tmp_path / "m.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".gif"])
def test_a_file_cut_anywhere_is_refused(tmp_path, suffix):
    whole = tmp_path / f"a{suffix}"
    Image.fromarray(noise(9, 11)).save(whole)
    data = whole.read_bytes()
    for length in range(1, len(data), max(1, len(data) // 60)):
        whole.write_bytes(data[:length])
        with pytest.raises(DataError, match=r"truncated|no PNG, JPEG, BMP or GIF") as wrong:
            RASTER.read(whole)
        assert wrong.value.where == str(whole)
        assert wrong.value.cure


def test_other_formats_are_not_opened(tmp_path):
    Image.fromarray(noise(4, 4)).save(tmp_path / "a.png", format="PPM")
    with pytest.raises(DataError, match="these bytes are no PNG, JPEG, BMP or GIF picture"):
        RASTER.read(tmp_path / "a.png")


def test_a_claim_that_the_file_cannot_hold_is_refused_before_decoding(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png(60000, 60000, 8, 2, zlib.compress(b"\0" * 1000)))
    with pytest.raises(DataError, match="its header claims 10,800,000,000 bytes, it can hold at most"):
        RASTER.describe(tmp_path / "bomb.png")


def test_an_honest_bomb_meets_our_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "LIMIT_BYTES", 1000)
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="would unpack to 1,600 bytes, the limit is 1,000"):
        RASTER.read(tmp_path / "a.png")


def test_sixteen_bit_colour_is_refused_rather_than_halved(tmp_path):
    rows = b"".join(b"\0" + bytes(range(12)) for _ in range(2))
    (tmp_path / "a.png").write_bytes(png(2, 2, 16, 2, zlib.compress(rows)))
    with pytest.raises(DataError, match=r"16-bit colour PNG would lose half of its bits.*TIFF"):
        RASTER.read(tmp_path / "a.png")


def test_runs_cannot_fill_any_size(tmp_path):
    """A BMP of run lengths may leave pixels out, so that a few bytes could claim gigabytes."""
    colours = bytes(1024)
    head = struct.pack("<IiiHHIIiiII", 40, 50_000, 50_000, 1, 8, 1, 4, 0, 0, 256, 0)
    data = (
        b"BM" + struct.pack("<IHHI", 14 + 40 + 1024 + 4, 0, 0, 14 + 40 + 1024) + head + colours + b"\4\1\0\1"
    )
    (tmp_path / "a.bmp").write_bytes(data)
    with pytest.raises(DataError, match=r"claims 2,500,000,000 bytes, it can hold at most 268,435,456"):
        RASTER.describe(tmp_path / "a.bmp")
