"""Pyramids in TIFF, read by tifffile; the order of the bytes is that of a Cloud Optimized GeoTIFF."""

from itertools import pairwise

import numpy as np
import pytest
import tifffile

from unetkit.data.formats import format_of
from unetkit.errors import ResourceError
from unetkit.records.case import Georeference, Grid

EARTH = Georeference((0.5, 0.5, 0.0), (0.0,) * 6, (), (1, 1, 0, 1, 1024, 0, 1, 1))
PLAIN = Grid.plain(2)
PLACED = Grid((1.0, 1.0), (0.0, 0.0), PLAIN.direction, calibrated=False, placed=False, georeference=EARTH)
SPACED = Grid((0.002, 0.0005), (0.0, 0.0), PLAIN.direction, placed=False)


def labels_of(shape, kind=np.uint8):
    return np.random.default_rng(0).integers(0, 3, shape).astype(kind)


def written(path, labels, grid, levels=2, cuts=(1, 600)):
    edges = [0, *(cut for cut in cuts if cut < len(labels)), len(labels)]
    bands = (labels[a:b] for a, b in pairwise(edges))
    format_of(path).write_rows(path, bands, shape=labels.shape, dtype=labels.dtype, grid=grid, levels=levels)


@pytest.mark.parametrize("grid", [PLAIN, PLACED, SPACED], ids=["plain", "earth", "microscope"])
@pytest.mark.parametrize(("shape", "kind"), [((1030, 700), np.uint8), ((13, 9), np.uint16)])
def test_every_level_is_every_second_pixel_of_the_one_before(tmp_path, grid, shape, kind):
    path, labels = tmp_path / "a.tif", labels_of(shape, kind)
    written(path, labels, grid)
    found, at = format_of(path).read_label(path)
    assert found.dtype == kind
    assert np.array_equal(found, labels)
    assert (at.calibrated, at.georeference) == (grid.calibrated, grid.georeference)
    np.testing.assert_allclose(at.spacing_mm, grid.spacing_mm)
    assert format_of(path).describe(path).notes == ()
    with tifffile.TiffFile(path) as file:
        assert len(file.series) == 1
        assert file.is_ome == grid.calibrated
        assert [level.shape for level in file.series[0].levels] == [labels[::n, ::n].shape for n in (1, 2, 4)]
        for number, level in enumerate(file.series[0].levels):
            step = 2**number
            assert np.array_equal(level.asarray(), labels[::step, ::step])
            assert level.keyframe.is_tiled
            assert level.keyframe.is_reduced == bool(number)


@pytest.mark.parametrize("grid", [PLAIN, PLACED])
def test_directories_come_first_and_the_smallest_tiles_before_the_others(tmp_path, grid):
    """What GDAL's validate_cloud_optimized_geotiff.py asks of a file."""
    path = tmp_path / "a.tif"
    written(path, labels_of((1100, 1600)), grid, levels=2)
    with tifffile.TiffFile(path) as file:
        pages = list(file.pages)
        assert [page.offset for page in pages] == sorted(page.offset for page in pages)
        assert pages[0].offset == 16
        first = [page.dataoffsets[0] for page in pages]
        assert first == sorted(first, reverse=True)
        assert min(first) > max(page.offset for page in pages)
        for page in pages:  # and the tiles of a level lie one behind the other
            ends = np.add(page.dataoffsets, page.databytecounts)
            assert list(ends[:-1]) == list(page.dataoffsets[1:])
        assert max(np.add(pages[0].dataoffsets, pages[0].databytecounts)) == path.stat().st_size


def test_windows_of_a_pyramid_are_those_of_the_full_resolution(tmp_path):
    path, labels = tmp_path / "a.tif", labels_of((600, 530))
    written(path, labels, PLACED)
    with format_of(path).windows(path) as opened:
        assert np.array_equal(opened.read(((500, 600), (3, 530)))[0], labels[500:, 3:])


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_nothing_is_left_of_a_pyramid_that_was_not_finished(tmp_path, error):
    def bands():
        yield labels_of((600, 40))
        raise error

    wanted = ResourceError if isinstance(error, OSError) else error
    with pytest.raises(wanted):
        format_of(tmp_path / "a.tif").write_rows(
            tmp_path / "a.tif", bands(), shape=(900, 40), dtype=np.dtype("u1"), grid=PLAIN, levels=1
        )
    assert list(tmp_path.iterdir()) == []


def test_a_volume_has_no_levels_and_keeps_its_slices(tmp_path):
    path, labels = tmp_path / "a.tif", labels_of((5, 30, 40))
    written(path, labels, Grid.plain(3), levels=2, cuts=(2,))
    assert np.array_equal(format_of(path).read_label(path)[0], labels)
