"""Tags of GeoTIFF come through as they are, whichever road the labels take."""

import numpy as np
import pytest
import tifffile

from unetkit.data.formats import format_of
from unetkit.data.formats.georeference import georeference_tags, read_georeference
from unetkit.records.case import Georeference, Grid

KEYS = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633)
UTM = Georeference((0.5, 0.5, 0.0), (0.0, 0.0, 0.0, 500000.25, 5.1e6, 0.0), (), KEYS, (), "WGS 84 / UTM 33N|")
TURNED = Georeference((), (), tuple(float(v) for v in range(16)), (*KEYS[:15], 32633), (6378137.0,), "x|")


@pytest.mark.parametrize("found", [UTM, TURNED])
def test_tags_there_and_back(found):
    tags = georeference_tags(found)
    assert [tag[0] for tag in tags] == sorted(tag[0] for tag in tags)
    assert read_georeference({code: value for code, _, _, value in tags}.get) == found
    assert all(count == len(value) + isinstance(value, str) for _, _, count, value in tags)


def test_half_of_the_tags_states_nothing():
    assert read_georeference({33550: (1.0, 1.0, 0.0), 33922: (0.0,) * 6}.get) is None
    assert read_georeference({34735: KEYS, 33550: (1.0, 1.0, 0.0)}.get) is None
    assert georeference_tags(None) == []


@pytest.mark.parametrize("place", [UTM, TURNED])
@pytest.mark.parametrize("road", ["whole", "rows", "levels"])
def test_labels_lie_where_their_image_lies(tmp_path, place, road):
    image, out = tmp_path / "image.tif", tmp_path / "labels.tif"
    labels = np.random.default_rng(0).integers(0, 3, (40, 30), dtype=np.uint8)
    extra = [(*tag, True) for tag in georeference_tags(place)]
    tifffile.imwrite(image, labels, photometric="minisblack", extratags=extra)
    form = format_of(image)
    _, grid = form.read(image)
    assert grid.georeference == form.describe(image).grid.georeference == place
    assert not grid.calibrated
    if road == "whole":
        form.write(out, labels, grid)
    else:
        levels = 2 if road == "levels" else 0
        form.write_rows(out, [labels], shape=labels.shape, dtype=labels.dtype, grid=grid, levels=levels)
    found, at = form.read_label(out)
    assert np.array_equal(found, labels)
    assert at == grid
    with tifffile.TiffFile(image) as first, tifffile.TiffFile(out) as second:
        assert second.pages[0].geotiff_tags == first.pages[0].geotiff_tags
        assert not any(34735 in page.tags for page in second.pages[1:])


def test_a_georeference_is_kept_beside_a_spacing_and_means_nothing_to_other_formats(tmp_path):
    grid = Grid((0.5, 0.25), (0.0, 0.0), ((1.0, 0.0), (0.0, 1.0)), placed=False, georeference=UTM)
    labels = np.zeros((4, 5), np.uint8)
    for name in ("a.tif", "a.nii.gz", "a.npy"):
        format_of(tmp_path / name).write(tmp_path / name, labels, grid)
    at = format_of(tmp_path / "a.tif").read(tmp_path / "a.tif")[1]
    assert at.georeference == UTM
    np.testing.assert_allclose(at.spacing_mm, grid.spacing_mm)
    assert format_of(tmp_path / "a.nii.gz").read(tmp_path / "a.nii.gz")[1].georeference is None
