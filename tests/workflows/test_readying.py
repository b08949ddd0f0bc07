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


class Told(Quiet):
    """Keeps what is said."""

    def __init__(self):
        self.said: list[str] = []

    def say(self, text):
        self.said.append(text)


def test_the_fold_that_is_set_is_the_fold_that_is_held_out(wafers, tiny):
    wanted = look(wafers, Wishes(fold=(1, 3), changes=tiny), progress=Quiet())
    changes = {**tiny, "training.fold": "1", "training.folds": "3"}
    assert look(wafers, Wishes(changes=changes), progress=Quiet()).split == wanted.split


def test_a_plan_made_for_another_fold_is_said_to_be_one(wafers, tiny):
    plan = look(wafers, Wishes(fold=(0, 3), changes=tiny), progress=Quiet()).plan
    same, other = Told(), Told()
    look(wafers, Wishes(plan=plan, fold=(0, 3)), progress=same)
    assert not any("the plan was made for" in text for text in same.said)
    look(wafers, Wishes(plan=plan, fold=(1, 3)), progress=other)
    said = [text for text in other.said if "the plan was made for fold 0/3" in text]
    assert len(said) == 1
    assert said[0].startswith("warning: ")
    assert "unet plan DATA --fold 1/3 --seed 0" in said[0]


def test_slices_are_planned_for_the_plane(volumes, tiny):
    changes = {**tiny, "data.slice_axis": "0", "data.context_slices": "1"}
    seen = look(volumes, Wishes(fold=(0, 3), changes=changes), progress=Quiet())
    plan = seen.plan
    assert (plan.data.rank, plan.data.input_rank, plan.data.input_channels) == (3, 2, 3)
    assert len(plan.training.patch_size) == len(plan.inference.mirror_axes) == 2
    assert plan.preparation.spacing_mm == (0.0, 1.0, 1.0)
    again = look(volumes, Wishes(plan=plan, fold=(0, 3)), progress=Quiet())
    assert again.plan == plan
    told = Told()
    named = look(volumes, Wishes(network="unet_2015", fold=(0, 3), changes=changes), progress=told)
    assert not any("planned anew" in text for text in told.said)
    assert named.plan.network.fusion == "concat"
