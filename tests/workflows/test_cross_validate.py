"""One run per fold, then one model: stopped and called again it goes on."""

from __future__ import annotations

import json
import shutil
import signal

import numpy as np
import pytest
from PIL import Image

import unetkit as uk
from unetkit.errors import DataError, PreemptedError, UsageError
from unetkit.records.run import Run
from unetkit.workflows import cross_validate as verb
from unetkit.workflows import out_of_fold
from unetkit.workflows.cross_validate import planned_folds
from unetkit.workflows.cross_validation import read_cross_validation
from unetkit.workflows.ensemble_folder import read_ensemble


def test_stopped_between_folds_it_goes_on_and_ends_alike(wafers, quick, validated, tmp_path, monkeypatch):
    out, train, calls = tmp_path / "c", verb.train, []

    def stopped(source, folder, **words):
        calls.append((folder.name, words["fold"], words["resume"]))
        if len(calls) == 2:
            raise PreemptedError("asked to stop", cure="go on")
        return train(source, folder, **words)

    monkeypatch.setattr(verb, "train", stopped)
    with pytest.raises(PreemptedError):
        uk.cross_validate(wafers, out, folds=3, changes=quick)
    weights = out / "fold-0" / "model" / "weights.safetensors"
    made = weights.stat().st_mtime_ns
    assert not read_cross_validation(Run(out)).finished
    assert not (out / "model").exists()
    with pytest.raises(UsageError, match="this folder holds several runs and their ensemble"):
        uk.train(wafers, out, changes=quick)
    done = uk.cross_validate(wafers, out, folds=3, changes=quick)
    assert weights.stat().st_mtime_ns == made
    assert calls[2:] == [("fold-0", (0, 3), True), ("fold-1", (1, 3), True), ("fold-2", (2, 3), True)]
    assert not (out / "cache").exists()
    one, other = (read_ensemble(folder / "model")[0].members for folder in (out, validated))
    assert [each.weights_sha256 for each in one] == [each.weights_sha256 for each in other]
    assert done.scores.model_dump(mode="json") == json.loads((validated / "model/scores.json").read_text())
    assert done.model.predict(wafers / "images" / "wafer00-0.png").labels.shape == (64, 64)
    facts = done.facts()
    assert facts["cases"] == 12
    assert [fold["runs"] for fold in facts["folds"]] == [["fold-0"], ["fold-1"], ["fold-2"]]


def test_a_finished_one_is_left_as_it_is(wafers, quick, validated, tmp_path):
    folder = shutil.copytree(validated, tmp_path / "c")
    said = []

    class Watch:
        def begin(self, *_, **__): ...
        def advance(self, *_, **__): ...
        def end(self): ...
        def say(self, text):
            said.append(text)

    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    done = uk.cross_validate(wafers, folder, folds=3, changes=quick, resume=True, progress=Watch())
    assert said[-1] == f"{folder} is finished already; nothing was left to do"
    assert len(done.scores.cases) == 12
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert after == before
    with pytest.raises(UsageError, match="this run is finished, its schedule cannot be changed"):
        uk.cross_validate(wafers, folder, folds=3, changes={**quick, "training.steps": "9"})


def test_minutes_are_shared_out_and_said(wafers, quick, tmp_path, monkeypatch):
    asked, said = [], []

    def stopped(source, folder, **words):
        asked.append((words["minutes"], words["cache"]))
        raise PreemptedError("enough", cure="stop")

    class Watch:
        def begin(self, *_, **__): ...
        def advance(self, *_, **__): ...
        def end(self): ...
        def say(self, text):
            said.append(text)

    monkeypatch.setattr(verb, "train", stopped)
    with pytest.raises(PreemptedError):
        uk.cross_validate(wafers, tmp_path / "c", folds=5, minutes=6, changes=quick, progress=Watch())
    assert asked == [(2.0, tmp_path / "c" / "cache")]
    assert said[0] == "warning: 5 folds were asked for, there are only 3 separate groups"
    assert said[1] == "6 minutes: 2 for each of 3 folds"
    assert said[2] == f"fold 0 of 3 → {tmp_path / 'c' / 'fold-0'}"


def test_every_plan_is_made_on_its_own_training_cases(validated):
    plans = [json.loads((validated / f"fold-{n}" / "plan.json").read_text()) for n in range(3)]
    assert [(plan["training"]["fold"], plan["training"]["folds"]) for plan in plans] == [
        (0, 3),
        (1, 3),
        (2, 3),
    ]
    seen = [json.loads((validated / f"fold-{n}" / "fingerprint.json").read_text())["cases"] for n in range(3)]
    for one, split in zip(seen, range(3), strict=True):
        held = json.loads((validated / f"fold-{split}" / "split.json").read_text())["held_out"]
        assert not set(one) & set(held)


def test_what_it_would_train(wafers, tmp_path):
    runs = planned_folds(wafers, tmp_path / "c", folds=2)
    assert [(run.number, run.folder.name) for run in runs] == [(0, "fold-0"), (1, "fold-1")]
    assert sorted(run.held_out for run in runs) == [4, 8]
    assert all(run.trained_on + run.held_out == 12 for run in runs)
    assert not (tmp_path / "c").exists()


