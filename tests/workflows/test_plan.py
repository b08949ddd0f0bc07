import pytest

from unetkit.errors import DataError, UsageError
from unetkit.planning import memory, rate, rules
from unetkit.planning.cost import Cost
from unetkit.records.plan import Plan
from unetkit.records.progress import Quiet
from unetkit.workflows.plan import decide, plan
from unetkit.workflows.readying import look
from unetkit.workflows.train import Wishes


def test_a_plan_is_made_changed_and_written(wafers, tmp_path):
    result = plan(wafers, minutes=2, changes={"training.steps": "9"}, device="cpu", out=tmp_path / "p.json")
    assert result.plan.training.steps == 9
    assert result.plan.reasons["training.steps"] == "set by hand"
    assert result.fingerprint.rank == result.plan.data.rank == 2
    written = Plan.from_json((tmp_path / "p.json").read_bytes(), where="p.json")
    assert written == result.plan


def test_memory_is_counted_and_no_step_is_made(wafers, tiny, monkeypatch):
    monkeypatch.setattr(memory, "try_step", lambda *_: pytest.fail("a step was made"))
    wide = {**tiny, "network.widths": "[32,64]", "training.batch_size": "400"}
    made = plan(wafers, changes=wide, memory_gb=0.25).plan
    assert 2 <= made.training.batch_size < 400
    assert memory.step_bytes(made) <= 0.25e9
    assert made.training.memory_gb == 0.25
    assert "400 did not fit" in made.reasons["training.batch_size"]
    assert "Training makes one real step first" in made.reasons["training.memory_gb"]


def test_a_plan_knows_nothing_of_the_cases_that_train_holds_out(wafers, tiny):
    for asked in ({}, {"fold": (1, 3), "seed": 4}):
        seen = look(wafers, Wishes(changes=tiny, **asked), progress=Quiet())
        made = plan(wafers, changes=tiny, **asked)
        assert made.fingerprint == seen.fingerprint
        assert set(made.fingerprint.cases) == set(seen.split.train)
        assert not set(made.fingerprint.cases) & set(seen.split.held_out)
        used = look(wafers, Wishes(plan=made.plan), progress=Quiet())
        assert used.split == seen.split


def test_the_device_that_was_asked_for_is_the_one_planned_for(wafers, monkeypatch):
    seen = plan(wafers, device="cpu")
    asked = []
    monkeypatch.setattr(rate, "measure_rate", lambda device, rank: Cost(gflops=50.0, device="cuda"))
    monkeypatch.setattr(rules, "plan", lambda *_, **said: asked.append(said["device"]))
    decide(seen.fingerprint, seen.plan.data, minutes=0, memory_gb=0, device="cuda:1")
    assert asked == ["cuda:1"]


def test_wrong_keys_and_bad_data_are_refused(wafers, tmp_path):
    with pytest.raises(UsageError, match=r"use 'network\.widths'"):
        plan(wafers, changes={"network.width": "3"})
    with pytest.raises(UsageError, match="plan has no setting 'resume'"):
        plan(wafers, resume=True)
    with pytest.raises(DataError):
        plan(tmp_path)
