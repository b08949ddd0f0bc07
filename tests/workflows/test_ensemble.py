"""Finished runs become one model: the folds of one training, or the best of several configurations."""

from __future__ import annotations

import json
import shutil

import pytest

import unetkit as uk
from unetkit.errors import DataError, UsageError
from unetkit.records.run import Run
from unetkit.workflows import ensemble as verb
from unetkit.workflows.comparison import Against
from unetkit.workflows.cross_validation import read_cross_validation
from unetkit.workflows.ensemble_folder import read_ensemble
from unetkit.workflows.refinement import Gain


def test_folds_made_one_by_one_score_as_the_cross_validation(validated, wafers, tmp_path):
    runs = [validated / f"fold-{number}" for number in range(3)]
    done = uk.ensemble(runs, tmp_path / "e")
    assert done.scores.model_dump(mode="json") == json.loads((validated / "model/scores.json").read_text())
    assert done.record.candidates == ()
    assert [fold.runs for fold in done.record.folds] == [(str(run),) for run in runs]
    one, other = (read_ensemble(folder / "model")[0].members for folder in (tmp_path / "e", validated))
    assert [each.weights_sha256 for each in one] == [each.weights_sha256 for each in other]
    assert uk.report(tmp_path / "e").cases == 12
    with pytest.raises(UsageError, match=r"this folder holds an ensemble already.*--overwrite"):
        uk.ensemble(runs, tmp_path / "e")


def test_a_copy_brings_nothing_and_is_left_out(validated, tmp_path):
    """The pair of a configuration and its copy answers as the configuration: the single one wins the tie."""
    other = shutil.copytree(validated, tmp_path / "other")
    done = uk.ensemble([validated, other], tmp_path / "e")
    rows = done.record.candidates
    assert [row.names for row in rows] == [("validated",), ("other",), ("validated", "other")]
    assert rows[0].dice == rows[1].dice
    assert rows[2].dice.mean == pytest.approx(rows[0].dice.mean, abs=1e-12)
    assert [row.chosen for row in rows] == [True, False, False]
    assert rows[1].against_best_alone.mean == 0
    assert len(read_ensemble(tmp_path / "e" / "model")[0].members) == 3
    assert done.record.folds[1].runs == (str(validated / "fold-1"), str(other / "fold-1"))
    with pytest.raises(UsageError, match="this was put together from other runs"):
        uk.ensemble([tmp_path / "e"], tmp_path / "f")


def test_runs_over_one_fold(validated, finished, wafers, tmp_path):
    done = uk.ensemble([finished, validated / "fold-0"], tmp_path / "e")
    (fold,) = done.record.folds
    assert (fold.trained_on, fold.held_out) == (8, 4)
    assert len(done.record.candidates) == 3
    assert not done.record.rules_by_fold
    split = json.loads((tmp_path / "e" / "split.json").read_text())
    assert (len(split["train"]), len(split["held_out"])) == (8, 4)
    (chosen,) = [row for row in done.record.candidates if row.chosen]
    assert len(read_ensemble(tmp_path / "e" / "model")[0].members) == len(chosen.names)
    held = {case.id for case in done.scores.cases}
    assert held == set(split["held_out"])


