"""One convention for objects that are missed, spurious or in neither mask."""

from __future__ import annotations

import numpy as np
import pytest

from unetkit.errors import DataError, UsageError
from unetkit.metrics.convention import check_spacing, measured, state, worst


@pytest.mark.parametrize(
    ("reference", "predicted", "name"),
    [(3, 2, "found"), (3, 0, "missed"), (0, 2, "spurious"), (0, 0, "undefined")],
)
def test_four_states(reference, predicted, name):
    assert state(reference, predicted) == name


def test_the_worst_distance_is_the_diagonal_in_mm():
    assert worst("hd95", (3, 4), (1.0, 1.0)) == 5.0
    assert worst("assd", (3, 4), (10.0, 10.0)) == 50.0
    assert (worst("volume_error", (3, 4), (1.0, 1.0)), worst("nsd", (3, 4), (1.0, 1.0))) == (1.0, 0.0)


def test_empty_masks_are_settled_and_full_ones_are_measured():
    here, empty = np.ones((3, 4), bool), np.zeros((3, 4), bool)

    def formula(reference, prediction):
        assert reference.dtype == prediction.dtype == bool
        return 0.25

    assert measured("dice", here, here.astype(int) * 255, formula) == 0.25
    assert measured("hd95", here, empty, formula, spacing_mm=(1.0, 1.0)) == 5.0
    assert measured("hd95", empty, here, formula, spacing_mm=(1.0, 1.0)) == 5.0
    assert measured("dice", empty, empty, formula) is None
    with pytest.raises(DataError, match=r"expected a prediction of shape \(3, 4\) like the reference"):
        measured("dice", here, here.T, formula)
    with pytest.raises(UsageError, match="expected 2 spacings above 0 mm"):
        measured("hd95", here, here, formula, spacing_mm=(1.0,))


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 0.0), (1.0, float("nan"))])
def test_a_wrong_spacing_is_refused(spacing):
    with pytest.raises(UsageError, match="expected 2 spacings above 0 mm"):
        check_spacing(2, spacing)
