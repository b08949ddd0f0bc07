"""NIfTI: nibabel reads the header, we read the pixels, so that no claim is believed before it is checked."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import IO, cast

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from unetkit.data.formats import Box, Header
from unetkit.data.formats.checks import (
    DEFLATE_RATIO,
    TRUNCATED,
    file_bytes,
    one_channel,
    refuse_claim,
    smallest_unsigned,
    whole_numbers,
)
from unetkit.data.formats.rows import counted
from unetkit.data.formats.stored import StoredArray
from unetkit.errors import DataError
from unetkit.records.case import Grid
from unetkit.records.files import atomic

_TOLERANCE_MM = 1e-3
_BROKEN = (OSError, EOFError, zlib.error, HeaderDataError, ValueError, LookupError)
_LARGEST_NIFTI1 = 32767
_NO_LIMIT = 2**62
_SIZES = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
_LENGTHS_MM = {1: 1e3, 3: 1e-3}
"""Codes of ``xyzt_units`` for metres and micrometres; 2 is mm, and where 0 states none mm are meant."""

NiftiHeader = nib.Nifti1Header  # Nifti2Header is a subclass


class NiftiFormat:
    """NIfTI-1 and NIfTI-2, plain or gzipped; array axes are ``(z, y, x)``, a fourth axis holds channels."""

    def describe(self, path: Path) -> Header:
        """Size, channels, type and geometry from the header alone; see ``Format``."""
        with _opened(path) as (_, header):
            return _described(path, header)

    def read(self, path: Path) -> tuple[np.ndarray, Grid]:
        """Pixels ``(C, z, y, x)`` with the header's slope and intercept applied."""
        with _opened(path) as (file, header):
            grid, _ = _geometry(path, header)
            return _pixels(path, file, header), grid

    def read_label(self, path: Path) -> tuple[np.ndarray, Grid]:
        """Values ``(z, y, x)``; whole numbers stored as floats are cast, others refused."""
        pixels, grid = self.read(path)
        return whole_numbers(path, one_channel(path, pixels)), grid

    def write(self, path: Path, labels: np.ndarray, grid: Grid) -> None:
        """Write labels ``(*S)`` with slope 1 and the smallest unsigned type; see ``Format``.

        Where the place was stated, qform and sform are equal; where it was not, none is: a place that nobody
        knows must not look like a scanner's.
        """
        _store(path, _image(smallest_unsigned(labels, path).T, grid), level=6)

    def write_image(self, path: Path, pixels: np.ndarray, grid: Grid) -> None:
        """Write a volume's pixels in their own type, exactly; several channels become a fourth axis.

        Args:
            path: The file.
            pixels: ``(C, z, y, x)``.
            grid: Where they lie.
        """
        # noise hardly packs: a higher level takes many times as long for a few per cent
        _store(path, _image(pixels.T if len(pixels) > 1 else pixels[0].T, grid), level=1)

    @contextmanager
    def windows(self, path: Path) -> Iterator[NiftiWindows | None]:
        """The file, to be read in parts; None where it is gzipped; see ``Windows``."""
        with _opened(path, limit=_NO_LIMIT) as (file, header):
            packed = isinstance(file, gzip.GzipFile)
            opened = None if packed else NiftiWindows(path, header)
        yield opened

    def write_rows(
        self,
        path: Path,
        bands: Iterable[np.ndarray],
        *,
        shape: tuple[int, ...],
        dtype: np.dtype,
        grid: Grid,
        levels: int = 0,
    ) -> None:
        """Write labels while their slices come; see ``WindowedFormat``. It unpacks to ``write``'s bytes.

        No levels have a place here.
        """
        empty = np.broadcast_to(np.zeros((), dtype), shape[::-1])
        start = io.BytesIO()
        cast("NiftiHeader", _image(empty, grid).header).write_to(start)
        with atomic(path) as plain:
            packed = (
                gzip.GzipFile(fileobj=plain, mode="wb", compresslevel=6, mtime=0)
                if _packs(path)
                else nullcontext(plain)
            )
            with packed as file:
                file.write(start.getvalue())
                for band in counted(bands, shape):
                    file.write(np.ascontiguousarray(band, dtype).data)


class NiftiWindows:
    """An uncompressed NIfTI of which parts are read; see ``Windows``.

    Args:
        path: The file.
        header: Its header, checked.
    """

    def __init__(self, path: Path, header: NiftiHeader) -> None:
        self.header = _described(path, header)
        self.channels = self.header.channels
        self._scale = _scale(header)
        shape = (self.channels, *self.header.shape)
        kind = _dtype(header)
        self._stored = StoredArray(path, offset=_offset(header), shape=shape, dtype=kind, rows_axis=1)

    def read(self, region: Box) -> np.ndarray:
        """Pixels ``(C, *region)`` with the header's slope and intercept applied."""
        stored = self._stored.read(((0, self.channels), *region))
        slope, shift = self._scale
        if (slope, shift) == (1.0, 0.0):
            return stored
        return _scaled(stored, slope, shift)


