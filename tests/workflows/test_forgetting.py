"""What is measured after an update: values by class, names of sets, and what no golden set may be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from unetkit.errors import DataError
from unetkit.metrics.score import summarise
from unetkit.networks.store import read_plan
from unetkit.records.progress import Quiet
from unetkit.records.scores import CaseScores
from unetkit.workflows.forgetting import class_values, golden_sets, score_golden
from unetkit.workflows.model import load


def test_the_mean_of_a_case_is_over_the_classes_it_has():
    rows = [
        CaseScores(id="a", group="a", values={"x": {"dice": 0.5}, "y": {"dice": None}}),
        CaseScores(id="b", group="b", values={"x": {"dice": 0.2}, "y": {"dice": 0.8}}),
        CaseScores(id="c", group="c", values={"x": {"dice": None}, "y": {"dice": None}}),
    ]
    scores = summarise(rows, classes=("x", "y"), metrics=("dice",), tolerance_mm=1.0, split="unknown")
    assert class_values(scores, "mean") == {"a": 0.5, "b": pytest.approx(0.5)}
    assert class_values(scores, "y") == {"b": 0.8}


def test_golden_sets_are_read_at_once_and_named_apart(finished, wafers, tmp_path):
    data = read_plan(finished / "model").data
    other = shutil.copytree(wafers, tmp_path / wafers.name)
    found = golden_sets([wafers, other], data, progress=Quiet())
    assert [each.name for each in found] == [wafers.stem, f"{wafers.stem}-2"]
    assert found[0].digests == found[1].digests
    assert len(found[0].cases) == 12
    with pytest.raises(DataError, match="label value"):
        golden_sets([other], data.model_copy(update={"classes": ("a", "b", "c", "d")}), progress=Quiet())


def test_a_set_the_model_was_trained_on_is_said_to_be_one(finished, wafers):
    golden = golden_sets([Path(wafers)], read_plan(finished / "model").data, progress=Quiet())[0]
    assert score_golden(load(finished), golden, progress=Quiet()).split == "training"
