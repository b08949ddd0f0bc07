"""The student's plan, and a student that is trained under a teacher."""

from __future__ import annotations

import json

import pytest

from unetkit.errors import UsageError
from unetkit.networks.store import load_model, read_plan
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.records.progress import Quiet
from unetkit.workflows.distilling import Distilling, student_plan
from unetkit.workflows.stages import Chain
from unetkit.workflows.teaching import read_teachers

TEACHER = Plan.model_validate(
    {
        **EXAMPLE,
        "training": {
            **EXAMPLE["training"],
            "fold": 2,
            "seed": 7,
            "pretrained": "imagenet",
            "freeze_blocks": 1,
        },
        "inference": {**EXAMPLE["inference"], "minimum_pixels": [30], "largest_only": [True]},
        "reasons": {"network.widths": "wide", "training.seed": "mine"},
    }
)


def test_a_named_student_takes_everything_but_the_network_from_its_teacher():
    plan = student_plan(TEACHER, "mednext_s")
    assert plan.network.encoder == "convnext"
    assert plan.training.patch_size == (32, 32)  # its stride is 16
    assert (plan.data, plan.preparation) == (TEACHER.data, TEACHER.preparation)
    assert (plan.training.fold, plan.training.seed) == (2, 7)
    assert (plan.training.pretrained, plan.training.freeze_blocks) == ("none", 0)
    assert (plan.inference.minimum_pixels, plan.inference.largest_only) == ((), ())  # fitted anew
    assert plan.objective.losses == TEACHER.objective.losses
    assert [term.name for term in plan.objective.wrappers] == ["distill"]
    assert "network.widths" not in plan.reasons
    assert plan.reasons["training.seed"] == "mine"
    assert "'mednext_s' was asked for" in plan.reasons["network"]


def test_parts_are_put_into_the_teachers_network_and_patches_grow_to_the_stride():
    plan = student_plan(TEACHER, "residual+attention")
    assert (plan.network.encoder, plan.network.fusion) == ("residual", "attention")
    assert plan.network.widths == TEACHER.network.widths
    small = TEACHER.with_values({"training.patch_size": "[20,20]", "inference.tile_size": "[40,24]"})
    grown = student_plan(small, "unet_2015")
    assert grown.training.patch_size == (32, 32)
    assert grown.inference.tile_size == (48, 32)


def test_a_planned_student_has_its_own_training_on_the_teachers_pixels_and_cases(tmp_path):
    changes = {"network.widths": "[4,4]", "training.learning_rate": "0.5", "training.fold": "1"}
    other = TEACHER.with_values({**changes, "preparation.order_image": "1"})
    path = tmp_path / "student.json"
    path.write_text(other.to_json())
    plan = student_plan(TEACHER, path)
    assert plan.network.widths == (4, 4)
    assert plan.training.learning_rate == 0.5
    assert plan.training.fold == 2
    assert plan.preparation == TEACHER.preparation
    asked = Distilling(str(path)).asked
    path.write_text(other.with_values({"training.learning_rate": "0.1"}).to_json())
    assert Distilling(str(path)).asked != asked  # another file under the same name is another student


def test_students_that_cannot_be():
    with pytest.raises(UsageError, match=r"there is no network 'mobil'.*use 'mobile'"):
        student_plan(TEACHER, "mobil")
    with pytest.raises(UsageError, match="this plan does not exist"):
        student_plan(TEACHER, "none.json")


def test_a_plan_for_other_data_is_refused(tmp_path):
    path = tmp_path / "student.json"
    path.write_text(TEACHER.with_values({"data.classes": '["background","hole"]'}).to_json())
    with pytest.raises(
        UsageError, match=r"other classes than the model: expected \('background', 'defect'\)"
    ):
        student_plan(TEACHER, path)


def test_a_student_is_trained_under_its_teacher_and_read_again(finished, wafers, tmp_path):
    place, told = finished / "model", []

    class Watch(Quiet):
        def say(self, text):
            told.append(text)

    chain = Chain(place, wafers, tmp_path / "work", Watch(), (place,), changes={"training.steps": "2"})
    stage = Distilling("residual")
    assert stage.words == "taught to residual"
    run = stage.work(chain, place)
    network, plan = load_model(run.run.model)
    assert network.plan == plan.network == student_plan(read_plan(place), "residual").network
    file = read_teachers(run.run)
    assert [teacher.source for teacher in file.teachers] == [str(place)]
    assert file.unlabelled == {}
    steps = list(run.run.events("step"))
    assert any("distill" in json.dumps(event) for event in steps)
    assert any("the student is no smaller than its teacher" in text for text in told)
    assert stage.work(chain, place).scores == run.scores  # nothing is trained twice
    assert not (run.folder / "cache").exists()
    assert (tmp_path / "work" / "cache").is_dir()
