"""Lazy normalisation."""

import numpy as np
import pytest

from unetkit.records.case import Intensity
from unetkit.spatial.intensity import apply_intensity

INF = float("inf")


def test_clip_shift_scale_by_hand():
    pixels = np.array([[[-2000, 0, 400]], [[1, 2, 3]]], np.int16)
    rules = (Intensity(-1000.0, 300.0, 100.0, 0.01), Intensity(-INF, INF, 2.0, 0.5))
    expected = [[[-11.0, -1.0, 2.0]], [[-0.5, 0.0, 0.5]]]
    result = apply_intensity(pixels, rules)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float64", "bool"])
def test_equals_the_formula_in_float64(dtype):
    pixels = (np.random.default_rng(0).random((1, 6, 7)) * 200).astype(dtype)
    rule = Intensity(5.0, 150.0, 31.25, 1 / 17)
    expected = (np.clip(pixels.astype(np.float64), 5, 150) - 31.25) / 17
    np.testing.assert_allclose(apply_intensity(pixels, (rule,)), expected, atol=1e-5)


def test_masked_keeps_zero_where_every_channel_is_zero():
    pixels = np.array([[0, 0, 4]], np.uint8), np.array([[0, 6, 0]], np.uint8)
    both = np.stack([pixels[0][0], pixels[1][0]])
    rules = (Intensity(-INF, INF, 1.0, 1.0, masked=True), Intensity(-INF, INF, 1.0, 1.0))
    assert apply_intensity(both, rules).tolist() == [[0, -1, 3], [-1, 5, -1]]


def test_a_tile_of_the_result_is_the_result_of_the_tile():
    pixels = np.random.default_rng(1).integers(0, 99, (2, 20, 20)).astype(np.uint8)
    rules = (Intensity(3.0, 70.0, 12.0, 0.3, masked=True), Intensity(-INF, INF, 40.0, 0.1))
    box = (slice(None), slice(3, 9), slice(5, 17))
    assert np.array_equal(apply_intensity(pixels, rules)[box], apply_intensity(pixels[box], rules))


def test_ready_pixels_are_not_copied_and_the_source_is_never_written():
    ready = np.ones((1, 2, 2), np.float32)
    assert apply_intensity(ready, ()) is ready
    apply_intensity(ready, (Intensity(0.0, 0.5, 1.0, 9.0, masked=True),))
    assert np.all(ready == 1)
