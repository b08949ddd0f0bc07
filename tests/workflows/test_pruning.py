"""A stage that cuts and trains: rounds, importance from images, and what a plan may not carry along."""

from __future__ import annotations

import pytest

from unetkit.compression.prune import narrowed
from unetkit.errors import UsageError
from unetkit.networks.store import load_model, read_plan, save_model
from unetkit.records.progress import Quiet
from unetkit.workflows.pruning import Pruning
from unetkit.workflows.stages import Chain


def test_what_is_asked_for_is_checked_at_once():
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(UsageError, match="above 0 and below 1 was expected"):
            Pruning(share)
    with pytest.raises(UsageError, match="1 round or more were expected, got 0"):
        Pruning(0.5, rounds=0)
    with pytest.raises(UsageError, match=r"there is no importance 'tailor'.*use 'taylor'"):
        Pruning(0.5, "tailor")
    stage = Pruning(0.25, "taylor", 3)
    assert stage.words == "25 % of the channels cut"
    assert stage.asked == {"share": 0.25, "importance": "taylor", "rounds": 3}
    assert stage.trainings == 3


def test_the_plan_is_that_of_the_work(finished, wafers, tmp_path):
    place = finished / "model"
    stage = Pruning(0.5, "taylor")
    chain = Chain(place, wafers, tmp_path, Quiet(), changes={"training.steps": "1"})
    run = stage.work(chain, place)
    plan = stage.planned(read_plan(place))
    assert read_plan(run.run.model).network == plan.network == narrowed(load_model(place)[0], 0.5)
    assert "cut, the least by taylor" in run.plan.reasons["network.widths"]
    with pytest.raises(UsageError, match="nothing of this network can be cut by 1 %"):
        Pruning(0.01).planned(read_plan(place))


def test_rounds_that_change_no_width_are_not_trained(finished, wafers, tmp_path):
    place = finished / "model"
    chain = Chain(place, wafers, tmp_path, Quiet(), changes={"training.steps": "1"})
    Pruning(0.5, rounds=9).work(chain, place)
    starts = sorted(path.name for path in tmp_path.glob("start-*"))
    widths = [read_plan(tmp_path / name).network.widths for name in starts]
    assert 1 <= len(starts) < 9
    assert len(set(widths)) == len(widths)
    assert widths[-1] == (2, 4)


def test_what_an_update_has_wrapped_around_the_objective_is_left_behind(finished, wafers, tmp_path):
    network, plan = load_model(finished / "model")
    wrapped = plan.with_values({"objective.wrappers": '[{"name":"replay"},{"name":"distill"}]'})
    save_model(tmp_path / "model", network, wrapped)
    for teachers, left in (((), []), ((finished / "model",), ["distill"])):
        folder = tmp_path / f"work-{len(left)}"
        chain = Chain(tmp_path / "model", wafers, folder, Quiet(), teachers, changes={"training.steps": "1"})
        run = Pruning(0.5).work(chain, tmp_path / "model")
        assert [term.name for term in run.plan.objective.wrappers] == left
