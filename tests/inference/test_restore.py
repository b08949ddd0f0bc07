"""The way back to the original grid."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from unetkit.errors import DataError
from unetkit.inference import restore
from unetkit.inference.restore import resampled_rows, to_original
from unetkit.records.case import Grid, Placement, Sample
from unetkit.spatial.grid import resample

lengths = some.integers(1, 12)


def banded(array, cuts):
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < array.shape[1]}), array.shape[1]]
    return [(a, array[:, a:b]) for a, b in pairwise(edges)]


@settings(max_examples=60, deadline=None)
@given(
    some.lists(some.tuples(lengths, lengths), min_size=1, max_size=3),
    some.sets(some.integers(1, 11)),
    some.sampled_from([None, 0, 1]),
    some.sampled_from([0, 1]),
)
def test_banded_resampling_equals_resampling_the_whole(axes, cuts, separate, order):
    old, new = zip(*axes, strict=True)
    separate = separate if separate is not None and separate < len(old) else None
    logits = np.random.default_rng(0).standard_normal((2, *old)).astype(np.float32)
    parts, top = [], 0
    for start, band in resampled_rows(banded(logits, cuts), old, new, order=order, separate_axis=separate):
        assert start == top
        top += band.shape[1]
        parts.append(band)
    whole = resample(logits, new, order=order, separate_axis=separate)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=2e-6)


def test_bands_stay_small_when_one_band_holds_everything(monkeypatch):
    monkeypatch.setattr(restore, "_BAND_NUMBERS", 2 * 30 * 4)
    logits = np.random.default_rng(0).standard_normal((2, 10, 15)).astype(np.float32)
    bands = list(resampled_rows([(0, logits)], (10, 15), (20, 30), order=1, separate_axis=None))
    assert max(band.shape[1] for _, band in bands) <= 5
    np.testing.assert_allclose(
        np.concatenate([b for _, b in bands], 1), resample(logits, (20, 30), order=1), atol=2e-6
    )


def disc(shape, scale):
    """Signed distance to a circle, in pixels of the original grid."""
    y, x = ((np.arange(n) + 0.5) * s for n, s in zip(shape, scale, strict=True))
    return (18 - np.hypot(y[:, None] - 31.0, x[None] - 25.0)).astype(np.float32)


def test_an_analytic_disc_comes_back_through_crop_and_resampling():
    crop = ((4, 64), (10, 58))  # 60 × 48 pixels of the original, prepared at 40 × 36
    prepared = disc((40, 36), (1.5, 48 / 36))
    grid = Grid((0.5, 0.25), (1.0, 2.0), ((1.0, 0.0), (0.0, 1.0)))
    sample = Sample("disc", prepared[None], Grid.plain(2), placement=Placement((70, 80), grid, crop))
    logits = np.stack([np.zeros_like(prepared), prepared])
    found = to_original([(0, logits)], sample, order=1, separate_axis=None, probabilities=True)
    expected = np.zeros((70, 80), bool)
    expected[4:64, 10:58] = disc((60, 48), (1, 1)) > 0
    assert found.grid is grid
    assert found.labels.shape == (70, 80)
    assert found.labels.dtype == np.uint8
    wrong = (found.labels == 1) != expected
    assert wrong.mean() < 0.002  # less than a tenth of the circle's rim
    assert np.all(np.abs(disc((60, 48), (1, 1))[wrong[4:64, 10:58]]) < 0.2)
    assert found.probabilities is not None
    np.testing.assert_allclose(found.probabilities.sum(0), 1, atol=1e-6)
    assert np.all(found.probabilities[0, :4] == 1)
    assert np.array_equal(found.probabilities.argmax(0), found.labels)


def test_a_raw_sample_stays_where_it_is():
    sample = Sample("raw", np.zeros((1, 3, 2), np.float32), Grid.plain(2))
    logits = np.random.default_rng(0).standard_normal((3, 3, 2)).astype(np.float32)
    bands = [(0, logits[:, :1]), (1, logits[:, 1:])]
    found = to_original(bands, sample, order=1, separate_axis=None, probabilities=False)
    assert np.array_equal(found.labels, logits.argmax(0))
    assert found.probabilities is None


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_refused(value):
    sample = Sample("case7", np.zeros((1, 2, 2), np.float32), Grid.plain(2))
    logits = np.zeros((2, 2, 2), np.float32)
    logits[1, 0, 0] = value
    with pytest.raises(DataError, match=r"expected finite logits .* got NaN or infinity") as caught:
        to_original([(0, logits)], sample, order=1, separate_axis=None, probabilities=False)
    assert caught.value.where == "case7"
