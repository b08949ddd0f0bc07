"""Whole-slide images, made: an Aperio SVS and a Hamamatsu NDPI byte by byte, and a stand-in for OpenSlide."""

from __future__ import annotations

import io
import itertools
import re
import struct
import types
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image


def jpeg(pixels: np.ndarray, **words: object) -> bytes:
    """A picture ``(y, x)`` or ``(y, x, 3)`` as JPEG."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="JPEG", quality=90, **words)
    return out.getvalue()


def decoded(stream: bytes) -> np.ndarray:
    """What Pillow makes of it."""
    return np.asarray(Image.open(io.BytesIO(stream)))


def write_svs(path: Path, pixels: np.ndarray, *, mpp: str = "0.499", tile: int = 32) -> np.ndarray:
    """Write a slide as Aperio does: tiles of JPEG with shared tables, a thumbnail, a copy, label and macro.

    Returns:
        The pixels after JPEG, put together from what Pillow decodes.
    """
    colours = pixels.ndim == 3
    words = {"subsampling": 2} if colours else {}
    kind = {"photometric": "ycbcr", "subsampling": (2, 2)} if colours else {"photometric": "minisblack"}

    def tiled(writer: tifffile.TiffWriter, picture: np.ndarray, **more: object) -> np.ndarray:
        height, width = picture.shape[:2]
        room = [(0, -height % tile), (0, -width % tile), (0, 0)][: picture.ndim]
        full = np.pad(picture, room, mode="edge")
        places = list(itertools.product(range(0, height, tile), range(0, width, tile)))
        parts = [np.ascontiguousarray(full[y : y + tile, x : x + tile]) for y, x in places]
        streams = (jpeg(part, streamtype=2, **words) for part in parts)
        tables = jpeg(parts[0], streamtype=1, **words)
        shape, layout = picture.shape, {"tile": (tile, tile), "compression": "jpeg", **kind}
        writer.write(streams, shape=shape, dtype=np.uint8, jpegtables=tables, metadata=None, **layout, **more)
        seen = np.empty_like(full)
        for (y, x), part in zip(places, parts, strict=True):
            seen[y : y + tile, x : x + tile] = decoded(jpeg(part, **words))
        return seen[:height, :width]

    height, width = pixels.shape[:2]
    text = f"Aperio Image Library v11.2.1\r\n{width}x{height} ({tile}x{tile}) JPEG/RGB Q=90"
    text += f"|AppMag = 20|MPP = {mpp}|Left = 25.691574"
    small = {"photometric": "rgb" if colours else "minisblack", "metadata": None}
    with tifffile.TiffWriter(path) as writer:
        seen = tiled(writer, pixels, description=text)
        writer.write(pixels[::8, ::8], **small)
        tiled(writer, np.ascontiguousarray(pixels[::2, ::2]), description=text)
        writer.write(pixels[:20, :30], subfiletype=1, description="Aperio\r\nlabel 30x20", **small)
        writer.write(pixels[:24, :40], subfiletype=9, description="Aperio\r\nmacro 40x24", **small)
    return seen


def write_ndpi(path: Path, pixels: np.ndarray, *, per_mm: int = 4000, start: int = 64) -> np.ndarray:
    """Write a slide as Hamamatsu does: one JPEG with restart markers, whose offsets have 64 bits.

    Args:
        path: The file.
        pixels: ``(y, x, 3)``, a multiple of 32 wide.
        per_mm: Pixels per mm.
        start: First byte of the pixels; beyond 4 GiB the file has a hole and takes no room.

    Returns:
        The pixels after JPEG, as Pillow decodes them.
    """
    stream = jpeg(pixels, subsampling=0, restart_marker_blocks=4)  # parts of 8 × 32 pixels
    scan = stream.index(b"\xff\xda")
    first = scan + 2 + struct.unpack(">H", stream[scan + 2 : scan + 4])[0]
    marks = [first, *(first + hit.end() for hit in re.finditer(rb"\xff[\xd0-\xd7]", stream[first:]))]
    glass = jpeg(pixels[:16, :24], subsampling=0)
    height, width = pixels.shape[:2]
    at = start + len(stream)
    pages = []
    for data, where, size, lens in ((stream, start, (width, height), 20.0), (glass, at, (24, 16), -1.0)):
        tags = [
            (254, 4, 1, struct.pack("<I", 0)), (256, 4, 1, struct.pack("<I", size[0])),
            (257, 4, 1, struct.pack("<I", size[1])), (258, 3, 3, struct.pack("<3H", 8, 8, 8)),
            (259, 3, 1, struct.pack("<H", 7)), (262, 3, 1, struct.pack("<H", 6)),
            (271, 2, 10, b"Hamamatsu\0"),
            (273, 4, 1, struct.pack("<Q", where)), (277, 3, 1, struct.pack("<H", 3)),
            (278, 4, 1, struct.pack("<I", size[1])), (279, 4, 1, struct.pack("<I", len(data))),
            (282, 5, 1, struct.pack("<2I", per_mm * 10, 1)), (283, 5, 1, struct.pack("<2I", per_mm * 10, 1)),
            (296, 3, 1, struct.pack("<H", 3)), (530, 3, 2, struct.pack("<2H", 1, 1)),
            (65420, 4, 1, struct.pack("<I", 1)), (65421, 11, 1, struct.pack("<f", lens)),
        ]  # fmt: skip
        if lens > 0:
            tags.append((65426, 4, len(marks), struct.pack(f"<{len(marks)}I", *marks)))
        pages.append(tags)
    with path.open("wb") as file:
        file.write(b"II*\0")
        file.seek(start)
        file.write(stream + glass)
        link = 4
        for tags in pages:
            place = file.seek(0, io.SEEK_END)
            file.write(_wide_directory(tags, place))
            file.seek(link)
            file.write(struct.pack("<Q", place))
            link = place + 2 + 12 * len(tags)
    return decoded(stream)


def _wide_directory(tags: list[tuple[int, int, int, bytes]], place: int) -> bytes:
    """Entries of 12 bytes, 8 bytes of the next directory, upper halves of the values, and what is long."""
    entries, upper, long = b"", b"", b""
    behind = place + 2 + 16 * len(tags) + 8
    for code, kind, count, value in tags:
        data = value.ljust(8, b"\0")
        if len(value) > 4 and not (kind == 4 and count == 1):
            data = struct.pack("<Q", behind + len(long))
            long += value + b"\0" * (len(value) % 2)
        entries += struct.pack("<HHI", code, kind, count) + data[:4]
        upper += data[4:8]
    return struct.pack("<H", len(tags)) + entries + bytes(8) + upper + long


def stand_in() -> types.ModuleType:
    """A module with the part of openslide-python's interface that is used, for files that hold an array.

    A slide is a ``.npz`` under any name: ``pixels`` ``(y, x, 4)``, ``facts`` of ``name=value``, and
    ``whole``, the first row that cannot be read. As OpenSlide does, it has failed for good once it failed.
    """
    module = types.ModuleType("openslide")

    class OpenSlideError(Exception):
        pass

    class OpenSlideUnsupportedFormatError(OpenSlideError):
        pass

    class OpenSlide:
        opened = 0

        def __init__(self, filename: str) -> None:
            if Path(filename).read_bytes()[:2] != b"PK":
                raise OpenSlideUnsupportedFormatError("Unsupported or missing image file")
            with np.load(filename) as held:
                self._pixels, self._whole = held["pixels"], int(held["whole"])
                self.properties = dict(fact.split("=", 1) for fact in held["facts"].tolist())
            self.asked: list[tuple[int, int, int, int]] = []
            self._failed = False
            OpenSlide.opened += 1
            module.last = self

        @property
        def dimensions(self) -> tuple[int, int]:
            return self._pixels.shape[1], self._pixels.shape[0]

        def read_region(self, location: tuple[int, int], level: int, size: tuple[int, int]) -> Image.Image:
            (x, y), (width, height) = location, size
            self._failed |= level != 0 or y + height > self._whole
            if self._failed:
                raise OpenSlideError("cannot decode tile")
            self.asked.append((x, y, width, height))
            part = np.zeros((height, width, 4), np.uint8)
            held = self._pixels[y : y + height, x : x + width]
            part[: held.shape[0], : held.shape[1]] = held
            return Image.fromarray(part)

        def close(self) -> None:
            OpenSlide.opened -= 1

    module.OpenSlide, module.OpenSlideError = OpenSlide, OpenSlideError
    module.OpenSlideUnsupportedFormatError = OpenSlideUnsupportedFormatError
    return module


def write_stand_in(path: Path, pixels: np.ndarray, *, whole: int | None = None, **facts: object) -> None:
    """Write what the stand-in opens; ``facts`` are properties, ``mpp_x`` for ``openslide.mpp-x``."""
    named = [f"openslide.{name.replace('_', '-')}={value}" for name, value in facts.items()]
    with path.open("wb") as file:
        np.savez(
            file, pixels=pixels, whole=len(pixels) if whole is None else whole, facts=np.array(named, str)
        )