@contextmanager
def _opened(path: Path, *, limit: int | None = None) -> Iterator[tuple[IO[bytes], NiftiHeader]]:
    """The file behind its header, the header's claims checked."""
    length = file_bytes(path)
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            file = cast("IO[bytes]", gzip.GzipFile(fileobj=raw) if packed else raw)
            header = _header(path, file)
            held = length * DEFLATE_RATIO if packed else length
            refuse_claim(path, _offset(header) + _data_bytes(header), held=held, limit=limit)
            yield file, header
    except _BROKEN as wrong:
        raise DataError(
            f"this NIfTI is truncated or damaged ({wrong})", cure=TRUNCATED, where=path
        ) from wrong


def _header(path: Path, file: IO[bytes]) -> NiftiHeader:
    start = file.read(4)
    size = next((n for n in _SIZES for order in ("little", "big") if start == n.to_bytes(4, order)), None)
    if size is None:
        raise DataError("these bytes are no NIfTI file", cure="export it as .nii.gz again", where=path)
    block = start + file.read(size - 4)
    if len(block) < size:
        raise DataError("this NIfTI is truncated: its header is not complete", cure=TRUNCATED, where=path)
    header = _SIZES[size](block, check=False)  # its checks repair and log; ours refuse
    rank = int(header["dim"][0])
    if not 1 <= rank <= 7 or any(int(n) < 1 for n in header["dim"][1 : rank + 1]):
        raise DataError(f"the header claims the sizes {header['dim'].tolist()}", cure=TRUNCATED, where=path)
    if header["magic"].item()[:2] != b"n+":
        raise DataError(
            "this is half of a header/image pair (.hdr/.img)", cure="convert it to one .nii.gz", where=path
        )
    if _dtype(header).kind not in "iuf":
        raise DataError(
            f"voxels of type {_dtype(header)} cannot be used",
            cure="save real numbers; colours as a fourth axis",
            where=path,
        )
    return header


def _dtype(header: NiftiHeader) -> np.dtype:
    return header.get_data_dtype()


def _dims(header: NiftiHeader) -> tuple[int, ...]:
    return tuple(int(n) for n in header["dim"][1 : int(header["dim"][0]) + 1])


def _data_bytes(header: NiftiHeader) -> int:
    count = 1
    for size in _dims(header):
        count *= size
    return count * _dtype(header).itemsize


def _offset(header: NiftiHeader) -> int:
    return max(int(header["vox_offset"]), int(header["sizeof_hdr"]) + 4)


def _shapes(path: Path, header: NiftiHeader) -> tuple[int, tuple[int, ...]]:
    """Channels, and the shape in array order."""
    dims = _dims(header)
    space, rest = dims[:3], [size for size in dims[3:] if size != 1]
    if len(space) < 2 or len(rest) > 1:
        raise DataError(
            f"expected 2 or 3 axes and one for channels, got {dims}",
            cure="save one volume per file",
            where=path,
        )
    return (rest[0] if rest else 1), space[::-1]


def _scale(header: NiftiHeader) -> tuple[float, float]:
    slope, shift = float(header["scl_slope"]), float(header["scl_inter"])
    if not np.isfinite(slope) or slope == 0:
        return 1.0, 0.0
    return slope, shift if np.isfinite(shift) else 0.0


def _pixels(path: Path, file: IO[bytes], header: NiftiHeader) -> np.ndarray:
    channels, shape = _shapes(path, header)
    skip = _offset(header) - int(header["sizeof_hdr"])
    if len(file.read(skip)) < skip:
        raise DataError("this NIfTI is truncated before its voxels", cure=TRUNCATED, where=path)
    data = np.empty(_data_bytes(header), np.uint8)
    held = _fill(file, data)
    if held < data.size:
        raise DataError(
            f"this NIfTI is truncated: expected {data.size:,} bytes of voxels, got {held:,}",
            cure=TRUNCATED,
            where=path,
        )
    while file.read(2**20):  # to the end, where gzip compares its checksum
        pass
    # x runs fastest in the file: read in reverse, the axes are (channel, z, y, x)
    stored = data.view(_dtype(header)).reshape(channels, *shape)
    slope, shift = _scale(header)
    if (slope, shift) == (1.0, 0.0):
        return stored.astype(_dtype(header).newbyteorder("="), copy=False)
    return _scaled(stored, slope, shift)


def _scaled(stored: np.ndarray, slope: float, shift: float) -> np.ndarray:
    """Stored numbers ``(C, z, y, x)`` with slope and intercept applied, float32."""
    scaled = np.empty(stored.shape, np.float32)
    for channel, result in zip(stored, scaled, strict=True):
        # slice by slice: float64 of the whole would be many times its size
        for number, part in enumerate(channel):
            result[number] = part * np.float64(slope) + shift
    return scaled


def _described(path: Path, header: NiftiHeader) -> Header:
    grid, notes = _geometry(path, header)
    channels, shape = _shapes(path, header)
    scaled = _scale(header) != (1.0, 0.0)
    return Header(channels, shape, "float32" if scaled else _dtype(header).name, grid, notes=notes)


