"""Images in their files: the same pixels and the same numbers as of the whole, bit for bit."""

import numpy as np
import pytest
import tifffile

from unetkit.data import intensities
from unetkit.data.formats import format_of
from unetkit.data.labels import COLOURS, read_pixels
from unetkit.data.prepare import prepare_pixels
from unetkit.data.windows import open_source, prepare_source
from unetkit.errors import DataError
from unetkit.records.case import Case, Grid
from unetkit.records.plan import DataPlan, Normalization, PreparationPlan


def plan(*channels, rank=2):
    return DataPlan(rank=rank, channels=channels, classes=("no", "yes"), label_values=(0, 1))


def save(path, array, **words):
    tifffile.imwrite(path, array, photometric="minisblack", **words)
    return path


def picture(seed=0, shape=(45, 37)):
    pixels = np.random.default_rng(seed).integers(0, 4000, shape).astype(np.uint16)
    pixels[:6] = pixels[:, :9] = pixels[40:] = 0
    return pixels


@pytest.mark.parametrize("numbers", [1 << 22, 100])
@pytest.mark.parametrize("crop", [False, True])
@pytest.mark.parametrize("scheme", ["zscore", "masked_zscore", "none"])
def test_it_is_prepared_as_in_memory_bit_for_bit(tmp_path, monkeypatch, numbers, crop, scheme):
    monkeypatch.setattr(intensities, "_SLAB_NUMBERS", numbers)
    paths = [save(tmp_path / f"a_{n:04}.tif", picture(n), tile=(16, 16)) for n in range(2)]
    rule = Normalization(scheme=scheme)
    preparation = PreparationPlan(crop_to_nonzero=crop, normalization=(rule, rule))
    pixels, grid = read_pixels(Case("a", tuple(paths), None, "a"))
    whole = prepare_pixels(pixels, grid, preparation, id="a")
    with open_source(paths, plan("x", "y")) as source:
        assert source is not None
        assert source.claimed_bytes == pixels.nbytes
        sample = prepare_source(source, preparation, id="a")
        assert sample is not None
        assert sample.placement == whole.placement
        assert sample.intensity == whole.intensity
        assert sample.shape == whole.pixels.shape[1:]
        found = sample.rows(3, 20)
    assert found.dtype == whole.pixels.dtype
    assert np.array_equal(found, whole.pixels[:, 3:20])


def test_an_image_of_zeros_is_not_cropped(tmp_path):
    path = save(tmp_path / "a.tif", np.zeros((9, 8), np.uint8))
    preparation = PreparationPlan(crop_to_nonzero=True, normalization=(Normalization(scheme="none"),))
    with open_source([path], plan("x")) as source:
        sample = prepare_source(source, preparation, id="a")
    assert sample.placement.crop == ((0, 9), (0, 8))


def test_a_grey_picture_among_colours_has_three_equal_channels(tmp_path):
    path = save(tmp_path / "a.tif", picture())
    with open_source([path], plan(*COLOURS)) as source:
        found = source.read(((2, 9), (0, 37)))
        assert source.channels == 3
    assert np.array_equal(found, np.stack([picture()[2:9]] * 3))


def test_what_has_to_be_resampled_or_comes_at_once_stays_out(tmp_path):
    grid = Grid((2.0, 1.0, 1.0), (0.0,) * 3, tuple(map(tuple, np.eye(3))))
    plain, packed = tmp_path / "a.nii", tmp_path / "b.nii.gz"
    for path in (plain, packed):
        format_of(path).write(path, np.ones((6, 5, 4), np.uint8), grid)
    rules = (Normalization(scheme="none"),)
    with open_source([plain], plan("x", rank=3)) as source:
        assert prepare_source(source, PreparationPlan(normalization=rules), id="a") is not None
        other = PreparationPlan(normalization=rules, spacing_mm=(1.0, 1.0, 1.0))
        assert prepare_source(source, other, id="a") is None
    with open_source([packed], plan("x", rank=3)) as source:
        assert source is None


def test_a_scaled_volume_is_read_as_in_memory(tmp_path):
    import nibabel as nib

    stored = np.random.default_rng(0).integers(-500, 500, (7, 6, 5)).astype(np.int16)
    image = nib.Nifti1Image(stored, np.diag([1.0, 2.0, 3.0, 1.0]))
    image.header.set_slope_inter(0.37, -11)
    path = tmp_path / "a.nii"
    nib.save(image, path)
    whole, _ = format_of(path).read(path)
    with open_source([path], plan("x", rank=3)) as source:
        found = source.read(((1, 4), (2, 6), (0, 7)))
    assert np.array_equal(found, whole[:, 1:4, 2:6])


def test_what_is_wrong_is_said_as_for_a_whole_image(tmp_path):
    one, other = save(tmp_path / "a.tif", picture()), save(tmp_path / "b.tif", picture(shape=(45, 38)))
    with (
        pytest.raises(DataError, match="the channels of one case must lie on one grid"),
        open_source([one, other], plan("x", "y")),
    ):
        pass
    holes = picture().astype(np.float32)
    holes[30, 20] = np.nan
    path = save(tmp_path / "c.tif", holes)
    with open_source([path], plan("x")) as source:
        assert source.read(((0, 20), (0, 37))).shape == (1, 20, 37)
        with pytest.raises(DataError, match=r"c\.tif: NaN pixels: 1 of"):
            source.read(((20, 45), (0, 37)))
        two = PreparationPlan(normalization=(Normalization(scheme="none"),) * 2)
        with pytest.raises(DataError, match="expected 2 channels, got 1"):
            prepare_source(source, two, id="a")