def test_wrong_words_cost_nothing(wafers, finished, validated, tmp_path):
    out = tmp_path / "c"
    for words, told in (
        ({"folds": 1}, "2 folds or more were expected, got 1"),
        ({"fold": (0, 5)}, "every fold is trained, and fold 0 alone was asked for"),
        ({"resume": True, "overwrite": True}, "contradict one another"),
        ({"minuts": 3}, "use 'minutes'"),
        ({"changes": {"training.stepz": "3"}}, r"use 'training\.steps'"),
    ):
        with pytest.raises(UsageError, match=told):
            uk.cross_validate(wafers, out, **words)
    with pytest.raises(UsageError, match="this folder holds a single run"):
        uk.cross_validate(wafers, finished)
    with pytest.raises(UsageError, match="this folder holds a cross-validation of 3 folds, 4 were asked for"):
        uk.cross_validate(wafers, validated, folds=4)
    assert not out.exists()


def test_data_without_folds_is_refused(wafers, tmp_path):
    rows = ["id,image,label,split"]
    for number, path in enumerate(sorted((wafers / "images").iterdir())[:4]):
        mask = wafers / "masks" / path.name
        rows.append(f"c{number},{path},{mask},{'val' if number % 2 else 'train'}")
    (tmp_path / "index.csv").write_text("\n".join(rows))
    with pytest.raises(DataError, match="the data set states which cases are held out"):
        uk.cross_validate(tmp_path / "index.csv", tmp_path / "c")


def test_volumes_with_their_geometry(volumes, tiny_volume_words, tmp_path):
    """Three axes: members that resample answer on the scan's own grid, and distances are millimetres."""
    pairs = [word.split("=", 1) for word in tiny_volume_words if word != "--set"]
    changes = {**dict(pairs), "training.steps": "2", "training.validate_cases": "0"}
    done = uk.cross_validate(volumes, tmp_path / "c", folds=2, changes=changes)
    assert len(done.scores.cases) == 6
    assert done.scores.unit == "mm"
    found = done.model.predict(volumes / "imagesTr" / "case0_0000.nii.gz", probabilities=True)
    parts = [
        uk.load(tmp_path / "c" / f"fold-{n}").predict(
            volumes / "imagesTr" / "case0_0000.nii.gz", probabilities=True
        )
        for n in range(2)
    ]
    wanted = (parts[0].probabilities + parts[1].probabilities) / 2
    np.testing.assert_allclose(found.probabilities, wanted, atol=1e-6)
    assert found.grid.matches(parts[0].grid)


def test_pictures_of_the_worst_cases_come_from_all_folds(validated):
    rows = json.loads((validated / "pictures" / "cases.json").read_text())["cases"]
    assert len(rows) == 12
    assert {row["id"].split("-")[0] for row in rows} == {"wafer00", "wafer01", "wafer02"}
    with Image.open(validated / "pictures" / rows[0]["prediction"]) as picture:
        assert picture.size == (64, 64)


@pytest.mark.skipif(not hasattr(signal, "raise_signal"), reason="needs signals")
def test_asked_to_stop_while_joining_it_joins_next_time(wafers, quick, validated, tmp_path, monkeypatch):
    folder = shutil.copytree(validated, tmp_path / "c")
    shutil.rmtree(folder / "model")
    with monkeypatch.context() as patch:
        patch.setattr(out_of_fold, "score_model", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(PreemptedError, match=r"asked to stop \(SIGTERM\).*every fold is trained"):
            uk.cross_validate(wafers, folder, folds=3, changes=quick)
    assert not (folder / "model").exists()
    done = uk.cross_validate(wafers, folder, folds=3, changes=quick)
    assert done.scores.model_dump(mode="json") == json.loads((validated / "model/scores.json").read_text())


@pytest.fixture
def broken(wafers, tmp_path):
    """The wafers under the names of patients, one of them cut off: a CSV, and that file."""
    data, rows = tmp_path / "data", ["id,image,label,group"]
    data.mkdir()
    for path in sorted((wafers / "images").iterdir()):
        shutil.copy(path, data / f"Canary-{path.name}")
        shutil.copy(wafers / "masks" / path.name, data / f"Canary-mask-{path.name}")
        group = path.name.partition("-")[0]
        rows.append(f"{path.stem},Canary-{path.name},Canary-mask-{path.name},{group}")
    table, file = data / "cases.csv", data / "Canary-wafer00-1.png"
    table.write_text("\n".join(rows) + "\n")
    file.write_bytes(file.read_bytes()[:-40])
    return table, file


def test_the_log_of_all_folds_names_cases_and_no_file(broken, tmp_path):
    """Hospitals write patients into file names, and logs travel."""
    with pytest.raises(DataError, match=broken[1].name):  # the person who is there has to find it
        uk.cross_validate(broken[0], tmp_path / "c", folds=3)
    log = (tmp_path / "c" / "log.txt").read_text()
    assert "<image of wafer00-1>" in log
    assert "Canary" not in log


def test_the_log_of_an_ensemble_names_cases_and_no_file(broken, validated, tmp_path):
    with pytest.raises(DataError, match=broken[1].name):
        uk.ensemble([validated], tmp_path / "e", data=broken[0])
    log = (tmp_path / "e" / "log.txt").read_text()
    assert "<image of wafer00-1>" in log
    assert "Canary" not in log
