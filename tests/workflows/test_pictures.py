import base64
import io

import numpy as np
from PIL import Image

from unetkit.records.run import Run
from unetkit.workflows import pictures


def read(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_the_fullest_slice_is_shown_first_and_slices_lie_where_something_is(tmp_path):
    labels = np.zeros((40, 8, 8), np.uint8)
    labels[10:20, 2, 2] = 1
    labels[17, 2:6, 2:6] = 1
    pixels = np.random.default_rng(0).normal(size=(1, 40, 8, 8))
    made = pictures.save_pictures(Run(tmp_path), 3, "a/b", pixels, reference=labels, prediction=0 * labels)
    shown = [one.name for one in made.slices if one.shown]
    assert shown == ["slice 18 of 40"]
    numbers = [int(one.name.split()[1]) for one in made.slices]
    assert numbers == sorted(numbers)
    assert min(numbers) == 11
    assert max(numbers) == 20
    assert (tmp_path / "pictures" / made.slices[0].image).is_file()


def test_a_picture_is_one_slice_and_may_lack_a_label(tmp_path):
    pixels = np.zeros((3, 9, 7), np.uint8)
    made = pictures.save_pictures(Run(tmp_path), 0, "x", pixels, reference=None, prediction=None)
    (one,) = made.slices
    assert (one.name, one.reference, one.prediction, one.shown) == ("", None, None, True)
    assert read(tmp_path / "pictures" / one.image).shape == (9, 7, 3)


def test_a_volume_without_labels_shows_its_middle(tmp_path):
    made = pictures.save_pictures(
        Run(tmp_path), 0, "x", np.zeros((1, 9, 4, 4), np.uint8), reference=None, prediction=None
    )
    assert [one.shown for one in made.slices].index(True) == len(made.slices) // 2


def test_large_pictures_are_made_smaller_and_thin_objects_stay(tmp_path):
    labels = np.zeros((1200, 700), np.uint8)
    labels[600] = 2
    pixels = np.zeros((1, 1200, 700), np.uint16)
    made = pictures.save_pictures(Run(tmp_path), 0, "x", pixels, reference=labels, prediction=labels)
    image = read(tmp_path / "pictures" / made.slices[0].image)
    small = read(tmp_path / "pictures" / str(made.slices[0].reference))
    assert max(image.shape) <= pictures.LARGEST_EDGE
    assert small.shape == image.shape
    assert (small == 2).any(axis=0).all()
    rgb = np.zeros((3, 1200, 700), np.uint8)
    made = pictures.save_pictures(Run(tmp_path), 1, "y", rgb, reference=labels, prediction=labels)
    assert read(tmp_path / "pictures" / made.slices[0].image).shape == (400, 234, 3)


def test_any_range_becomes_bytes():
    grey = pictures.to_picture(np.linspace(-1000, 3000, 64).reshape(1, 8, 8))
    assert (grey.shape, grey.dtype, grey.min(), grey.max()) == ((1, 8, 8, 1), np.uint8, 0, 255)
    assert pictures.to_picture(np.full((2, 4, 4), 7.0)).max() == 0


def test_layers_are_clear_where_nothing_is():
    labels = np.zeros((9, 9), np.uint8)
    labels[2:7, 2:7] = 3
    fill, edge = pictures.fill_layer(labels), pictures.outline_layer(labels)
    assert np.array_equal(fill[..., 3] > 0, labels > 0)
    assert np.count_nonzero(edge[..., 3]) == 16
    dashed = pictures.outline_layer(labels, dashed=True)
    assert 0 < np.count_nonzero(dashed[..., 3]) < 16
    grey = np.full((9, 9, 1), 100, np.uint8)
    mixed = pictures.overlay(grey, labels)
    assert (mixed[0, 0] == 100).all()
    assert tuple(mixed[2, 2]) == tuple(edge[2, 2, :3])


def test_a_data_uri_is_the_picture():
    data = pictures.png(np.eye(4, dtype=np.uint8))
    uri = pictures.data_uri(data)
    back = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert np.array_equal(np.asarray(back), np.eye(4))