@pytest.mark.parametrize("accepted", [True, False])
def test_a_field_is_kept_only_where_it_helps(validated, tmp_path, monkeypatch, accepted):
    asked = {}
    values = {"inference.crf_steps": "2"}

    def gain(folds, plan, *, changes, device, progress):
        asked.update(changes=changes, cases=[[case.id for case in cases] for _, cases in folds])
        asked["members"] = [[path.parent.name for path in members] for members, _ in folds]
        found = Against(mean=0.01 if accepted else -0.01, low=0.0, high=0.02, cases=12, p_value=0.1)
        return Gain(before={}, after={}, gain=found, accepted=accepted, values=values if accepted else {})

    monkeypatch.setattr(verb, "gain_over_folds", gain)
    done = uk.ensemble([validated], tmp_path / "e", changes=values)
    plan = done.model.plan
    assert plan.inference.crf_steps == (2 if accepted else 0)
    assert done.record.refinement.accepted is accepted
    assert asked["changes"] == values
    assert asked["members"] == [["fold-0"], ["fold-1"], ["fold-2"]]
    assert sorted(id for ids in asked["cases"] for id in ids) == sorted(c.id for c in done.scores.cases)
    reason = plan.reasons["inference.crf_steps"]
    assert (reason == "Mean Dice of 12 unseen cases +0.0100, and no class falls.") is accepted
    inference = [ready().inference.crf_steps for ready in done.model.predictor.members]
    assert inference == [2 if accepted else 0] * 3


def test_a_real_field_is_tried_on_unseen_cases(validated, tmp_path):
    done = uk.ensemble([validated], tmp_path / "e", changes={"inference.crf_steps": "1"})
    gain = done.record.refinement
    assert gain.gain.cases == sum(case.id is not None for case in done.scores.cases)
    assert gain.before.keys() == set(done.scores.classes)
    assert done.model.plan.inference.crf_steps == int(gain.accepted)


def test_data_that_moved_or_changed(validated, wafers, tmp_path):
    data = shutil.copytree(wafers, tmp_path / "data")
    runs = shutil.copytree(validated, tmp_path / "runs")
    for number in range(3):
        path = runs / f"fold-{number}" / "split.json"
        split = json.loads(path.read_text())
        path.write_text(json.dumps({**split, "source": str(tmp_path / "gone")}))
    with pytest.raises(DataError, match="gone"):
        uk.ensemble([runs], tmp_path / "e")
    assert uk.ensemble([runs], tmp_path / "e", data=data).record.source == str(data)
    shutil.copy(data / "masks" / "wafer00-0.png", data / "masks" / "wafer01-1.png")
    with pytest.raises(DataError, match="the data is not what this run was started with"):
        uk.ensemble([runs], tmp_path / "f", data=data)
    assert not (tmp_path / "f" / "model").exists()


def test_places_that_are_taken(validated, finished, tmp_path):
    for out, told in (
        (validated, "the runs themselves lie in this folder"),
        (validated / "fold-1", "the runs themselves lie in this folder"),
        (finished, "this folder holds a run already"),
    ):
        with pytest.raises(UsageError, match=told):
            uk.ensemble([validated], out, overwrite=True)
    with pytest.raises(UsageError, match=r"'training\.steps' is no value of a refinement"):
        uk.ensemble([validated], tmp_path / "e", changes={"training.steps": "2"})
    assert not (tmp_path / "e").exists()
    uk.ensemble([validated], tmp_path / "e")
    again = uk.ensemble([validated], tmp_path / "e", overwrite=True)
    assert again.record == read_cross_validation(Run(tmp_path / "e"))


def test_what_lies_in_the_folder(validated):
    """A run's files but for a plan of its own; nothing of a case lies in the members."""
    assert {path.name for path in validated.iterdir() if not path.name.startswith(".")} == {
        "cross_validation.json",
        "fingerprint.json",
        "fold-0",
        "fold-1",
        "fold-2",
        "manifest.json",
        "model",
        "pictures",
        "predictions",
        "report.html",
        "split.json",
    }
    manifest = json.loads((validated / "manifest.json").read_text())
    assert "model/members/2/weights.safetensors" in manifest["files"]
    for path in (validated / "model" / "members").rglob("*.json"):
        assert "wafer0" not in path.read_text()
    card = (validated / "model" / "model_card.md").read_text()
    assert "Cases: 12 (cross-validation)." in card
    assert "the mean of all of them was measured on nothing" in card
    assert "| training cases | 12 |" in card
    assert "| file format | raster |" in card  # what makes a card of scans ask what such a card is asked
