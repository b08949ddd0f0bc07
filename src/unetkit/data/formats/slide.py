"""Whole-slide images through OpenSlide: their full resolution, a part at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from unetkit.data.formats import Box, Header
from unetkit.data.formats.checks import TRUNCATED, file_bytes, refuse_claim
from unetkit.data.formats.rows import KeptRows
from unetkit.data.formats.spacing import UNITS_MM, grid_of
from unetkit.errors import DataError, MissingPackageError
from unetkit.records.case import Grid

_COLUMNS = 4096  # of a part that OpenSlide is asked for: its buffer has four bytes for each pixel
_ROWS = 256  # of a tile, where the slide does not say
_MOST_ROWS = 4096
_WHITE = (255, 255, 255)
_LONGEST_INDEX = 2**20
_BESIDE = "copy it again from its source with the files it belongs to, the folder or the pictures beside it"


class SlideFormat:
    """Slides of MIRAX, Leica, Hamamatsu (VMS, VMU) and Ventana; those of Aperio and NDPI are TIFFs.

    Reference:
        OpenSlide, https://openslide.org/api/python/.
    """

    def describe(self, path: Path) -> Header:
        """Size and spacing as the slide states them; see ``Format``."""
        with _opened(path) as (_, header):
            return header

    def read(self, path: Path) -> tuple[np.ndarray, Grid]:
        """Pixels ``(3, y, x)`` of the full resolution, which may be beyond our limit."""
        with _opened(path) as (slide, header):
            refuse_claim(path, 3 * math.prod(header.shape))
            whole = ((0, header.shape[0]), (0, header.shape[1]))
            return SlideWindows(slide, header, path).read(whole), header.grid

    def read_label(self, path: Path) -> tuple[np.ndarray, Grid]:
        """Refused: a slide is a photograph."""
        raise _photograph(path)

    def write(self, path: Path, labels: np.ndarray, grid: Grid) -> None:
        """Refused: these are files of scanners."""
        raise _photograph(path)

    @contextmanager
    def windows(self, path: Path) -> Iterator[SlideWindows]:
        """The slide, to be read in parts; see ``WindowedFormat``."""
        with _opened(path) as (slide, header):
            yield SlideWindows(slide, header, path)

    def write_rows(self, path: Path, *_: object, **__: object) -> None:
        """Refused as ``write`` is."""
        raise _photograph(path)

    def parts(self, path: Path) -> tuple[Path, ...]:
        """The file that is named, and those beside it which hold its pixels."""
        if path.suffix.lower() == ".mrxs":
            beside = sorted(each for each in path.with_suffix("").rglob("*") if each.is_file())
        elif path.suffix.lower() in (".vms", ".vmu"):
            beside = sorted(_named_beside(path))
        else:
            beside = []
        return (path, *beside)


class SlideWindows:
    """An open slide of which parts are read; see ``Windows``.

    Args:
        slide: OpenSlide's.
        header: What ``describe`` says of it.
        path: The file, for errors.
    """

    channels = 3

    def __init__(self, slide: Any, header: Header, path: Path) -> None:  # noqa: ANN401 - openslide has one home
        self.header = header
        self._slide, self._path = slide, path
        self._background = _background(slide.properties)
        step = _tile_rows(slide.properties)
        self._rows = KeptRows(self._decoded, step=step, length=header.shape[0])

    def read(self, region: Box) -> np.ndarray:
        """Colours ``(3, *region)``; what is see-through shows the slide's background."""
        return self._rows.read(region)

    def _decoded(self, region: Box) -> np.ndarray:
        (top, bottom), (left, right) = region
        pixels = np.empty((3, bottom - top, right - left), np.uint8)
        for start in range(left, right, _COLUMNS):
            stop = min(start + _COLUMNS, right)
            with _named(self._path):
                part = self._slide.read_region((start, top), 0, (stop - start, bottom - top))
            shown = Image.new("RGB", part.size, self._background)
            shown.paste(part, None, part)
            pixels[:, :, start - left : stop - left] = np.moveaxis(np.asarray(shown), -1, 0)
        return pixels


def _header(slide: Any) -> Header:  # noqa: ANN401 - openslide has one home
    width, height = slide.dimensions
    across, down = (_number(slide.properties.get(f"openslide.mpp-{axis}")) for axis in "xy")
    micron = UNITS_MM["µm"]
    spacing = {"X": across * micron, "Y": down * micron} if across > 0 and down > 0 else {}
    return Header(3, (height, width), "uint8", grid_of(spacing, 2), lossy=True)


def _photograph(path: Path) -> DataError:
    return DataError(
        "a slide is a photograph and holds no class numbers",
        cure="keep masks as .tif of one grey channel whose values are the class numbers",
        where=path,
    )


def _background(properties: Any) -> tuple[int, ...]:  # noqa: ANN401 - openslide has one home
    """The colour behind what is see-through, white where the slide states none."""
    try:
        red, green, blue = bytes.fromhex(properties.get("openslide.background-color", ""))
    except ValueError:
        return _WHITE
    return red, green, blue


def _tile_rows(properties: Any) -> int:  # noqa: ANN401 - openslide has one home
    stated = _number(properties.get("openslide.level[0].tile-height"))
    return int(stated) if 1 <= stated <= _MOST_ROWS else _ROWS


def _number(text: str | None) -> float:
    try:
        value = float(text or 0)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0


def _named_beside(path: Path) -> set[Path]:
    """The files beside a Hamamatsu index that it names."""
    with path.open("rb") as file:
        lines = file.read(_LONGEST_INDEX).decode("utf-8", "replace").splitlines()
    names = (line.partition("=")[2].strip() for line in lines if "=" in line)
    found = (path.with_name(name) for name in names if name and Path(name).name == name and name != "..")
    return {each for each in found if each.is_file()}


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Header]]:
    """A slide and what it states."""
    file_bytes(path)
    with _named(path):
        slide = _package().OpenSlide(str(path))
    try:
        with _named(path):
            header = _header(slide)
        yield slide, header
    finally:
        slide.close()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Every failure of the library becomes one ``DataError``."""
    openslide = _package()
    try:
        yield
    except openslide.OpenSlideUnsupportedFormatError as wrong:
        raise DataError("OpenSlide finds no slide in this file", cure=_BESIDE, where=path) from wrong
    except openslide.OpenSlideError as wrong:
        raise DataError(
            f"this slide is truncated or damaged ({wrong})", cure=TRUNCATED, where=path
        ) from wrong


def _package() -> ModuleType:
    try:
        import openslide  # pyright: ignore[reportMissingImports]
    except (ModuleNotFoundError, OSError) as missing:  # the package, or the library behind it
        raise MissingPackageError(
            "this kind of slide needs the package 'openslide' and its library, which are not installed",
            cure="pip install 'unetkit[slides]'",
        ) from missing
    return openslide
