"""What is found once equals what each function of the table finds by itself."""

import numpy as np
import pytest

from unetkit.lookup import pick
from unetkit.metrics import METRICS
from unetkit.metrics.masks import OURS, Masks


@pytest.mark.parametrize("name", sorted(OURS))
def test_equal_to_the_function_of_the_table(name):
    reference, prediction = np.random.default_rng(3).random((2, 12, 13)) < 0.4
    both = Masks(reference, prediction, (2.0, 0.5))
    own = pick("metric", METRICS, name)(reference, prediction, spacing_mm=(2.0, 0.5), tolerance_mm=1.0)
    assert both.measure(name, 1.0) == pytest.approx(own)
    assert both.objects is both.objects


def test_every_row_of_the_table_is_ours():
    assert set(METRICS) == OURS
