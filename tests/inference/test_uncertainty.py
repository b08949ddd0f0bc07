import math

import numpy as np
import pytest
from scipy import stats

from unetkit.inference.stream import softmax
from unetkit.inference.uncertainty import entropy, mirrored_passes


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_entropy_is_scipys_over_its_maximum(classes):
    shares = softmax(np.random.default_rng(classes).normal(0, 3, (classes, 5, 6)).astype(np.float32))
    assert entropy(shares) == pytest.approx(stats.entropy(shares, axis=0) / math.log(classes), abs=1e-6)


def test_certainty_is_exactly_nothing_and_a_draw_exactly_all():
    certain = np.eye(4)[:, [0, 3, 2]]
    assert entropy(certain).tolist() == [0.0, 0.0, 0.0]
    assert entropy(np.full((4, 2), 0.25)) == pytest.approx(1.0, abs=1e-6)
    assert entropy(np.full((4, 2), 0.25)).max() <= 1.0


@pytest.mark.parametrize("rank", [2, 3])
def test_a_network_that_does_not_care_for_sides_agrees_with_itself(rank):
    pixels = np.random.default_rng(rank).normal(size=(1, *(6, 5, 4)[:rank])).astype(np.float32)

    def each_pixel(image):
        return softmax(np.concatenate([0 * image, image]))

    labels = each_pixel(pixels).argmax(axis=0)
    mean, apart = mirrored_passes(each_pixel, pixels, labels, range(rank))
    assert np.allclose(mean, each_pixel(pixels), atol=1e-6)
    assert not apart.any()
    assert mirrored_passes(each_pixel, pixels, 1 - labels, range(rank))[1].min() == 1.0


def test_every_mirroring_is_asked_once_and_turned_back():
    asked = []

    def remember(image):
        asked.append(image.copy())
        assert image.flags["C_CONTIGUOUS"]
        return softmax(np.concatenate([0 * image, image * np.arange(1, 4)]))  # the right side counts more

    pixels = np.array([[[1.0, -1.0, 2.0], [0.5, 0.0, -3.0]]])
    labels = np.array([[1, 0, 1], [1, 0, 0]])
    mean, _ = mirrored_passes(remember, pixels, labels, (0, 1))
    wanted = [pixels, pixels[:, ::-1], pixels[:, :, ::-1], pixels[:, ::-1, ::-1]]
    assert all(np.array_equal(one, other) for one, other in zip(asked, wanted, strict=True))
    to, fro = (softmax(np.concatenate([0 * pixels, pixels * factor])) for factor in ([1, 2, 3], [3, 2, 1]))
    assert np.allclose(mean, (to + fro) / 2, atol=1e-6)
