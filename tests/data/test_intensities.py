"""Numbers measured slab by slab are those of numpy over the whole."""

import numpy as np
import pytest

from unetkit.data import intensities
from unetkit.data.intensities import fixed_intensities, measured_intensities, slab_rows
from unetkit.errors import UsageError
from unetkit.records.plan import Normalization

ZSCORE, MASKED = Normalization(scheme="zscore"), Normalization(scheme="masked_zscore")


def measured(pixels, *rules):
    return measured_intensities(lambda a, b: pixels[:, a:b], pixels.shape[1:], rules)


@pytest.mark.parametrize("numbers", [1 << 22, 50])
def test_mean_and_deviation_are_numpys_with_and_without_the_mask(monkeypatch, numbers):
    monkeypatch.setattr(intensities, "_SLAB_NUMBERS", numbers)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 60000, (2, 31, 17)).astype(np.uint16)
    pixels[:, 5:20, :9] = 0
    pixels[1, 6, 3] = 7
    inside = (pixels != 0).any(axis=0)
    plain, masked = measured(pixels, ZSCORE, MASKED)
    values = pixels[1][inside].astype(np.float64)
    assert plain.shift == pytest.approx(pixels[0].mean(dtype=np.float64), rel=1e-14)
    assert 1 / plain.scale == pytest.approx(pixels[0].std(dtype=np.float64), rel=1e-13)
    assert masked.shift == pytest.approx(values.mean(), rel=1e-14)
    assert 1 / masked.scale == pytest.approx(values.std(), rel=1e-13)
    assert (plain.masked, masked.masked) == (False, True)


def test_an_empty_mask_and_fixed_rules_read_nothing_into_the_numbers():
    empty = np.zeros((2, 4, 4), np.uint8)
    ct = Normalization(scheme="ct", low=-5, high=9, mean=2, std=4)
    masked, fixed = measured(empty, MASKED, ct)
    assert (masked.shift, masked.scale) == (0.0, 1.0)
    assert (fixed.low, fixed.high, fixed.shift, fixed.scale) == (-5, 9, 2, 0.25)
    measured_intensities(None, (4, 4), (ct, Normalization(scheme="none")))  # nothing is read at all


def test_slabs_hold_about_as_many_numbers_whatever_the_shape():
    assert slab_rows((10, 10)) >= 10
    assert slab_rows((32768, 32768)) == 128
    assert slab_rows((3, 1 << 30)) == 1


def test_fixed_rules_are_those_that_are_measured_on_nothing():
    rules = tuple(
        Normalization(scheme=scheme, low=-5, high=9, mean=2, std=4) for scheme in ("ct", "zero_one", "none")
    )
    assert fixed_intensities(rules) == measured(np.zeros((3, 4, 4), np.uint8), *rules)
    for rule in (ZSCORE, MASKED):
        with pytest.raises(UsageError, match=f"the same for every image, got '{rule.scheme}'"):
            fixed_intensities((rules[0], rule))
