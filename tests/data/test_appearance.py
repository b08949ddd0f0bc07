"""Statistics of one image: by hand, by a loop, and what changes them and what does not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from unetkit.data import appearance as room
from unetkit.data.appearance import appearance, middle, texture


@pytest.mark.parametrize("shape", [(9, 12), (5, 8, 7)])
def test_texture_by_a_loop_over_pixels(shape):
    block = np.random.default_rng(0).integers(0, 255, shape)
    steps, bends = [], []
    for axis in range(block.ndim):
        first, second = [], []
        for place in np.ndindex(shape):
            line = block[tuple(slice(None) if a == axis else p for a, p in enumerate(place))].astype(float)
            at = place[axis]
            if at + 1 < shape[axis]:
                first.append(abs(line[at + 1] - line[at]))
            if at + 2 < shape[axis]:
                second.append(abs(line[at + 2] - 2 * line[at + 1] + line[at]))
        steps.append(np.mean(first))
        bends.append(np.mean(second))
    spread = np.sqrt(np.mean((block - block.mean()) ** 2))
    cut = block[tuple(slice(0, length - length % 4) for length in shape)]
    means = [
        np.mean(cut[tuple(slice(4 * n, 4 * n + 4) for n in place)])
        for place in np.ndindex(*(length // 4 for length in cut.shape))
    ]
    found = texture(block)
    assert found["sharpness"] == pytest.approx(np.mean(steps) / spread)
    assert found["noise"] == pytest.approx(np.mean(bends) / spread)
    assert found["coarseness"] == pytest.approx(np.std(means) / spread)


def test_gain_and_brightness_change_intensities_alone():
    pixels = np.random.default_rng(1).normal(100, 10, (2, 16, 16)).astype(np.float32)
    before, after = (appearance(each, ("a", "b")) for each in (pixels, 2 * pixels + 5))
    assert len(before) == 16
    for name, value in before.items():
        if name.startswith("texture"):
            assert after[name] == pytest.approx(value, rel=1e-4)
        elif ".spread." in name:
            assert after[name] == pytest.approx(2 * value, rel=1e-4)
        else:
            assert after[name] == pytest.approx(2 * value + 5, rel=1e-4)


def test_blur_and_noise_change_texture():
    pixels = np.random.default_rng(2).normal(0, 10, (32, 32))
    smooth = ndimage.uniform_filter(pixels, 3)
    rough = np.kron(pixels[:8, :8], np.ones((4, 4)))
    assert texture(smooth)["sharpness"] < 0.8 * texture(pixels)["sharpness"]
    assert texture(rough + pixels)["noise"] > 1.5 * texture(rough)["noise"]
    assert texture(rough)["coarseness"] == pytest.approx(1.0)


def test_one_pixel_thin_and_constant_images_have_finite_numbers():
    for pixels in (np.zeros((1, 1, 1)), np.arange(5.0).reshape(1, 1, 5), np.full((1, 9, 9), 3.0)):
        assert np.isfinite(list(appearance(pixels, ("a",)).values())).all()


def test_of_a_large_image_a_part_is_looked_at(monkeypatch):
    monkeypatch.setattr(room, "MOST_PIXELS", 100)
    plane = np.arange(40 * 30).reshape(40, 30)
    block = middle(plane)
    assert block.size <= 110
    assert abs(block.mean() - plane.mean()) < 31
    assert appearance(plane[None], ("a",))["intensity.mean.a"] == pytest.approx(plane.mean(), rel=0.02)
