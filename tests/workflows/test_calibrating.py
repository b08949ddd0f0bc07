import numpy as np
import pytest
import torch

import unetkit as uk
from unetkit.errors import DataError, GateError, UsageError
from unetkit.networks.store import load_model
from unetkit.records.progress import Quiet
from unetkit.records.run import Run
from unetkit.workflows import calibrating
from unetkit.workflows.calibrating import calibrated
from unetkit.workflows.export import export
from unetkit.workflows.parity import some_cases


@pytest.fixture(scope="module")
def batch_normed(wafers, tmp_path_factory, tiny):
    folder = tmp_path_factory.mktemp("batch_normed") / "run"
    uk.train(wafers, folder, changes={**tiny, "network.norm": "batch"}, fold=(0, 3))
    return folder


@pytest.fixture
def model(batch_normed, wafers):
    network, plan = load_model(Run(batch_normed).model)
    return network, plan, some_cases(wafers, wafers / "out", plan)[:2]


class Watch(Quiet):
    def __init__(self):
        self.told = []

    def say(self, text):
        self.told.append(text)


@pytest.mark.usefixtures("unchecked")
def test_an_export_counts_in_eight_bits(batch_normed, wafers, tmp_path, monkeypatch):
    monkeypatch.setattr(calibrating, "MAX_LOSS", 100.0)  # a network of a few steps says anything
    for package in ("onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    result = export(batch_normed, "onnx", tmp_path / "out", int8=wafers)
    record = result.record
    assert record.convolutions["integer"] + len(record.float_layers) == 5
    assert record.convolutions["float"] == len(record.float_layers)
    assert record.parity.precision == "int8"
    assert record.parity.images == 8
    assert record.halo is not None
    assert all(2 < pixels <= 32 for pixels in record.halo)  # two levels of 3×3 kernels
    assert record.facts["eight bits calibrated on"].endswith(" tiles of 8 images")
    plan = uk.load(tmp_path / "out").plan
    assert plan.network.quantization == "int8"
    assert "calibrated on 8 images" in plan.reasons["network.quantization"]


def test_layers_are_kept_in_float_until_the_dice_holds(model, monkeypatch):
    """Dice that is lost by the second convolution alone, whatever the pictures say."""
    network, plan, cases = model
    answers, watch = calibrating._answers, Watch()

    def lossy(each, plan, cases):
        tiles, _ = answers(network, plan, cases[:1])
        kept = each.quantization is None or "encoder.stages.1.0.conv" in each.plan.float_layers
        return tiles, {"scratch": 0.8 if kept else 0.7, "stain": None}

    monkeypatch.setattr(calibrating, "_answers", lossy)
    made, own, facts = calibrated(network, plan, cases, progress=watch)
    assert made.plan.float_layers == own.network.float_layers == ("encoder.stages.1.0.conv",)
    assert "Without them a class lost more than 0.5" in own.reasons["network.float_layers"]
    assert facts["Dice of scratch, float and eight bits"] == "0.8000 and 0.8000"
    assert watch.told[0] == "0 convolutions in float: the most that a class loses is 10.00 points of Dice"


def test_every_grid_has_its_zero_in_the_middle_where_an_engine_knows_no_other(model, monkeypatch):
    monkeypatch.setattr(calibrating, "MAX_LOSS", 100.0)
    network, plan, cases = model
    for symmetric in (True, False):
        made, _, _ = calibrated(network, plan, cases[:1], progress=Quiet(), symmetric=symmetric)
        zeros = {int(point.zero_point) for point in made.quantization.points}
        assert (zeros == {128}) == symmetric


def test_a_dice_that_does_not_hold_is_refused(model, monkeypatch):
    monkeypatch.setattr(calibrating, "MAX_LOSS", -1000.0)
    monkeypatch.setattr(
        calibrating, "_answers", lambda *_: ([np.zeros((1, 1, 8, 8), np.float32)], {"a": 0.5})
    )
    with pytest.raises(GateError, match="whichever convolutions stay in floating point") as refused:
        calibrated(*model, progress=Quiet())
    assert "--int8 qat" in refused.value.cure


def test_without_labels_it_is_said_that_nothing_tells(model, monkeypatch):
    network, plan, _ = model
    watch = Watch()
    monkeypatch.setattr(calibrating, "_answers", lambda *_: ([np.zeros((1, 1, 8, 8), np.float32)], {}))
    calibrated(network, plan, model[2], progress=watch)
    assert watch.told[0].startswith("warning: no image has a label")


def test_bad_input_is_refused(model):
    network, plan, cases = model
    with pytest.raises(DataError, match="expected images to calibrate on, got none"):
        calibrated(network, plan, [], progress=Quiet())
    made, own, _ = calibrated(network, plan, cases[:1], progress=Quiet())
    with torch.no_grad(), pytest.raises(UsageError, match="counts in eight bits already"):
        calibrated(made, own, cases, progress=Quiet())
