"""Every model on the way is scored on the same cases, and timed with the others."""

from __future__ import annotations

import pytest

from unetkit.errors import DataError
from unetkit.networks.store import read_plan
from unetkit.planning.count import count_tile, living_bytes
from unetkit.records.progress import Quiet
from unetkit.records.scores import Scores
from unetkit.workflows.before_after import before_and_after, size_of
from unetkit.workflows.pruning import Pruning
from unetkit.workflows.stages import Chain


def test_steps_are_the_models_in_the_order_in_which_they_were_made(finished, wafers, tmp_path):
    place = finished / "model"
    chain = Chain(place, wafers, tmp_path, Quiet(), changes={"training.steps": "1"})
    chain.train("taught", read_plan(place))
    last = Pruning(0.5).work(chain, place)
    asked = {"folder": tmp_path / "out", "stages": ("a", "b"), "asked": {"minutes": 0.0}}
    found, _ = before_and_after(chain, last, max_loss=100.0, **asked)
    assert [step.name for step in found.steps] == ["before", "taught", "round 1"]
    assert (found.before, found.after) == (found.steps[0].size, found.steps[-1].size)
    assert found.steps[0].loss == pytest.approx(0.0)
    kept = Scores.from_json((place / "scores.json").read_bytes(), where="")
    if kept.summary["mean"]["dice"].mean is not None:
        assert found.steps[0].dice == pytest.approx(kept.summary["mean"]["dice"].mean)
    assert all(step.size.seconds_per_tile > 0 for step in found.steps)
    assert found.steps[-1].size.weights_bytes == (last.run.model / "weights.safetensors").stat().st_size


def test_sizes_are_those_the_planner_counts(finished):
    plan = read_plan(finished / "model")
    wanted = count_tile(plan)
    found = size_of(plan, 7, seconds=0.5)
    assert (found.parameters, found.multiply_adds) == (wanted.parameters, wanted.multiply_adds)
    assert (found.weights_bytes, found.seconds_per_tile) == (7, 0.5)
    assert found.memory_bytes == living_bytes(plan) > 4 * wanted.parameters
    eight_bits = plan.network.model_copy(update={"quantization": "int8"})
    assert size_of(plan.model_copy(update={"network": eight_bits}), 7).memory_bytes is None


def test_nothing_held_out_tells_nothing(finished, wafers, tmp_path):
    from dataclasses import replace

    chain = Chain(finished / "model", wafers, tmp_path, Quiet(), changes={"training.steps": "1"})
    last = replace(chain.train("taught", read_plan(finished / "model")), scores=None)
    asked = {"folder": tmp_path, "stages": (), "asked": {}, "max_loss": 1.0}
    with pytest.raises(DataError, match="no case is held out, so that nothing tells what was lost"):
        before_and_after(chain, last, **asked)
