import pytest

from unetkit.errors import UsageError
from unetkit.records.plan import Plan
from unetkit.records.progress import Quiet
from unetkit.workflows.readying import look, step_gigabytes
from unetkit.workflows.train import Wishes


def test_only_training_cases_are_measured(wafers, tiny):
    seen = look(wafers, Wishes(fold=(0, 3), changes=tiny), progress=Quiet())
    assert set(seen.fingerprint.cases) == set(seen.split.train)
    assert not set(seen.split.train) & set(seen.split.held_out)
    assert [case.id for case in seen.cases(seen.split.held_out)] == list(seen.split.held_out)
    assert seen.plan.training.folds == 3
    assert set(seen.digests) == set(seen.split.train) | set(seen.split.held_out)
    assert 0 < step_gigabytes(seen.plan) < 2


def test_a_given_plan_is_taken_as_it_is(wafers, volumes, tiny, finished, tmp_path):
    plan = Plan.from_json((finished / "plan.json").read_bytes(), where="plan.json")
    seen = look(wafers, Wishes(plan=plan, minutes=2.0, seed=5), progress=Quiet())
    assert seen.plan.training.minutes == 2.0
    assert seen.plan.training.seed == 5
    assert seen.plan.training.fold == plan.training.fold
    assert seen.plan.network == plan.network
    with pytest.raises(UsageError, match="the plan is for 2 axes, the data has 3"):
        look(volumes, Wishes(plan=plan), progress=Quiet())
    with pytest.raises(UsageError, match="this plan does not exist"):
        look(wafers, Wishes(plan=tmp_path / "p.json"), progress=Quiet())
