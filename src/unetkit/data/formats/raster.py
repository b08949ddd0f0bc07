"""PNG, JPEG, BMP and GIF through Pillow, opened by what the bytes are and not by what the name says."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import SEEK_END
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
from PIL import BmpImagePlugin, GifImagePlugin, Image, ImageFile, ImageOps, JpegImagePlugin, PngImagePlugin

from unetkit.data.formats import Header
from unetkit.data.formats.checks import (
    DEFLATE_RATIO,
    TRUNCATED,
    file_bytes,
    refuse_claim,
    smallest_unsigned,
)
from unetkit.errors import DataError
from unetkit.records.case import Grid
from unetkit.records.files import atomic

# Exactly these four decoders can run; Pillow's forty others are forty doors. The classes are called directly
# because Image.open adds a limit of its own that honest large images exceed: ours is checked from the header.
_DECODERS: dict[bytes, type[ImageFile.ImageFile]] = {
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
    b"GIF8": GifImagePlugin.GifImageFile,
}
_CHANNELS = {
    "1": 1,
    "L": 1,
    "I": 1,
    "I;16": 1,
    "I;16B": 1,
    "F": 1,
    "LA": 2,
    "P": 3,
    "RGB": 3,
    "CMYK": 3,
    "RGBA": 4,
}
_WIDE = {"I": 4, "F": 4, "I;16": 2, "I;16B": 2}
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error)
_RUN_LENGTHS = (1, 2)
_RUN_RATIO, _SMALL_RUNS = 255, 2**28  # two bytes for up to 255 pixels; what is left out takes none
_JPEG_RATIO = 2048  # at least one bit for the 64 pixels of a block, one colour block for four grey ones
_GIF_RATIO = 4096  # a code of 12 bits stands for less than as many pixels
_TAIL = 4096
_ORIENTATION = 0x0112
_ROWS = 512
_LEVELS = {2: 85, 4: 17}


class RasterFormat:
    """Pictures."""

    def describe(self, path: Path) -> Header:
        """Size, channels and type from the header alone; see ``Format``."""
        with _opened(path) as image:
            height, width = image.height, image.width
            # only the header was read: a PNG with its EXIF behind the pixels is met when it is read
            turned = "exif" in image.info and image.getexif().get(_ORIENTATION, 1) >= 5
            kind = {1: "uint8", 2: "uint16"}.get(_WIDE.get(image.mode, 1), "int32")
            notes = ("the EXIF rotation was applied",) if turned else ()
            if image.mode == "P" and image.format != "GIF":
                notes += ("it has a palette: an image takes its colours, a mask its numbers",)
            return Header(
                channels=_CHANNELS.get(image.mode, 3),
                shape=(width, height) if turned else (height, width),
                dtype=kind,
                grid=Grid.plain(2),
                lossy=image.format == "JPEG",
                notes=notes,
            )

    def read(self, path: Path) -> tuple[np.ndarray, Grid]:
        """Pixels ``(C, y, x)``, EXIF rotation applied, colours looked up, an opaque alpha left out."""
        with _opened(path) as image:
            upright = _loaded(image, path)
            if upright.mode in ("P", "PA"):
                upright = upright.convert("RGBA" if "transparency" in upright.info else "RGB")
            elif upright.mode == "CMYK":
                upright = upright.convert("RGB")
            elif upright.mode == "1":
                upright = upright.convert("L")
            array = np.asarray(upright)
        pixels = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
        if pixels.shape[0] in (2, 4) and bool((pixels[-1] == np.iinfo(pixels.dtype).max).all()):
            pixels = pixels[:-1]
        return np.ascontiguousarray(pixels), Grid.plain(2)

    def read_label(self, path: Path) -> tuple[np.ndarray, Grid]:
        """Values ``(y, x)`` as stored: palette indices, and 0…15 for a 4-bit picture; the greys of a GIF."""
        with _opened(path) as image:
            if image.format == "JPEG":
                raise DataError(
                    "a JPEG mask is refused: its compression invents label values",
                    cure="export it as PNG from where it was drawn (saving it as PNG is no cure); masks in "
                    "black and white that exist as JPEG only become PNG with: unet convert colours SRC OUT",
                    where=path,
                )
            depth = _png_depth(path)[0] if image.format == "PNG" else 8
            upright = _loaded(image, path)
            if upright.mode == "LA" and upright.getextrema()[1] == (255, 255):
                upright = upright.getchannel(0)
            if upright.mode == "P" and image.format == "GIF":
                upright = upright.convert("RGB")  # whoever writes a GIF orders its palette as it likes
            values = np.array(upright)
            if upright.mode in ("RGB", "RGBA"):
                values = _grey_of(values, path)
            elif upright.mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
                raise _colours(upright.mode, path)
        if values.dtype == np.bool_:
            values = values.astype(np.uint8)
        return values // _LEVELS[depth] if upright.mode == "L" and depth in _LEVELS else values, Grid.plain(2)

    def write(self, path: Path, labels: np.ndarray, grid: Grid) -> None:
        """Write labels ``(y, x)`` as a grey 8- or 16-bit PNG or BMP."""
        values = smallest_unsigned(labels, path)
        kind = {".png": "PNG", ".bmp": "BMP"}.get(path.suffix.lower())
        if kind is None or values.ndim != 2 or (kind == "BMP" and values.dtype != np.uint8):
            raise DataError(
                f"a {values.ndim}-axis {values.dtype} label cannot be kept exactly in a '{path.suffix}' file",
                cure="write .png for pictures and .nii.gz for volumes",
                where=path,
            )
        with atomic(path) as file:
            if kind == "PNG":
                _write_png(file, values)
            else:
                Image.fromarray(values).save(file, format=kind)


def _write_png(file: IO[bytes], values: np.ndarray) -> None:
    """A grey picture ``(y, x)`` of labels, which are stretches of one number: run lengths, no filter.

    Pillow tries five filters on every row; without, 4096² pixels of defects are written in half the time, and
    the file grows from 212 to 285 kB.
    """

    def chunk(name: bytes, data: bytes) -> None:
        file.write(len(data).to_bytes(4) + name + data + zlib.crc32(name + data).to_bytes(4))

    height, width = values.shape
    file.write(b"\x89PNG\r\n\x1a\n")
    chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8 * values.itemsize, 0, 0, 0, 0))
    packed = zlib.compressobj(level=1, strategy=zlib.Z_RLE)
    for top in range(0, height, _ROWS):
        band = values[top : top + _ROWS].astype(values.dtype.newbyteorder(">"))
        rows = np.zeros((len(band), 1 + width * band.itemsize), np.uint8)  # in front of each row: no filter
        rows[:, 1:] = band.view(np.uint8)
        chunk(b"IDAT", packed.compress(rows.tobytes()))
    chunk(b"IDAT", packed.flush())
    chunk(b"IEND", b"")


def _grey_of(values: np.ndarray, path: Path) -> np.ndarray:
    """The numbers ``(y, x)`` of a mask that was saved with three equal channels."""
    red, green, blue, *alpha = np.moveaxis(values, -1, 0)
    if not (
        np.array_equal(red, green) and np.array_equal(red, blue) and all((a == 255).all() for a in alpha)
    ):
        raise _colours("RGBA" if alpha else "RGB", path)
    return np.ascontiguousarray(red)


def _colours(mode: str, path: Path) -> DataError:
    """The error for a mask of colours."""
    return DataError(
        f"an RGB mask: expected one channel of class numbers, got colours ({mode})",
        cure="save the mask as a grey or palette PNG whose pixel values are the class numbers, or let a "
        "whole data set of colours be numbered: unet convert colours SRC OUT",
        where=path,
    )


@contextmanager
def _opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    """The file, its header read and its claim checked; every decoder's failure becomes one ``DataError``."""
    length = file_bytes(path)
    try:
        with path.open("rb") as file:
            start = file.read(8)
            decoder = next((row for mark, row in _DECODERS.items() if start.startswith(mark)), None)
            if decoder is None:
                raise DataError(
                    "these bytes are no PNG, JPEG, BMP or GIF picture",
                    cure="export the picture as PNG",
                    where=path,
                )
            if decoder is GifImagePlugin.GifImageFile:
                _check_gif(path, file)
            file.seek(0)
            deflated = decoder is PngImagePlugin.PngImageFile
            if deflated:
                _check_png(path, length)
            if start.startswith(b"BM"):
                refuse_claim(path, struct.unpack("<2xI2x", start)[0], held=length)
            with decoder(file, str(path)) as image:
                _check_size(path, image, length)
                yield image
    except _BROKEN as wrong:
        raise DataError(
            f"this picture is truncated or damaged ({wrong})", cure=TRUNCATED, where=path
        ) from wrong


