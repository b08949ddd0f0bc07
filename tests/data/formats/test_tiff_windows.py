"""Parts of a TIFF equal the same parts of the whole; rows of labels become a whole TIFF or none."""

from itertools import pairwise

import numpy as np
import pytest
import tifffile

from unetkit.data.formats import WindowedFormat, format_of
from unetkit.errors import DataError, ResourceError
from unetkit.records.case import Grid

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 255, (67, 85), dtype=np.uint8)
COLOUR = RNG.integers(0, 255, (67, 85, 3), dtype=np.uint8)
VOLUME = RNG.integers(0, 60000, (9, 33, 41), dtype=np.uint16)
CLEAR = np.concatenate([COLOUR, np.full((67, 85, 1), 255, np.uint8)], axis=2)
HALF = np.where(np.arange(4) == 3, CLEAR // 2, CLEAR)
PLANES = np.ascontiguousarray(COLOUR.transpose(2, 0, 1))
PALETTE = RNG.integers(0, 65535, (3, 256), dtype=np.uint16)
TILED = {"tile": (16, 32), "compression": "zlib"}

KINDS = {
    "one run": (GREY, {}),
    "big-endian": (GREY.astype(np.uint16), {"byteorder": ">"}),
    "tiles": (GREY, {"tile": (32, 16)}),
    "predicted tiles": (GREY, {**TILED, "predictor": True}),
    "strips": (GREY, {"rowsperstrip": 7, "compression": "zlib"}),
    "one strip": (GREY, {"rowsperstrip": 67, "compression": "zlib"}),
    "bigtiff": (GREY, {**TILED, "bigtiff": True}),
    "float": (GREY.astype(np.float32), TILED),
    "bits": (GREY > 100, {"tile": (16, 16)}),
    "colours": (COLOUR, {**TILED, "photometric": "rgb"}),
    "colours in one run": (COLOUR, {"photometric": "rgb"}),
    "planes": (PLANES, {**TILED, "planarconfig": "separate", "photometric": "rgb"}),
    "planes in one run": (PLANES, {"planarconfig": "separate", "photometric": "rgb"}),
    "opaque": (CLEAR, {**TILED, "photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "half clear": (HALF, {**TILED, "photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "palette": (GREY, {**TILED, "photometric": "palette", "colormap": PALETTE}),
    "slices": (VOLUME, {**TILED, "metadata": {"axes": "ZYX"}}),
    "slices in one run": (VOLUME, {"metadata": {"axes": "ZYX"}}),
    "hyperstack": (np.stack([VOLUME] * 2, axis=1), {"imagej": True, "metadata": {"axes": "ZCYX"}}),
    "ome": (np.stack([VOLUME] * 2), {**TILED, "ome": True, "metadata": {"axes": "CZYX"}}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_any_part_is_that_of_the_whole(tmp_path, kind):
    array, words = KINDS[kind]
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array, **{"photometric": "minisblack", **words})
    rng, form = np.random.default_rng(1), format_of(path)
    whole, grid = form.read(path)
    assert isinstance(form, WindowedFormat)
    with form.windows(path) as opened:
        assert opened is not None
        assert (opened.header.shape, opened.header.grid) == (whole.shape[1:], grid)
        assert opened.channels == len(whole)
        for _ in range(5):
            region = tuple(tuple(sorted(rng.choice(n + 1, 2, replace=False))) for n in whole.shape[1:])
            found = opened.read(region)
            assert found.dtype == whole.dtype
            assert np.array_equal(found, whole[(slice(None), *(slice(a, b) for a, b in region))])


def test_rows_read_one_after_another_decode_every_tile_once(tmp_path, monkeypatch):
    from unetkit.data.formats.tiff_windows import Segments

    path, decoded = tmp_path / "a.tif", []
    tifffile.imwrite(path, GREY, photometric="minisblack", **TILED)
    once = Segments._whole
    monkeypatch.setattr(Segments, "_whole", lambda *words: decoded.append(words[2:]) or once(*words))
    form = format_of(path)
    assert isinstance(form, WindowedFormat)
    with form.windows(path) as opened:
        assert opened is not None
        rows = [opened.read(((top, min(top + 9, 67)), (0, 85))) for top in range(0, 67, 9)]
    assert np.array_equal(np.concatenate(rows, axis=1)[0], GREY)
    assert len(decoded) == len(set(decoded)) == 5 * 3


def test_one_large_compressed_piece_has_no_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("unetkit.data.formats.tiff.SEGMENT_LIMIT_BYTES", 67 * 85 - 1)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, compression="zlib", rowsperstrip=67, photometric="minisblack")
    with format_of(path).windows(path) as opened:
        assert opened is None


def test_a_damaged_tile_is_named_when_it_is_read(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, photometric="minisblack", **TILED)
    with tifffile.TiffFile(path) as file:
        at = file.pages[0].dataoffsets[9]
    data = bytearray(path.read_bytes())
    data[at : at + 40] = bytes(40)
    path.write_bytes(data)
    with format_of(path).windows(path) as opened:
        assert opened.read(((0, 16), (0, 85))).shape == (1, 16, 85)
        with pytest.raises(DataError, match=r"a\.tif: this TIFF is truncated or damaged"):
            opened.read(((48, 64), (0, 85)))


def test_axes_that_are_no_picture_are_refused_as_when_it_is_read_whole(tmp_path):
    path, text = tmp_path / "a.tif", r"a\.tif: this TIFF is .* neither a picture nor a volume"
    pixels = np.zeros((2, 3, 2, 6, 5), np.uint8)
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata={"axes": "TQCYX"})
    with pytest.raises(DataError, match=text):
        format_of(path).read(path)
    with pytest.raises(DataError, match=text), format_of(path).windows(path):
        pass


def test_what_fails_in_the_callers_hands_is_no_fault_of_the_file(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, photometric="minisblack")
    with pytest.raises(RuntimeError, match="mine"), format_of(path).windows(path):
        raise RuntimeError("mine")


PLAIN = Grid.plain(2)
SPACED = Grid((2.0, 3.0), (0.0, 0.0), ((1.0, 0.0), (0.0, 1.0)), placed=False)
DEEP = Grid((5.0, 2.0, 3.0), (0.0,) * 3, tuple(map(tuple, np.eye(3))), placed=False)


@pytest.mark.parametrize(
    ("shape", "grid", "kind"),
    [((1030, 70), PLAIN, np.uint8), ((30, 700), SPACED, np.uint16), ((6, 30, 40), DEEP, np.uint8)],
)
def test_rows_become_the_label_file_of_the_whole(tmp_path, shape, grid, kind):
    labels, path = np.random.default_rng(0).integers(0, 3, shape).astype(kind), tmp_path / "a.tif"
    cuts = [0, 1, 4, shape[0] - 1, shape[0]]
    form = format_of(path)
    form.write_rows(
        path, (labels[a:b] for a, b in pairwise(cuts)), shape=shape, dtype=labels.dtype, grid=grid
    )
    found, at = form.read_label(path)
    assert found.dtype == kind
    assert np.array_equal(found, labels)
    np.testing.assert_allclose(at.spacing_mm, grid.spacing_mm)
    assert at.calibrated == grid.calibrated
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff
        assert file.pages[0].is_tiled


class Full:
    """A file on a disk that is full after so many bytes."""

    def __init__(self, file, room):
        self._file, self._left = file, room

    def __getattr__(self, name):
        return getattr(self._file, name)

    def write(self, data):
        self._left -= memoryview(data).nbytes
        if self._left < 0:
            raise OSError(28, "No space left on device")
        return self._file.write(data)


@pytest.mark.parametrize("name", ["a.tif", "a.nii.gz"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, "rows", "disk"])
def test_nothing_that_stops_the_rows_leaves_a_file(tmp_path, monkeypatch, name, error):
    path, labels = tmp_path / name, RNG.integers(0, 3, (5, 600, 40), dtype=np.uint8)

    def bands():
        yield labels[:2]
        if error in (KeyboardInterrupt, RuntimeError):
            raise error
        yield from () if error == "rows" else (labels[2:],)

    if error == "disk":
        import os

        opened = os.fdopen
        monkeypatch.setattr(os, "fdopen", lambda *words: _Entered(Full(opened(*words), 2000)))
    raised = {"rows": DataError, "disk": ResourceError}.get(error, error)
    with pytest.raises(raised, match="no room left" if error == "disk" else None):
        format_of(path).write_rows(path, bands(), shape=labels.shape, dtype=labels.dtype, grid=DEEP)
    assert list(tmp_path.iterdir()) == []


class _Entered:
    """Makes ``Full`` usable in a ``with``."""

    def __init__(self, full):
        self._full = full

    def __enter__(self):
        return self._full

    def __exit__(self, *_):
        self._full._file.close()
