from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from unetkit.errors import UsageError
from unetkit.inference.predict import Predictor
from unetkit.records.case import Case
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.workflows import refinement
from unetkit.workflows.refinement import gain_on_cases, gain_over_folds, tried


class Noisy:
    """Knows bright pixels but for a salt of wrong ones: what a random field is made for."""

    notes = ()

    def run(self, batch):
        right = np.where(batch > 0, 1.5, -1.5)
        salt = np.random.default_rng(0).random(batch.shape[2:]) < 0.08
        return np.concatenate([0 * batch, np.where(salt, -right, right).astype(np.float32)], axis=1)


class Certain(Noisy):
    """Is right already, also about a line one pixel wide that the image hardly shows."""

    def run(self, batch):
        logits = np.where(batch > 0, 9.0, -9.0)
        logits[:, :, 2] = 0.4
        return np.concatenate([0 * batch, logits.astype(np.float32)], axis=1)


@pytest.fixture
def cases(tmp_path):
    rows = []
    for number in range(4):
        mask = np.zeros((24, 24), np.uint8)
        mask[6 : 16 + number, 6:18] = 1
        for name, array in (("image", 50 + 150 * mask), ("label", mask)):
            Image.fromarray(array.astype(np.uint8)).save(tmp_path / f"{name}{number}.png")
        path = tmp_path / f"image{number}.png"
        rows.append(
            Case(id=f"c{number}", images=(path,), label=tmp_path / f"label{number}.png", group=f"g{number}")
        )
    return rows


def model(runtime):
    values = {
        "data.label_values": "[0,1]",
        "inference.tile_size": "[24,24]",
        "inference.overlap_fraction": "0",
    }
    plan = Plan.model_validate(EXAMPLE).with_values(values)
    predictor = Predictor(runtime, plan.data, plan.preparation, plan.inference)
    return SimpleNamespace(plan=plan, predictor=predictor, sole=predictor, classes=plan.data.classes)


def test_a_gain_is_accepted_with_the_values_to_set(cases):
    found = gain_on_cases(model(Noisy()), cases)
    assert found.accepted
    assert found.before["defect"] < 0.9 < 0.97 < found.after["defect"]
    assert found.gain.mean == pytest.approx(found.after["defect"] - found.before["defect"])
    assert found.gain.cases == 4
    assert found.gain.low is not None
    assert found.gain.low > 0
    assert found.values == {"inference.crf_steps": "5"}


def test_a_loss_is_not(cases):
    for number, case in enumerate(cases):
        mask = np.asarray(Image.open(case.label)).copy()
        mask[2] = 1
        Image.fromarray(mask).save(case.label)
        assert mask.shape == (24, 24), number
    found = gain_on_cases(model(Certain()), cases, changes={"inference.crf_smoothness_weight": "3"})
    assert not found.accepted
    assert found.before["defect"] == 1
    assert found.after["defect"] < 1
    assert found.values == {}


def test_without_steps_worth_taking_nothing_changes_and_nothing_is_accepted(cases):
    found = gain_on_cases(model(Noisy()), cases, changes={"inference.crf_steps": "0"})
    assert found.before == found.after
    assert (found.gain.mean, found.accepted) == (0, False)


def test_other_values_and_no_case_are_refused(cases):
    with pytest.raises(UsageError, match=r"'training\.steps' is no value of a refinement"):
        gain_on_cases(model(Noisy()), cases, changes={"training.steps": "3"})
    with pytest.raises(UsageError, match="there is no case to measure on"):
        gain_on_cases(model(Noisy()), [])


def test_over_folds_every_case_is_asked_of_what_has_not_seen_it(cases, monkeypatch, tmp_path):
    """As measured by one model on all cases: every fold's network is the same one here."""
    asked = []

    def average(members, plan, place, *, device):
        one = model(Noisy())
        predictor = Predictor(Noisy(), plan.data, plan.preparation, plan.inference)
        asked.append((members, plan.inference.crf_steps))
        return SimpleNamespace(plan=plan, predictor=predictor, classes=one.classes)

    monkeypatch.setattr(refinement, "load_average", average)
    plan = model(Noisy()).plan
    folds = [([tmp_path / "a"], cases[:2]), ([tmp_path / "b"], cases[2:])]
    found = gain_over_folds(folds, plan, changes={"inference.crf_steps": "5"})
    assert found == gain_on_cases(model(Noisy()), cases)
    assert asked == [([tmp_path / name], steps) for name in "ab" for steps in (0, 5)]
    with pytest.raises(UsageError, match=r"'training\.steps' is no value of a refinement"):
        gain_over_folds(folds, plan, changes={"training.steps": "5"})
    with pytest.raises(UsageError, match="there is no case to measure on"):
        gain_over_folds([([tmp_path], [])], plan, changes={})


def test_a_guided_filter_is_measured_alone(cases):
    changes = {"inference.guided_radius": "2", "inference.guided_epsilon": "0.01"}
    found = gain_on_cases(model(Noisy()), cases, changes=changes)
    assert found.accepted
    assert found.values == changes  # no random field beside it
    assert found.gain.mean > 0.02
    asked = tried(model(Noisy()).plan.with_values({"inference.crf_steps": "3"}), changes)
    assert asked == changes
    with pytest.raises(UsageError, match=r"give values such as inference\.crf_steps or inference\.guided_"):
        tried(model(Noisy()).plan, {**changes, "training.steps": "5"})


def test_a_speck_on_an_empty_image_that_goes_is_a_gain_and_one_that_comes_is_a_loss():
    speck, clean = {"a": {"x": 0.0}, "b": {"x": 0.5}}, {"a": {}, "b": {"x": 0.5}}
    groups = {"a": "a", "b": "b"}
    gain = refinement._gain((speck, clean), groups, ["x"], {"inference.crf_steps": "5"})
    assert (gain.gain.mean, gain.gain.cases, gain.accepted) == (0.5, 2, True)
    assert (gain.before, gain.after) == ({"x": 0.25}, {"x": 0.75})
    loss = refinement._gain((clean, speck), groups, ["x"], {"inference.crf_steps": "5"})
    assert (loss.gain.mean, loss.accepted, loss.values) == (-0.5, False, {})
