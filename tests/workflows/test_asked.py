import pytest

from unetkit.errors import UsageError
from unetkit.records.plan import EXAMPLE, DataPlan, Plan
from unetkit.workflows.asked import (
    asked_data,
    asked_spacing,
    changed_given,
    given_plan,
    resumed_plan,
    wanted_split,
)
from unetkit.workflows.train import Wishes


def plan_of(**training):
    return Plan.model_validate({**EXAMPLE, "training": {**EXAMPLE["training"], **training}})


def test_minutes_and_memory_count_beside_a_given_plan():
    given = plan_of(steps=500, memory_gb=8.0)
    made = changed_given(given, Wishes(plan=given, minutes=10.0, memory_gb=2.0)).training
    assert (made.minutes, made.steps, made.memory_gb) == (10.0, 0, 2.0)
    made = changed_given(given, Wishes(minutes=10.0, changes={"training.steps": "7"})).training
    assert (made.minutes, made.steps, made.memory_gb) == (10.0, 7, 8.0)
    assert changed_given(given, Wishes()) == given


def test_a_wrong_key_shows_with_a_given_plan_too():
    for plan in (None, plan_of()):
        with pytest.raises(UsageError, match=r"use 'training\.steps'"):
            given_plan(Wishes(plan=plan, changes={"training.stepz": "3"}))
        with pytest.raises(UsageError, match=r"training\.steps"):
            given_plan(Wishes(plan=plan, changes={"training.steps": "many"}))


def test_the_ends_of_an_exported_network_are_none_of_a_training():
    for key, value in (("network_input", "uint8"), ("network_output", "classes")):
        odd = plan_of().with_values({f"inference.{key}": value})
        for wishes in (Wishes(plan=odd), Wishes(changes={f"inference.{key}": value})):
            with pytest.raises(UsageError, match="are those of an exported network") as refused:
                given_plan(wishes)
            assert "unet export" in refused.value.cure


def test_the_split_is_the_one_asked_for_however_it_is_asked():
    def split(given=None, **said):
        wanted = wanted_split(Wishes(**said), given)
        return wanted.fold, wanted.folds, wanted.seed

    assert split() == (0, 5, 0)
    assert split(fold=(2, 3), seed=4) == (2, 3, 4)
    assert split(changes={"training.fold": "1", "training.seed": "9"}) == (1, 5, 9)
    assert split(plan_of(fold=3, folds=4, seed=8)) == (3, 4, 8)
    assert split(plan_of(fold=3, folds=4, seed=8), fold=(0, 2)) == (0, 2, 8)


def test_a_resumed_run_may_be_given_other_training_values_with_the_reason():
    own = plan_of(steps=100, minutes=5.0)
    changes = {"training.steps": "200", "training.learning_rate": "0.01"}
    made = resumed_plan(own, Wishes(changes=changes), where="r")
    assert (made.training.steps, made.training.learning_rate) == (200, 0.01)
    assert "resumed" in made.reasons["training.steps"]
    made = resumed_plan(own, Wishes(minutes=9.0), where="r")
    assert (made.training.steps, made.training.minutes) == (0, 9.0)


def test_the_command_that_started_a_run_resumes_it_unchanged():
    given = plan_of(steps=100)
    said = {
        "minutes": 5.0,
        "memory_gb": 2.0,
        "fold": (1, 3),
        "seed": 7,
        "changes": {"network.dropout": "0.1"},
    }
    own = changed_given(given, Wishes(plan=given, **said))
    assert resumed_plan(own, Wishes(plan=given, resume=True, **said), where="r") == own
    smaller = own.with_values({"training.batch_size": "1"}, reason="did not fit")
    assert resumed_plan(smaller, Wishes(plan=given, **said), where="r") == smaller
    longer = resumed_plan(own, Wishes(changes={"training.steps": "900"}), where="r")
    assert resumed_plan(longer, Wishes(plan=given, **said), where="r") == longer


@pytest.mark.parametrize(
    "said",
    [
        {"fold": (1, 5)},
        {"fold": (0, 3)},
        {"seed": 1},
        {"memory_gb": 1.0},
        {"changes": {"network.widths": "[4,8]"}},
        {"changes": {"training.seed": "1"}},
        {"changes": {"training.optimizer": "sgd"}},
        {"plan": plan_of(learning_rate=0.5)},
    ],
)
def test_what_would_make_it_another_run_is_refused(said):
    with pytest.raises(UsageError, match=r"^r: a resumed run keeps its own plan.*--minutes and --set"):
        resumed_plan(plan_of(), Wishes(resume=True, **said), where="r")


def test_slices_are_known_to_the_planner_before_it_plans():
    seen = DataPlan(rank=3, channels=("CT",), classes=("no", "yes"), label_values=(0, 1))
    asked = asked_data(seen, Wishes(changes={"data.slice_axis": "1", "data.context_slices": "2"}))
    assert asked == seen.model_copy(update={"slice_axis": 1, "context_slices": 2})
    assert asked_data(seen, Wishes(changes={"data.channels": '["MR"]', "training.steps": "3"})) == seen
    with pytest.raises(UsageError, match=r"'data\.slice_axis'"):
        asked_data(seen, Wishes(changes={"data.slice_axis": "7"}))


def test_a_spacing_and_a_stage_that_are_asked_for_are_planned_for():
    seen = plan_of().data

    def spacing(text):
        return asked_spacing(seen, Wishes(changes={"preparation.spacing_mm": text}))

    assert spacing("[3, 1.5]") == (3.0, 1.5)
    assert spacing("[]") == spacing("[0, 2]") == asked_spacing(seen, Wishes()) == ()
    for odd in ("[1]", "[1, -1]"):
        with pytest.raises(UsageError, match=r"preparation\.spacing_mm is \[.*\], the images have 2 axes"):
            spacing(odd)
    assert asked_data(seen, Wishes(changes={"data.cascade": "low"})).cascade == "low"
    assert asked_data(seen, Wishes(previous="first")).cascade == "full"
