"""A run starts from another model's weights, says so, and goes on from its own."""

from __future__ import annotations

import json
import shutil
import signal

import pytest
import torch

import unetkit as uk
from unetkit.data import prepare
from unetkit.errors import DataError, PreemptedError, UsageError
from unetkit.networks.store import load_model
from unetkit.records.plan import Plan
from unetkit.records.run import Run
from unetkit.workflows import fitting
from unetkit.workflows.starting import asked_start, read_start, refuse_other_start

FAST = {"training.precision": "float32", "training.memory_format": "contiguous"}


@pytest.fixture
def two_steps(tiny):
    return {**tiny, **FAST, "training.steps": "2"}


def own(changes):
    """The same without what would shape the network."""
    return {key: text for key, text in changes.items() if not key.startswith("network.")}


def test_a_run_starts_with_the_models_weights_and_its_network(
    wafers, two_steps, finished, tmp_path, monkeypatch
):
    seen = {}
    fit = fitting.fit

    def spy(task, run, **words):
        seen.update({name: tensor.clone() for name, tensor in task.network.state_dict().items()})
        return fit(task, run, **words)

    monkeypatch.setattr(fitting, "fit", spy)
    run = uk.train(wafers, tmp_path / "r", init=finished, changes=own(two_steps), fold=(0, 3))
    model, plan = load_model(finished / "model")
    assert run.plan.network == plan.network
    assert "whose weights training starts from" in run.plan.reasons["network"]
    start = read_start(run.run)
    assert start.matched.left == ()
    for name, tensor in model.state_dict().items():
        assert torch.equal(seen[name], tensor), name
    assert start.source == str(finished / "model")
    page = run.report.read_text()
    assert "tensors from" in page
    assert "encoder.stages.0.0.conv.weight" in page
    assert "started from" in (run.run.model / "model_card.md").read_text()
    assert "start.json" in json.loads(run.run.manifest.read_text())["files"]
    again = uk.train(wafers, tmp_path / "r", init=finished, changes=own(two_steps), fold=(0, 3), resume=True)
    assert again.folder == run.folder
    with pytest.raises(UsageError, match="the run began with random weights"):
        uk.train(wafers, finished, init=tmp_path / "r", resume=True, fold=(0, 3))


def test_another_network_takes_what_fits(wafers, two_steps, finished, tmp_path):
    deeper = {**two_steps, "network.blocks": "[1,2]"}
    run = uk.train(wafers, tmp_path / "r", init=finished, changes=deeper, fold=(0, 3))
    matched = read_start(run.run).matched
    assert run.plan.network.blocks == (1, 2)
    assert "encoder.stages.1.0.conv.weight" in matched.matched
    assert "encoder.stages.1.1.conv.weight" in matched.left


def test_a_network_of_other_widths_is_another_architecture(wafers, two_steps, finished, tmp_path):
    wider = {**two_steps, "network.widths": "[12,24]"}
    with pytest.raises(DataError, match="0 fit: this is another architecture"):
        uk.train(wafers, tmp_path / "r", init=finished, changes=wider, fold=(0, 3))


def test_a_run_killed_before_its_first_step_still_knows_its_start(wafers, two_steps, finished, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare.Cache, "get", lambda *_: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(PreemptedError):
            uk.train(wafers, tmp_path / "cut", init=finished, changes=own(two_steps), fold=(0, 3))
    assert read_start(Run(tmp_path / "cut")).matched is None
    cut = uk.train(wafers, tmp_path / "cut", resume=True)
    whole = uk.train(wafers, tmp_path / "whole", init=finished, changes=own(two_steps), fold=(0, 3))
    weights = [(run.run.model / "weights.safetensors").read_bytes() for run in (cut, whole)]
    assert weights[0] == weights[1]


def test_a_model_that_changed_or_is_none_is_refused(wafers, two_steps, finished, tmp_path):
    with pytest.raises(UsageError, match="there is no model here"):
        uk.train(wafers, tmp_path / "r", init=tmp_path, changes=two_steps)
    with pytest.raises(UsageError, match="there is no model here"):
        uk.train(wafers, tmp_path / "r", init=tmp_path, changes=own(two_steps))
    model = tmp_path / "model"
    shutil.copytree(finished / "model", model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare.Cache, "get", lambda *_: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(PreemptedError):
            uk.train(wafers, tmp_path / "cut", init=model, changes=own(two_steps))
    seal = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps({**seal, "weights_sha256": "0" * 64}))
    with pytest.raises(DataError, match="they have changed since"):
        uk.train(wafers, tmp_path / "cut", resume=True)


def test_what_was_asked_for(finished, tmp_path):
    assert asked_start(None) is None
    file = tmp_path / "weights.safetensors"
    shutil.copy(finished / "model" / "weights.safetensors", file)
    assert asked_start(file).weights_sha256 == asked_start(finished).weights_sha256
    refuse_other_start(Run(tmp_path), None)
    with pytest.raises(UsageError, match="a resumed run keeps its start"):
        refuse_other_start(Run(tmp_path), finished)


def test_imagenet_is_asked_of_the_encoder(wafers, two_steps, tmp_path):
    with pytest.raises(UsageError, match="ImageNet"):
        uk.train(wafers, tmp_path / "r", changes={**two_steps, "training.pretrained": "imagenet"})


def test_a_frozen_start_keeps_the_models_first_stage(wafers, two_steps, finished, tmp_path):
    changes = {**own(two_steps), "training.freeze_blocks": "1"}
    run = uk.train(wafers, tmp_path / "r", init=finished, changes=changes, fold=(0, 3))
    one, other = (load_model(folder / "model")[0].state_dict() for folder in (finished, run.folder))
    same = {name for name in one if torch.equal(one[name], other[name])}
    assert {name for name in one if name.startswith("encoder.stages.0.")} <= same
    assert not {name for name in one if name.startswith(("encoder.stages.1.", "decoder."))} <= same
    assert Plan.from_json(run.run.plan.read_bytes(), where="p").training.freeze_blocks == 1
