"""Centre-line Dice by hand, by its definition, and against scikit-image where it is installed."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from unetkit.metrics.centerline import cldice
from unetkit.metrics.overlap import dice
from unetkit.spatial.skeleton import skeleton

quick = settings(deadline=None, max_examples=40)
pairs = hnp.arrays(bool, st.tuples(st.just(2), st.integers(1, 8), st.integers(1, 8)))


def tube(width=3, length=30):
    mask = np.zeros((15, 40), bool)
    mask[7 - width // 2 : 8 + width // 2, 4 : 4 + length] = True
    return mask


def test_a_wrong_width_costs_nothing_and_a_gap_its_length():
    truth = tube()
    wide = tube(width=7)
    assert cldice(truth, wide) == 1
    assert dice(truth, wide) == pytest.approx(0.6)
    gap = truth.copy()
    gap[:, 14:24] = False
    line = skeleton(truth)
    kept = (line & gap).sum() / line.sum()
    assert cldice(truth, gap) == pytest.approx(2 * kept / (1 + kept))
    assert kept == pytest.approx(2 / 3, abs=0.03)


@quick
@given(pairs)
def test_the_definition_symmetry_and_empty_masks(pair):
    first, second = pair
    value = cldice(first, second)
    assert value == cldice(second, first)
    if not pair.any():
        assert value is None
    elif not (first.any() and second.any()):
        assert value == 0
    else:
        one, other = skeleton(first), skeleton(second)
        shares = [(one & second).sum() / one.sum(), (other & first).sum() / other.sum()]
        both = 0 if not all(shares) else 2 / (1 / shares[0] + 1 / shares[1])
        assert value == pytest.approx(both)
        assert cldice(first, first) == 1


@pytest.mark.parametrize("shape", [(60, 60), (24, 24, 24)])
def test_near_the_value_with_the_skeleton_of_scikit_image(shape):
    skimage = pytest.importorskip("skimage.morphology")
    rng = np.random.default_rng(0)
    from scipy import ndimage

    field = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    truth, found = np.abs(field) < 0.02, np.abs(field + 0.01) < 0.025
    one, other = (skimage.skeletonize(mask, method="lee") > 0 for mask in (truth, found))
    shares = (one & found).sum() / one.sum(), (other & truth).sum() / other.sum()
    assert cldice(truth, found) == pytest.approx(2 * shares[0] * shares[1] / sum(shares), abs=0.03)
