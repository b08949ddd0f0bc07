"""Surface metrics by hand and against O(n²) loops."""

import math

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from unetkit.errors import UsageError
from unetkit.metrics.surface import assd, hd95, nsd
from unetkit.spatial.regions import diagonal, surface

quick = settings(deadline=None, max_examples=60)
pairs = hnp.arrays(bool, st.tuples(st.just(2), st.integers(1, 5), st.integers(1, 6), st.integers(1, 3)))
spacings = st.tuples(*[st.sampled_from([0.1, 0.5, 1.0, 5.0])] * 3)


def naive(reference, prediction, spacing):
    mine, other = (np.argwhere(surface(mask)) * spacing for mask in (reference, prediction))
    return (
        sorted(min(math.dist(p, q) for q in other) for p in mine),
        sorted(min(math.dist(p, q) for q in mine) for p in other),
    )


def percentile(values, share):
    place = share * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (place - low) * (values[high] - values[low])


@quick
@given(pairs, spacings)
def test_equal_to_naive_loops(pair, spacing):
    reference, prediction = pair
    if not (reference.any() and prediction.any()):
        return
    there, back = naive(reference, prediction, spacing)
    both = there + back
    close = sum(d <= 1.0 + 1e-9 for d in both) / len(both)
    assert hd95(reference, prediction, spacing_mm=spacing) == pytest.approx(
        max(percentile(there, 0.95), percentile(back, 0.95))
    )
    assert assd(reference, prediction, spacing_mm=spacing) == pytest.approx(sum(both) / len(both))
    assert nsd(reference, prediction, spacing_mm=spacing, tolerance_mm=1.0) == pytest.approx(close)


@quick
@given(pairs, spacings)
def test_symmetry_identity_and_the_diagonal_as_upper_end(pair, spacing):
    first, second = pair
    for metric in (hd95, assd, nsd):
        assert metric(first, second, spacing_mm=spacing) == pytest.approx(
            metric(second, first, spacing_mm=spacing)
        )
    for metric in (hd95, assd):
        value = metric(first, second, spacing_mm=spacing)
        assert value is None or value <= diagonal(first.shape, spacing)
    if first.any():
        assert hd95(first, first, spacing_mm=spacing) == assd(first, first, spacing_mm=spacing) == 0
        assert nsd(first, first, spacing_mm=spacing) == 1


def block(start):
    mask = np.zeros((8, 32, 32), bool)
    mask[start, 10:20, 10:20] = True
    return mask


def test_one_slice_shift_is_one_slice_thickness():
    apart = {"spacing_mm": (5.0, 1.0, 1.0)}
    assert hd95(block(3), block(4), **apart) == 5.0
    assert assd(block(3), block(4), **apart) == 5.0
    assert nsd(block(3), block(4), tolerance_mm=4.9, **apart) == 0.0
    assert nsd(block(3), block(4), tolerance_mm=5.0, **apart) == 1.0
    assert hd95(block(3), block(4), spacing_mm=(1.0, 1.0, 1.0)) == 1.0


@quick
@given(pairs, st.sampled_from([0.25, 3.0, 10.0]))
def test_spacing_scales_distances(pair, factor):
    first, second = pair
    for metric in (hd95, assd):
        once = metric(first, second, spacing_mm=(1.0, 2.0, 0.5))
        scaled = metric(first, second, spacing_mm=(factor, 2.0 * factor, 0.5 * factor))
        assert (scaled is None) == (once is None)
        assert once is None or scaled == pytest.approx(factor * once)
    once = nsd(first, second, spacing_mm=(1.0, 2.0, 0.5), tolerance_mm=1.0)
    assert once == nsd(first, second, spacing_mm=(factor, 2.0 * factor, 0.5 * factor), tolerance_mm=factor)


def test_tolerance_forgives_rounding():
    first, second = np.eye(8, dtype=bool)[0], np.eye(8, dtype=bool)[3]
    assert 3 * 0.1 > 0.3
    assert nsd(first, second, spacing_mm=(0.1,), tolerance_mm=0.3) == 1.0


def test_hd95_is_the_larger_direction_not_the_pool():
    reference, prediction = np.zeros(1000, bool), np.zeros(1000, bool)
    reference[:400:4] = True  # 100 single pixels
    prediction[:400:4] = True
    prediction[[500, 600, 700, 800, 900, 990]] = True  # 6 of 106, so the 95th percentile sees them
    back = [0.0] * 100 + [104.0, 204.0, 304.0, 404.0, 504.0, 594.0]
    assert hd95(reference, prediction, spacing_mm=(1.0,)) == pytest.approx(percentile(back, 0.95))
    assert hd95(reference, prediction, spacing_mm=(1.0,)) > np.percentile([0.0] * 100 + back, 95)


def test_flat_volume_equals_the_picture():
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 12, 9)) > 0.6
    for metric in (hd95, assd, nsd):
        # a slice of its own is all surface in depth, so the picture's inside is cleared first
        first_edge, second_edge = surface(first), surface(second)
        assert metric(first_edge[None], second_edge[None], spacing_mm=(7.0, 1.0, 2.0)) == pytest.approx(
            metric(first_edge, second_edge, spacing_mm=(1.0, 2.0))
        )


@pytest.mark.parametrize(("metric", "bad"), [(hd95, 50.0), (assd, 50.0), (nsd, 0.0)])
def test_convention_for_empty_masks(metric, bad):
    empty, some = np.zeros((3, 4), bool), np.eye(3, 4, dtype=bool)
    assert metric(some, empty, spacing_mm=(10.0, 10.0)) == bad
    assert metric(empty, some, spacing_mm=(10.0, 10.0)) == bad
    assert metric(empty, empty, spacing_mm=(10.0, 10.0)) is None


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 0.0), (1.0, math.nan)])
def test_spacing_must_fit(spacing):
    with pytest.raises(UsageError, match="expected 2 spacings above 0 mm, got"):
        hd95(np.eye(3, dtype=bool), np.eye(3, dtype=bool), spacing_mm=spacing)