def _check_size(path: Path, image: ImageFile.ImageFile, length: int) -> None:
    """Compare the claimed size with what so many bytes can unpack to, and with our limit."""
    bits = _png_bits(path) if image.format == "PNG" else 8 * len(image.getbands())
    ratios = {"PNG": DEFLATE_RATIO, "JPEG": _JPEG_RATIO, "GIF": _GIF_RATIO}
    held = length * ratios[image.format] if image.format in ratios else None
    if image.format == "BMP" and image.info.get("compression", 0) not in _RUN_LENGTHS:
        bits, held = (1 if image.mode == "1" else 4 if image.mode == "P" else bits), length
    elif image.format == "BMP":
        held = max(length * _RUN_RATIO, _SMALL_RUNS)
    refuse_claim(path, (image.width * bits + 7) // 8 * image.height, held=held)
    refuse_claim(path, image.width * image.height * len(image.getbands()) * _WIDE.get(image.mode, 1))


def _loaded(image: ImageFile.ImageFile, path: Path) -> Image.Image:
    if image.format == "GIF" and getattr(image, "is_animated", False):
        raise DataError("a GIF of several pictures", cure="save the one that is meant as PNG", where=path)
    image.load()
    if image.format == "PNG" and _png_depth(path)[0] == 16 and image.mode not in _WIDE:
        raise DataError(
            "a 16-bit colour PNG would lose half of its bits in the reader",
            cure="save it as a 16-bit TIFF, or as an 8-bit PNG",
            where=path,
        )
    return ImageOps.exif_transpose(image)


def _png_depth(path: Path) -> tuple[int, int]:
    """Bits per channel and colour type, from the PNG header."""
    with path.open("rb") as file:
        head = file.read(26)
    return (head[24], head[25]) if len(head) == 26 else (8, 0)


def _png_bits(path: Path) -> int:
    depth, colour = _png_depth(path)
    return depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 1)


def _check_png(path: Path, length: int) -> None:
    """Walk the chunks to the end mark, so that a file cut behind its pixels is noticed as well."""
    with path.open("rb") as file:
        at = 8
        while at + 12 <= length:
            file.seek(at)
            size, name = struct.unpack(">I4s", file.read(8))
            at += 12 + size
            if name == b"IEND" and at <= length:
                return
    raise DataError("this PNG is truncated: its end is missing", cure=TRUNCATED, where=path)


def _check_gif(path: Path, file: BinaryIO) -> None:
    """Look for the end mark, behind which some programs fill up with zeros."""
    file.seek(-min(file.seek(0, SEEK_END), _TAIL), SEEK_END)
    if not file.read().rstrip(b"\0").endswith(b";"):
        raise DataError("this GIF is truncated: its end is missing", cure=TRUNCATED, where=path)