def _store(path: Path, image: nib.Nifti1Image, *, level: int) -> None:
    data = image.to_bytes()
    with atomic(path) as file:
        file.write(gzip.compress(data, compresslevel=level, mtime=0) if _packs(path) else data)


def _image(values: np.ndarray, grid: Grid) -> nib.Nifti1Image:
    """Numbers ``(x, y, z)``, or ``(x, y, z, C)``, with the header they are written with."""
    kind = nib.Nifti1Image if max(values.shape, default=0) <= _LARGEST_NIFTI1 else nib.Nifti2Image
    image = kind(values, _affine(grid) if grid.placed else None)
    header = cast("NiftiHeader", image.header)
    header.set_data_dtype(values.dtype)
    header.set_slope_inter(1, 0)
    header.set_xyzt_units("mm" if grid.calibrated else "unknown")
    if grid.placed:
        _set_place(image, _affine(grid))
    else:
        header.set_zooms((*grid.spacing_mm[::-1], *[1.0] * (values.ndim - grid.rank)))
    return image


def _packs(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _fill(file: IO[bytes], data: np.ndarray) -> int:
    """Read into ``data`` piece by piece; returns how many bytes there were."""
    at = 0
    while at < data.size:
        piece = file.read(min(data.size - at, 2**22))
        if not piece:
            break
        data[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
        at += len(piece)
    return at


def _geometry(path: Path, header: NiftiHeader) -> tuple[Grid, tuple[str, ...]]:
    """The grid, and what had to be decided about it."""
    rank = min(len(_dims(header)), 3)
    steps = np.asarray(header["pixdim"][1 : rank + 1], dtype=np.float64)
    if not np.isfinite(steps).all() or bool((steps == 0).any()):
        raise DataError(
            f"the voxel size is {tuple(float(s) for s in steps)} mm",
            cure="write the true voxel size into the header (pixdim) and keep qform and sform equal",
            where=path,
        )
    sform, qform = (header.get_sform(coded=True)[0], header.get_qform(coded=True)[0])
    notes: list[str] = []
    length = _LENGTHS_MM.get(int(header["xyzt_units"]) & 7, 1.0)
    if sform is None and qform is None:
        affine = np.diag([*(np.abs(steps) * length), *([1.0] * (4 - rank))])
        notes.append("neither qform nor sform is set: axes were taken as they are stored, origin 0")
        stated = length != 1 or bool((np.abs(steps) != 1).any())
        return replace(_grid(affine, rank), calibrated=stated, placed=False), tuple(notes)
    affine = np.array(qform if sform is None else sform, dtype=np.float64)
    scale = np.linalg.norm(affine[:3, :3], axis=0).prod()  # of what is flat, in any unit
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) <= 1e-9 * scale:
        raise DataError("its affine is singular", cure="write a valid sform into the header", where=path)
    if sform is not None and qform is not None and not np.allclose(sform, qform, atol=_TOLERANCE_MM):
        notes.append("qform and sform disagree: the sform was followed")
    affine[:3] *= length  # of the world, its origin too
    if rank == 2 and np.abs(affine[2, :2]).max() > _TOLERANCE_MM * np.abs(affine[:3, :2]).max():
        notes.append("a picture across the x–y plane: its place in the body was not used")
        lengths = np.linalg.norm(affine[:3, :2], axis=0)[::-1]
        spacing = tuple(float(v) for v in lengths)
        return replace(Grid.plain(2), spacing_mm=spacing, calibrated=True), tuple(notes)
    grid = _grid(affine, rank)
    turns = np.asarray(grid.direction)
    if not np.allclose(turns @ turns.T, np.eye(rank), atol=_TOLERANCE_MM):
        notes.append("its axes are sheared (not at right angles): distances in mm are approximate")
    return grid, tuple(notes)


def _set_place(image: nib.Nifti1Image, affine: np.ndarray) -> None:
    """State where an image lies, in both ways that a header has."""
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    # a quaternion holds no shear: then the sform stands alone
    if not np.allclose(np.asarray(cast("NiftiHeader", image.header).get_qform()), affine, atol=_TOLERANCE_MM):
        image.set_qform(None, code=0)


def _grid(affine: np.ndarray, rank: int) -> Grid:
    columns = affine[:rank, :rank]
    lengths = np.linalg.norm(columns, axis=0)
    direction = (columns / np.where(lengths > 0, lengths, 1)).T[::-1]
    return Grid(
        spacing_mm=tuple(float(v) for v in lengths[::-1]),
        origin_mm=tuple(float(v) for v in affine[:rank, 3]),
        direction=tuple(tuple(float(v) for v in row) for row in direction),
    )


def _affine(grid: Grid) -> np.ndarray:
    affine = np.eye(4)
    rank = grid.rank
    steps = np.asarray(grid.direction) * np.asarray(grid.spacing_mm)[:, None]
    affine[:rank, :rank] = steps[::-1].T
    affine[:rank, 3] = grid.origin_mm
    return affine
