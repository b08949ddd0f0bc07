import shutil
import signal

import numpy as np
import pytest

import unetkit as uk
from unetkit.data import inspect, prepare
from unetkit.errors import PreemptedError, UnetkitError, UsageError
from unetkit.records.plan import Plan
from unetkit.records.progress import Quiet
from unetkit.workflows import measuring
from unetkit.workflows.train import Wishes, preview, reopen


def test_wishes_are_checked():
    with pytest.raises(UsageError, match=r"train has no setting 'minuts'.*use 'minutes'"):
        Wishes.of({"minuts": 3})
    for fold in ((5, 5), (-1, 5), (0, 1)):
        with pytest.raises(UsageError, match="there is no fold"):
            Wishes.of({"fold": fold})
    said = Wishes.of({"fold": (1, 4), "seed": 7, "changes": {"a": "b"}}).every_change()
    assert said == {"a": "b", "training.fold": "1", "training.folds": "4", "training.seed": "7"}


def test_the_public_road(wafers, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = uk.train(wafers, changes=tiny)
    assert run.folder.parts[:1] == ("runs",)
    mask = run.predict(wafers / "images" / "wafer00-0.png")
    assert np.asarray(mask).shape == (64, 64)
    assert run.plan.training.steps == 6
    assert run.report.is_file()
    again = reopen(run.run)
    assert again is not None
    assert again.scores == run.scores


def test_resuming_what_never_began_says_that_it_begins(wafers, tmp_path, monkeypatch):
    said = []

    class Watch(Quiet):
        def say(self, text):
            said.append(text)

    def enough(*_, **__):
        raise UsageError("enough", cure="look at what was said")

    monkeypatch.setattr("unetkit.workflows.readying.make_ready", enough)
    with pytest.raises(UsageError, match="enough"):
        uk.train(wafers, tmp_path / "run", resume=True, progress=Watch())
    assert said == [f"no training has begun in {tmp_path / 'run'}: this is its start"]


def test_an_unfinished_run_is_not_reopened(tmp_path):
    from unetkit.records.run import Run

    assert reopen(Run(tmp_path)) is None


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_typo_does_not_cost_a_finished_run(wafers, tiny, finished, tmp_path):
    folder = tmp_path / "r"
    shutil.copytree(finished, folder)
    before = contents(folder)
    with pytest.raises(UsageError, match=r"use 'training\.steps'"):
        uk.train(wafers, folder, overwrite=True, changes={"training.stepz": "3"})
    with pytest.raises(UnetkitError):
        uk.train(tmp_path / "wafrs", folder, overwrite=True, changes=tiny)
    after = contents(folder)
    assert {path: after.get(path) for path in before} == before
    run = uk.train(wafers, folder, overwrite=True, changes={**tiny, "training.steps": "3"})
    assert run.plan.training.steps == 3
    assert len(list(run.run.events("started"))) == 1
    assert not (folder / ".replaced").exists()
    assert not (folder / "log.txt").exists()


def test_a_finished_run_takes_no_changes(wafers, tiny, finished):
    assert uk.train(wafers, finished, resume=True, changes=tiny, fold=(0, 3)).folder == finished
    with pytest.raises(UsageError, match="this run is finished"):
        uk.train(wafers, finished, resume=True, changes={"training.steps": "9"})
    with pytest.raises(UsageError, match="keeps its own plan"):
        uk.train(wafers, finished, resume=True, seed=3)


def test_a_preview_of_a_resumed_run_is_of_that_run(wafers, tiny, finished, tmp_path):
    done = preview(wafers, finished, resume=True)
    assert (done.resumed, done.finished, done.steps_done, done.steps_left) == (True, True, 6, 0)
    folder = tmp_path / "r"
    shutil.copytree(finished, folder)
    (folder / "manifest.json").unlink()  # killed after the last step, before the end
    before = contents(folder)
    seen = preview(wafers, folder, resume=True, changes={"training.steps": "9"})
    assert (seen.resumed, seen.finished, seen.steps_done, seen.steps_left) == (True, False, 6, 3)
    assert (seen.train, seen.held_out, seen.plan.training.folds) == (8, 4, 3)
    assert seen.plan.network.widths == (4, 8)  # a fresh plan would not have these
    assert seen.plan.training.steps == 9
    timed = preview(wafers, folder, resume=True, minutes=5)
    assert (timed.steps_left, timed.minutes_left) == (None, pytest.approx(5, abs=0.6))
    with pytest.raises(UsageError, match="keeps its own plan"):
        preview(wafers, folder, resume=True, seed=3)
    assert contents(folder) == before
    shutil.rmtree(folder / "checkpoints")
    assert preview(wafers, folder, resume=True).steps_done == 0


@pytest.mark.skipif(not hasattr(signal, "raise_signal"), reason="needs signals")
def test_sigterm_outside_the_loop_is_answered_with_75_and_resumed(wafers, tiny, tmp_path, monkeypatch):
    handler = signal.getsignal(signal.SIGTERM)
    tiny = {**tiny, "training.precision": "float32", "training.memory_format": "contiguous"}
    whole = uk.train(wafers, tmp_path / "whole", changes=tiny)
    places = [(inspect, "take_facts"), (prepare.Cache, "get"), (measuring, "score_model")]
    for number, (home, name) in enumerate(places):
        with monkeypatch.context() as patch:
            patch.setattr(home, name, lambda *_, **__: signal.raise_signal(signal.SIGTERM))
            with pytest.raises(PreemptedError, match=r"asked to stop \(SIGTERM\).*--resume") as caught:
                uk.train(wafers, tmp_path / "cut", changes=tiny, resume=number > 0)
        assert caught.value.exit_code == 75
        assert signal.getsignal(signal.SIGTERM) == handler
    resumed = uk.train(wafers, tmp_path / "cut", changes=tiny, resume=True)
    weights = [(run.run.model / "weights.safetensors").read_bytes() for run in (whole, resumed)]
    assert weights[0] == weights[1]


def test_other_steps_on_resume_reach_the_plan_and_the_loop(wafers, tiny, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(prepare.Cache, "get", lambda *_: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(PreemptedError):
            uk.train(wafers, tmp_path / "r", changes=tiny)
    run = uk.train(wafers, tmp_path / "r", changes={"training.steps": "4"}, resume=True)
    assert run.plan.training.steps == 4
    written = Plan.from_json(run.run.plan.read_bytes(), where="plan.json")
    assert written == run.plan
    assert "resumed" in written.reasons["training.steps"]
    assert next(run.run.events("finished"))["step"] == 4
