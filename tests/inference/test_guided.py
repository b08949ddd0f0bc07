"""The guided filter against the paper's sums, written out window by window."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from unetkit.errors import ResourceError
from unetkit.inference import gathering
from unetkit.inference import guided as module
from unetkit.inference.guided import guided, guided_rows, radius_per_axis
from unetkit.records.case import Grid, Sample
from unetkit.records.plan import InferencePlan

RNG = np.random.default_rng(0)


def by_windows(values, image, radius, epsilon):
    """Equations 11 to 16 as they stand: a line per window, the mean of all lines through a pixel."""
    shape = image.shape[1:]
    places = list(itertools.product(*map(range, shape)))

    def window(place):
        return tuple(slice(max(0, at - r), at + r + 1) for at, r in zip(place, radius, strict=True))

    lines = {}
    for place in places:
        box = (slice(None), *window(place))
        inside, wanted = image[box].reshape(len(image), -1), values[box].reshape(len(values), -1)
        spread = np.cov(inside, bias=True).reshape(len(image), len(image)) + epsilon * np.eye(len(image))
        middle, own = inside.mean(axis=1), wanted.mean(axis=1)
        slope = np.linalg.inv(spread) @ ((inside @ wanted.T) / inside.shape[1] - np.outer(middle, own))
        lines[place] = slope, own - middle @ slope
    result = np.empty(values.shape)
    for place in places:
        box = itertools.product(
            *(range(*part.indices(n)) for part, n in zip(window(place), shape, strict=True))
        )
        through = [lines[other] for other in box]
        slope = np.mean([each for each, _ in through], axis=0)
        offset = np.mean([each for _, each in through], axis=0)
        at = (slice(None), *place)
        result[at] = image[at] @ slope + offset
    return result


@pytest.mark.parametrize(("shape", "radius"), [((9, 7), (2, 1)), ((4, 5, 6), (1, 2, 1)), ((3, 4), (5, 5))])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_the_papers_filter(shape, radius, channels):
    image, values = RNG.normal(size=(channels, *shape)), RNG.random((2, *shape))
    expected = by_windows(values, image, radius, 0.1)
    np.testing.assert_allclose(guided(values, image, radius=radius, epsilon=0.1), expected, atol=1e-10)


def test_identities():
    image, values = RNG.normal(size=(1, 8, 9)), RNG.random((3, 8, 9))
    values /= values.sum(axis=0)
    out = guided(values, image, radius=(2, 2), epsilon=0.01)
    np.testing.assert_allclose(out.sum(axis=0), 1, atol=1e-12)
    line = 0.3 * image + 0.2  # a linear function of the guide stays where a slope costs nothing
    np.testing.assert_allclose(guided(line, image, radius=(2, 2), epsilon=1e-12), line, atol=1e-8)
    flat = np.full((1, 8, 9), 7.0)  # without edges it is the mean of means
    twice = module._mean(module._mean(values, (2, 2)), (2, 2))
    np.testing.assert_allclose(guided(values, flat, radius=(2, 2), epsilon=0.01), twice, atol=1e-9)
    np.testing.assert_allclose(guided(values, image, radius=(0, 0), epsilon=0.01), values, atol=1e-9)


def test_a_radius_counts_in_pixels_of_the_finest_axis():
    assert radius_per_axis(3, (1.0, 1.0)) == (3, 3)
    assert radius_per_axis(2, (9.0, 0.7, 0.7)) == (0, 2, 2)


def sample(shape=(16, 16)):
    pixels = np.zeros((1, *shape), np.float32)
    pixels[:, :, 8:] = 5
    return Sample("a", pixels, Grid.plain(2))


def test_rows_become_log_probabilities_that_follow_an_edge(monkeypatch):
    truth = np.zeros((16, 16), bool)
    truth[:, 8:] = True
    logits = np.stack([np.zeros((16, 16)), np.where(truth, 1.0, -1.0)]).astype(np.float32)
    logits[1, 4, 4], logits[1, 4, 12] = 1.0, -1.0  # one pixel on each side is mistaken
    bands = [(0, logits[:, :10]), (10, logits[:, 10:])]
    plan = InferencePlan(tile_size=(16, 16), guided_radius=2, guided_epsilon=0.01)
    ((start, found),) = guided_rows(bands, sample(), plan)
    assert start == 0
    assert found.dtype == np.float32
    assert np.array_equal(found.argmax(axis=0).astype(bool), truth)
    np.testing.assert_allclose(np.exp(found).sum(axis=0), 1, atol=1e-5)
    broken = logits.copy()
    broken[0, 0, 0] = np.nan
    ((_, kept),) = guided_rows([(0, broken)], sample(), plan)
    np.testing.assert_array_equal(kept, broken)
    monkeypatch.setattr(gathering, "MOST_PIXELS", 255)
    with pytest.raises(ResourceError, match=r"a: expected at most 255 pixels for a guided filter, got 256"):
        list(guided_rows(bands, sample(), plan))
