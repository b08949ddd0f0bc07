import base64
import io

import numpy as np
import pytest
from PIL import Image

from unetkit.workflows import pictures


def opened(uri):
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
        return np.asarray(picture)


def test_any_range_becomes_bytes():
    grey = pictures.to_picture(np.linspace(-1000, 3000, 64).reshape(1, 8, 8))
    assert (grey.shape, grey.dtype, grey.min(), grey.max()) == ((8, 8, 1), np.uint8, 0, 255)
    assert pictures.to_picture(np.full((2, 4, 4), 7.0)).max() == 0
    colours = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    assert np.array_equal(pictures.to_picture(colours), np.moveaxis(colours, 0, -1))


def test_a_few_outliers_do_not_darken_a_picture():
    values = np.tile(np.arange(100.0), 100).reshape(1, 100, 100)
    values[0, 0, :3] = 1e6
    assert np.median(pictures.to_picture(values)) == pytest.approx(127, abs=2)


def test_percentiles_of_many_pixels_look_at_every_column():
    columns = np.tile(
        np.array([0.0, 0, 0, 100], np.float32), 1_000_000
    )  # an even step would see one kind only
    assert pictures.percentiles(columns, (10, 90)) == (0.0, 100.0)


def test_layers_are_clear_where_nothing_is():
    labels = np.zeros((9, 9), np.uint8)
    labels[2:7, 2:7] = 3
    fill, edge = pictures.fill_layer(labels), pictures.outline_layer(labels)
    assert np.array_equal(fill[..., 3] > 0, labels > 0)
    assert np.count_nonzero(edge[..., 3]) == 16
    dashed = pictures.outline_layer(labels, dashed=True)
    assert np.array_equal(dashed[..., 3], edge[..., 3])
    assert set(dashed[..., 0][dashed[..., 3] > 0].tolist()) == {0, 255}  # seen on any pixels
    grey = np.full((9, 9, 1), 100, np.uint8)
    mixed = pictures.overlay(grey, labels)
    assert (mixed[0, 0] == 100).all()
    assert tuple(mixed[2, 2]) == tuple(edge[2, 2, :3])


def test_a_data_uri_is_the_picture():
    data = pictures.png(np.eye(4, dtype=np.uint8))
    assert np.array_equal(opened(pictures.data_uri(data)), np.eye(4))
    wide = np.array([[0, 65535], [300, 4095]], np.uint16)
    assert np.array_equal(opened(pictures.data_uri(pictures.png(wide))), wide)


def test_blocks_are_averaged_and_thin_objects_stay():
    image = np.arange(35, dtype=np.uint16).reshape(5, 7)
    small = pictures.reduced(image, (2, 3))
    assert small.shape == (3, 3)
    assert small[0, 0] == round(image[:2, :3].mean())
    assert small[2, 2] == image[4, 6]  # what the border cuts off is averaged with what it has
    labels = np.zeros((5, 7), np.uint8)
    labels[3] = 2
    assert pictures.reduced(labels, (2, 3), labels=True).tolist() == [[0, 0, 0], [2, 2, 2], [0, 0, 0]]
    colour = np.zeros((4, 4, 3), np.uint8)
    assert pictures.reduced(colour, (2, 2)).shape == (2, 2, 3)
    assert pictures.reduced(image, (1, 1)) is image


@pytest.mark.parametrize("shape", [(300,), (1200, 700), (40, 512, 512), (1, 9, 100_000)])
@pytest.mark.parametrize("pixels", [1, 1000, 10**9])
def test_factors_bring_any_image_below_the_limit(shape, pixels):
    factors = pictures.factors_for(shape, (1.0,) * len(shape), pixels)
    left = [-(-length // factor) for length, factor in zip(shape, factors, strict=True)]
    assert np.prod(left) <= pixels
    assert all(1 <= factor <= length for factor, length in zip(factors, shape, strict=True))
    if np.prod(shape) <= pixels:
        assert set(factors) == {1}


def test_previews_show_one_plane_and_keep_a_thin_object():
    volume = np.random.default_rng(0).normal(size=(1, 4, 900, 500))
    labels = np.zeros((4, 900, 500), np.uint8)
    labels[2, 450] = 1
    assert pictures.fullest(labels) == 2
    assert pictures.fullest(labels, axis=1) == 450
    first, second = (opened(uri) for uri in pictures.previews(volume, (labels, labels * 0), edge=300, at=2))
    assert first.shape == second.shape == (300, 167, 3)
    assert (first[150] != second[150]).any(axis=-1).all()  # every third row would have lost it
    assert (first[100] == second[100]).all()


def test_small_pictures_are_enlarged_so_that_outlines_stay_thin():
    picture = np.zeros((1, 10, 8), np.uint8)
    (uri,) = pictures.previews(picture, (np.ones((10, 8), np.uint8),), edge=100)
    assert opened(uri).shape == (50, 40, 3)
