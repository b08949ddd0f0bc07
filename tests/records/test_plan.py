"""The plan: closed, frozen, and able to name the key that was meant."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from unetkit.errors import UsageError
from unetkit.records.augmentation import AugmentationPlan
from unetkit.records.plan import EXAMPLE, LossTerm, Plan


@pytest.fixture
def plan() -> Plan:
    return Plan.model_validate(EXAMPLE)


def test_json_round_trip(plan):
    assert Plan.from_json(plan.to_json(), where="plan.json") == plan


def test_a_plan_is_frozen(plan):
    with pytest.raises(ValidationError):
        plan.training = None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training.stepz": "3"}, "no key 'training.stepz'. Do this: use 'training.steps'"),
        ({"trainin.steps": "3"}, "no key 'trainin.steps'. Do this: use 'training'"),
        ({"training.steps": "many"}, "'training.steps': Input should be a valid integer"),
        ({"training.steps.more": "1"}, "no key 'training.steps.more'"),
        ({"network.norm": "layer"}, "'network.norm'"),
    ],
)
def test_wrong_changes_are_answered(plan, changes, words):
    with pytest.raises(UsageError) as answer:
        plan.with_values(changes)
    assert words in str(answer.value)


def test_changes_are_typed_and_carry_their_reason(plan):
    changed = plan.with_values(
        {"training.steps": "7", "network.widths": "[4,8]", "network.encoder": "residual"}
    )
    assert (changed.training.steps, changed.network.widths, changed.network.encoder) == (
        7,
        (4, 8),
        "residual",
    )
    assert changed.reasons["training.steps"] == "set by hand"
    assert plan.training.steps == 0


def test_unknown_and_missing_keys_of_a_file_are_named():
    with pytest.raises(UsageError, match=r"x\.json: unknown key 'rnk'. Do this: use 'data'|key 'data'"):
        Plan.from_json('{"rnk": 2}', where="x.json")
    text = Plan.model_validate(EXAMPLE).to_json().replace('"encoder"', '"encodr"')
    with pytest.raises(UsageError, match=r"unknown key 'network.encodr'. Do this: use 'encoder'"):
        Plan.from_json(text, where="x.json")
    text = Plan.model_validate(EXAMPLE).to_json().replace('"weight": 1.0', '"weigth": 1.0', 1)
    with pytest.raises(UsageError, match=r"'objective.losses.0.weigth'. Do this: use 'weight'"):
        Plan.from_json(text, where="x.json")


def test_garbage_is_no_plan():
    with pytest.raises(UsageError, match=r"x\.json: not a valid record"):
        Plan.from_json("{", where="x.json")


def test_flat_names_every_leaf(plan):
    flat = plan.flat()
    assert flat["network.widths"] == (8, 16)
    assert flat["objective.losses"] == (LossTerm(name="dice"), LossTerm(name="cross_entropy"))
    assert not any(key.startswith("reasons") for key in flat)


def test_nothing_is_left_to_chance_in_a_still_augmentation():
    chances = re.findall(r"^\s+(\w+): Probability", AugmentationPlan.__doc__, flags=re.MULTILINE)
    assert {"rotation", "gamma", "copy_paste"} <= set(chances)
    lively = AugmentationPlan(flip_axes=(0, 1), **dict.fromkeys(chances, 0.5))
    assert [getattr(lively.still, name) for name in chances] == [0.0] * len(chances)
    assert lively.still.flip_axes == ()
    assert lively.still.gamma_range == lively.gamma_range
