"""Fingerprints against hand-worked numbers and numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from unetkit.data.catalog import Catalog
from unetkit.data.facts import CaseFacts
from unetkit.data.inspect import Inspection
from unetkit.errors import DataError
from unetkit.planning.measure import measure, weighted_quantiles
from unetkit.records.plan import DataPlan


def facts(id, sampled, *, group=None, counts=None, **changes):
    values = {
        "id": id,
        "group": group or id,
        "shape": (10, 20),
        "cropped_shape": (10, 10),
        "spacing_mm": (1.0, 1.0),
        "calibrated": True,
        "dtype": "uint8",
        "channels": 1,
        "label_counts": counts or {0: 150, 255: 50},
        "digest": id,
        "sampled": np.asarray(sampled, np.float32),
        "minima": (0.0,),
        "maxima": (200.0,),
        "integer": (True,),
        "object_sizes": {255: (5, 45)},
    }
    return CaseFacts(**(values | changes))


def inspection(*cases, channels=("image",), ignore=None, data=True):
    catalog = Catalog(Path("data"), "folders", (), (), channels, {}, None, ())
    plan = DataPlan(
        rank=2,
        channels=channels,
        classes=("background", "defect"),
        label_values=(0, 255),
        ignore_value=ignore,
    )
    return Inspection(catalog, cases, (), plan if data else None)


def test_counts_shapes_and_order():
    found = measure(
        inspection(
            facts("b", [[1, 2]], group="g", counts={0: 200}, object_sizes={}, calibrated=False),
            facts("a", [[3, 4]], group="g", counts={0: 100, 255: 90, 7: 10}, dtype="uint16"),
            facts("c", [[3, 4]], cropped_shape=(10, 20)),
            ignore=7,
        )
    )
    assert found.cases == ("a", "b", "c")
    assert found.groups == 2
    assert found.voxels == (450, 140)
    assert found.cases_with == (3, 2)
    assert found.unknown == 10
    assert found.shapes == ((10, 10), (10, 10), (10, 20))
    assert found.original_shapes == ((10, 20),) * 3
    assert found.nonzero_share == 0.5
    assert found.smallest_object == (5.0,)
    assert found.dtype == "uint8"
    assert not found.calibrated


def test_cases_weigh_the_same_however_much_foreground_they_have():
    many, few = np.full((1, 1000), 10.0), np.full((1, 10), 20.0)
    channel = measure(inspection(facts("a", many), facts("b", few))).channels[0]
    assert channel.mean == pytest.approx(15.0)
    assert channel.std == pytest.approx(5.0)
    assert channel.median == pytest.approx(15.0, abs=5.0)
    assert (channel.low, channel.high) == (10.0, 20.0)
    assert channel.count == 1010
    assert channel.integer


def test_equal_cases_agree_with_numpy():
    values = np.random.default_rng(0).normal(50, 9, (3, 1, 500)).astype(np.float32)
    channel = measure(inspection(*(facts(str(n), v) for n, v in enumerate(values)))).channels[0]
    wanted = values.astype(np.float64)
    assert channel.mean == pytest.approx(wanted.mean())
    assert channel.std == pytest.approx(wanted.std())
    low, median, high = np.percentile(wanted, [0.5, 50, 99.5])
    assert (channel.low, channel.median, channel.high) == pytest.approx((low, median, high))


def test_no_foreground_at_all_falls_back_to_the_range():
    channel = measure(inspection(facts("a", np.empty((1, 0))))).channels[0]
    assert (channel.count, channel.mean, channel.std) == (0, 0.0, 1.0)
    assert (channel.low, channel.median, channel.high) == (0.0, 100.0, 200.0)


def test_a_grey_picture_among_coloured_ones():
    colour = facts(
        "a", [[1], [2], [3]], channels=3, minima=(0.0,) * 3, maxima=(9.0,) * 3, integer=(True, False, True)
    )
    found = measure(inspection(colour, facts("b", [[5]]), channels=("red", "green", "blue")))
    assert [channel.mean for channel in found.channels] == [3.0, 3.5, 4.0]
    assert [channel.integer for channel in found.channels] == [True, False, True]


def test_nothing_to_measure_is_an_error():
    with pytest.raises(DataError, match="expected at least 1 case to measure, got 0"):
        measure(inspection())
    with pytest.raises(DataError, match="the data set is refused"):
        measure(inspection(data=False))


@settings(deadline=None, max_examples=30)
@given(
    values=arrays.arrays(np.float64, st.integers(2, 40), elements=st.floats(-1e3, 1e3)),
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=4),
)
def test_equal_weights_are_numpys_quantiles(values, shares):
    ours = weighted_quantiles(values, np.full(values.size, 0.3), shares)
    assert ours == pytest.approx(np.quantile(values, shares), abs=1e-6)


def test_a_whole_weight_counts_like_copies():
    values, weights = np.array([1.0, 5.0, 9.0]), np.array([1.0, 98.0, 1.0])
    assert weighted_quantiles(values, weights, [0.5])[0] == 5.0
    assert weighted_quantiles(np.array([4.0]), np.ones(1), [0.1, 0.9]).tolist() == [4.0, 4.0]


def test_thickness_and_elongation_are_medians_over_the_cases_that_have_the_class():
    found = measure(
        inspection(
            facts("a", [[1]], object_sizes={255: (90,)}, thickness={255: 3.0}),
            facts("b", [[1]], object_sizes={255: (40, 60)}, thickness={255: 2.0}),
            facts("c", [[1]], object_sizes={}),
        )
    )
    assert found.thickness == (2.5,)
    assert found.elongation == ((90 / 9 + 50 / 4) / 2,)
