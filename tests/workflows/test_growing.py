"""Which data a model can go on with, what it grows by, and on which classes it is measured."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from unetkit.errors import DataError, UsageError
from unetkit.inference.predict import Predictor
from unetkit.records.plan import EXAMPLE, DataPlan, Plan
from unetkit.workflows.growing import grown, joined, lacks_names, measured_on, named_ids, refuse_other
from unetkit.workflows.model import Model
from unetkit.workflows.update import planned

MODEL = DataPlan(
    rank=2, channels=("red", "green"), classes=("background", "scratch", "dent"), label_values=(0, 255, 7)
)


def like(**change) -> DataPlan:
    return MODEL.model_copy(update=change)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"channels": ("red",)}, r"the model takes 2 channels \(red, green\), this data has 1 \(red\)"),
        ({"channels": ("green", "red")}, "the model takes 2 channels"),
        (
            {"classes": ("background", "hole", "dent")},
            "label value 255 is 'scratch' to the model and 'hole' in this data",
        ),
        (
            {"label_values": (0, 1, 7)},
            "label value 1 is 'scratch' in this data and not 'scratch', which has another value to the model",
        ),
        ({"ignore_value": 9}, "this data ignores the label value 9, the model None"),
    ],
)
def test_data_of_another_kind_is_refused(change, told, tmp_path):
    for refuse in (joined, refuse_other):
        with pytest.raises(DataError, match=told) as wrong:
            refuse(MODEL, like(**change), where=tmp_path)
        assert wrong.value.where == str(tmp_path)
        assert wrong.value.cure


def test_the_value_that_is_ignored_is_no_new_class(tmp_path):
    seen = like(classes=("background", "hole"), label_values=(0, 9))
    with pytest.raises(DataError, match="label value 9 is 'hole' in this data and not labelled to the model"):
        joined(like(ignore_value=9), seen, where=tmp_path)


def test_data_with_fewer_classes_or_other_names_of_channels_changes_nothing(tmp_path):
    fewer = like(classes=("background", "dent"), label_values=(0, 7))
    renamed = like(channels=("channel 0", "channel 1"))
    for seen in (MODEL, fewer, renamed):
        assert joined(MODEL, seen, where=tmp_path) == MODEL
        refuse_other(MODEL, seen, where=tmp_path)
    assert named_ids(MODEL, fewer) == {2}
    assert lacks_names([named_ids(MODEL, fewer)], MODEL)
    assert not lacks_names([named_ids(MODEL, MODEL), frozenset()], MODEL)


def test_new_classes_come_behind_the_old_ones(tmp_path):
    seen = like(classes=("background", "stain", "dent"), label_values=(0, 3, 7))
    found = joined(MODEL, seen, where=tmp_path)
    assert found.classes == ("background", "scratch", "dent", "stain")
    assert found.label_values == (0, 255, 7, 3)
    assert named_ids(found, seen) == {2, 3}
    with pytest.raises(
        DataError, match=r"knows the label values 0, 255, 7, this data also has 3 \('stain'\)"
    ):
        refuse_other(MODEL, seen, where=tmp_path)


def plan_with(**inference) -> Plan:
    own = Plan.model_validate(EXAMPLE)
    return own.model_copy(update={"inference": own.inference.model_copy(update=inference)})


def test_a_plan_grows_by_what_the_data_brings():
    own = plan_with(minimum_pixels=(4,), largest_only=(True,), screen_thresholds=(0.3,), fit_cases=0)
    own = own.with_values({"augmentation.mixup": "0.5"})
    more = own.data.model_copy(update={"classes": ("background", "defect", "b"), "label_values": (0, 255, 1)})
    found = grown(planned(own, "replay"), more, "replay")
    assert found.data == more
    assert [term.name for term in found.objective.wrappers] == ["unbiased", "replay"]
    assert found.inference.minimum_pixels == (4, 0)
    assert found.inference.largest_only == (True, False)
    assert found.inference.screen_thresholds == (0.3, 0.0)
    assert found.augmentation.mixup == 0
    assert found.reasons["data.classes"] == "The new data brings b."
    assert grown(planned(own, "finetune"), more, "finetune").objective.wrappers == ()
    same = grown(planned(own, "replay"), own.data, "replay")
    assert same.data == own.data
    assert [term.name for term in same.objective.wrappers] == ["unbiased", "replay"]
    with pytest.raises(UsageError, match=r"'interpolate' needs two models of the same classes.*brings b"):
        grown(planned(own, "interpolate"), more, "interpolate")


class Logits:
    """Answers with fixed logits per pixel value."""

    notes = ("a note",)
    table = np.array([[0.0, 1.0, 2.0], [3.0, -1.0, 2.9], [0.0, 2.0, -9.0]], np.float32)

    def run(self, batch):
        return np.moveaxis(self.table[batch[:, 0].astype(int)], -1, 1)


def test_a_model_is_measured_on_fewer_and_on_more_classes():
    plan = plan_with(minimum_pixels=(0, 0), screen_thresholds=(0.1, 0.2), tile_size=(1, 3))
    plan = plan.with_values({"preparation.normalization": '[{"scheme": "none"}]'})
    names = ("background", "defect", "b", "c")
    few, own, many = (
        plan.data.model_copy(update={"classes": names[:n], "label_values": (0, 255, 1, 2)[:n]})
        for n in (2, 3, 4)
    )
    plan = plan.model_copy(update={"data": own})
    runtime = Logits()
    model = Model(SimpleNamespace(), plan, Predictor(runtime, own, plan.preparation, plan.inference), "cpu")
    pixels = np.array([[0, 1, 2]], np.uint8)
    assert model.predict(pixels).labels.tolist() == [[2, 0, 1]]
    wide = measured_on(model, many)
    assert wide.classes == names
    assert wide.predict(pixels).labels.tolist() == [[2, 0, 1]]
    narrow = measured_on(model, few)
    found = narrow.predict(pixels, probabilities=True)
    assert narrow.classes == names[:2]
    assert narrow.plan.inference.screen_thresholds == (0.1,)
    assert found.labels.tolist() == [[0, 0, 1]]
    wanted = softmax(Logits.table.astype(float), axis=1)
    np.testing.assert_allclose(found.probabilities[1, 0], wanted[:, 1], atol=1e-6)
    np.testing.assert_allclose(found.probabilities[0, 0], wanted[:, [0, 2]].sum(1), atol=1e-6)
    row = narrow.predictor.runtime.run(np.zeros((1, 1, 1, 1), np.float32))[0, :, 0, 0]
    assert row[0] == pytest.approx(logsumexp([0.0, 2.0]))
    assert narrow.predictor.runtime.notes == ["a note"]
