"""Thresholds of a first look: their recall is kept, their cost is told, trained cases have no say."""

import json
import math

import numpy as np
import pytest
from scipy.stats import binom

from unetkit.errors import UsageError
from unetkit.records.case import Case
from unetkit.records.plan import Plan
from unetkit.workflows.model import load
from unetkit.workflows.predict import predict
from unetkit.workflows.screen import _Looked, _thresholds, at_least, screen


def looked(scores, present):
    scores, present = np.array(scores, np.float32).reshape(-1, 1), np.array(present).reshape(-1, 1)
    return _Looked(Case("a", (), None, "a"), 0, [], scores, present)


def test_a_threshold_is_the_highest_that_lets_the_share_through():
    rng = np.random.default_rng(0)
    scores, present = rng.random(400), rng.random(400) < 0.5
    for recall in (1.0, 0.99, 0.9, 0.5, 0.01):
        (found,) = _thresholds(
            [looked(scores[:150], present[:150]), looked(scores[150:], present[150:])], recall
        )
        own = np.sort(scores[present].astype(np.float32))
        assert (own >= np.float32(found)).mean() >= recall
        higher = own[own > found + 2e-6].min()
        assert (own > higher).mean() < recall
        assert found == float(f"{found:g}")
    assert _thresholds([looked(scores, np.zeros(400, bool))], 0.9) == [0.0]


def test_the_bound_is_that_of_clopper_and_pearson():
    for hits, count in ((1, 10), (9, 10), (97, 100)):
        assert binom.sf(hits - 1, count, at_least(hits, count)) == pytest.approx(0.05)
    assert at_least(10, 10) == pytest.approx(0.05 ** (1 / 10))
    assert at_least(0, 5) == 0.0


def test_held_out_cases_alone_have_a_say_and_the_values_work(finished, wafers, tmp_path):
    result = screen(finished, wafers, recall=0.9, factor=2)
    split = json.loads((finished / "split.json").read_text())
    assert (result.cases, result.split) == (len(split["held_out"]), "held-out")
    assert set(result.classes) == set(load(finished).classes[1:])
    assert 0 <= result.computed <= 1
    assert result.cost == pytest.approx(result.computed + 0.25)
    for row in result.classes.values():
        assert (row.found is None) == (row.tiles == 0)
        if row.found is not None:
            assert row.at_least < row.found or row.found == 0
            assert row.lost_pixels is not None
    model = load(finished).with_values(result.values)
    assert model.plan.inference.screen_factor == 2
    assert model.plan.inference.screen_thresholds == tuple(
        pytest.approx(row.threshold, rel=1e-5, abs=1e-9) for row in result.classes.values()
    )
    done = predict(finished, wafers / "images" / "wafer00-0.png", tmp_path, changes=result.values)
    assert not done.refused


def test_with_everything_let_through_nothing_is_lost(finished, wafers):
    result = screen(finished, wafers, recall=1.0, factor=2)
    if not result.apart:  # the thresholds are the lowest scores of these very tiles
        assert all(row.found in (None, 1.0) for row in result.classes.values())
        assert all(row.lost_pixels in (None, 0.0) for row in result.classes.values())
    assert math.isclose(result.recall, 1.0)


def test_what_cannot_be_measured_is_refused(finished, wafers, tmp_path):
    for words in ({"recall": 0.0}, {"recall": 1.2}, {"factor": 1}):
        with pytest.raises(
            UsageError, match="expected a recall above 0 and up to 1 and a factor of 2 or more"
        ):
            screen(finished, wafers, **words)
    split = json.loads((finished / "split.json").read_text())
    data = tmp_path / "data"
    for folder in ("images", "masks"):
        (data / folder).mkdir(parents=True)
        for id in split["train"]:
            (data / folder / f"{id}.png").write_bytes((wafers / folder / f"{id}.png").read_bytes())
    with pytest.raises(UsageError, match="the model was trained on every case"):
        screen(finished, data)


def test_thresholds_round_trip_through_a_plan(finished):
    plan: Plan = load(finished).plan
    changed = plan.with_values({"inference.screen_thresholds": "[1e-06,0.5,0.25]"})
    assert changed.inference.screen_thresholds == (1e-06, 0.5, 0.25)
