import pytest

import unetkit as uk
from unetkit.errors import MissingPackageError, UsageError
from unetkit.networks.store import load_model
from unetkit.networks.unet import build
from unetkit.records.plan import EXAMPLE, NetworkPlan, Plan
from unetkit.workflows import deployed, quantizing
from unetkit.workflows.compress import compress, preview
from unetkit.workflows.quantizing import Quantizing, stored_bytes, what_is_integer


@pytest.fixture(scope="module")
def batch_normed(wafers, tmp_path_factory, tiny):
    """A run whose norms can be folded."""
    folder = tmp_path_factory.mktemp("batch_normed") / "run"
    uk.train(wafers, folder, changes={**tiny, "network.norm": "batch"}, fold=(0, 3))
    return folder


@pytest.mark.usefixtures("unchecked")
def test_eight_bits_are_trained_and_measured_in_the_engine(batch_normed, wafers, tmp_path, monkeypatch):
    for package in ("onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    monkeypatch.setattr(deployed, "ENGINES", {"onnx": ("onnxruntime", "onnxscript")})
    out = tmp_path / "small"
    found = compress(
        batch_normed, wafers, out, int8="qat", max_loss=100.0, changes={"training.steps": "2"}, device="cpu"
    )
    assert found.stages == ("in eight bits (qat)",)
    assert [step.name for step in found.steps] == ["before", "ptq", "qat"]
    assert [step.dice is None for step in found.steps] == [False] * 3
    assert found.device == "cpu (onnx)"
    assert found.after.weights_bytes == (out / "onnx" / "network.onnx").stat().st_size
    assert found.after.seconds_per_tile > 0
    assert found.steps[-1].size.weights_bytes < 0.4 * found.steps[0].size.weights_bytes
    network, plan = load_model(out / "model")
    assert network.quantization.calibrated
    assert plan.network.quantization == "int8"
    assert plan.training.precision == "float32"
    assert "A tenth" in plan.reasons["training.learning_rate"]
    assert "Asked for" in plan.reasons["network.quantization"]
    image = next((wafers / "images").iterdir())
    assert uk.load(out / "onnx").predict(image).labels.shape == uk.load(out).predict(image).labels.shape
    assert f"unet predict {out / 'onnx'} image.png" in (out / "report.html").read_text()
    with pytest.raises(UsageError, match="counts in eight bits already"):
        compress(out, wafers, tmp_path / "again", int8="ptq")


def test_a_preview_counts_bytes(batch_normed, tmp_path):
    seen = preview(batch_normed, tmp_path / "small", int8="ptq")
    assert seen.network.quantization == "int8"
    assert seen.after.weights_bytes == seen.after.parameters
    assert list(tmp_path.iterdir()) == []


def test_eight_bits_come_last_and_cutting_is_no_longer_the_default(batch_normed, tmp_path):
    seen = preview(batch_normed, tmp_path / "small", int8="ptq", prune=0.5)
    assert seen.network.widths == (2, 4)
    assert seen.network.quantization == "int8"
    assert preview(batch_normed, tmp_path / "small", int8="ptq").network.widths == (4, 8)


def test_wrong_words_are_answered(batch_normed, finished, wafers, tmp_path):
    with pytest.raises(UsageError, match="'int4' is no way to eight bits"):
        compress(batch_normed, wafers, tmp_path / "s", int8="int4")
    with pytest.raises(UsageError, match="instance_norm") as refused:
        compress(finished, wafers, tmp_path / "s", int8="ptq", all_integer=True)
    assert "--set network.norm=batch" in refused.value.cure
    assert not (tmp_path / "s").exists()


def test_an_engine_is_needed(batch_normed, wafers, tmp_path, monkeypatch):
    monkeypatch.setattr(deployed, "ENGINES", {"onnx": ("no_such_engine",)})
    with pytest.raises(MissingPackageError, match="none is installed") as missing:
        compress(batch_normed, wafers, tmp_path / "s", int8="ptq")
    assert missing.value.cure == "pip install 'unetkit[onnx,openvino]'"


def test_a_plan_in_eight_bits_cannot_start_from_chance(wafers, tmp_path, tiny):
    changes = {**tiny, "network.norm": "batch", "network.quantization": "int8"}
    with pytest.raises(UsageError, match="nothing has measured how far values reach") as refused:
        uk.train(wafers, tmp_path / "run", changes=changes, fold=(0, 3))
    assert "--int8 qat" in refused.value.cure


def test_what_stays_in_float_is_said():
    network = NetworkPlan(**{**EXAMPLE["network"], "quantization": "int8"})
    words = what_is_integer(build(network, rank=2, in_channels=1, classes=2))
    assert words == "8 convolutions in eight bits; in floating point between them: 6 × instance_norm"
    batch = network.model_copy(update={"norm": "batch"})
    words = what_is_integer(build(batch, rank=2, in_channels=1, classes=2))
    assert words == "8 convolutions in eight bits; nothing else is left"


def test_bytes_are_counted_by_hand():
    network = build(
        NetworkPlan(**{**EXAMPLE["network"], "norm": "batch", "quantization": "int8"}),
        rank=2,
        in_channels=1,
        classes=2,
    )
    weights = [weight for weight in network.parameters() if weight.ndim > 1]
    biases = [weight for weight in network.parameters() if weight.ndim == 1]
    assert stored_bytes(network) == sum(w.numel() for w in weights) + 4 * sum(b.numel() for b in biases)
    plain = build(NetworkPlan(**EXAMPLE["network"]), rank=2, in_channels=1, classes=2)
    assert stored_bytes(plain) == 4 * sum(weight.numel() for weight in plain.parameters())


def test_a_stage_says_what_it_does():
    stage = Quantizing("ptq")
    assert (stage.words, stage.trainings, Quantizing("qat").trainings) == ("in eight bits (ptq)", 0, 1)
    assert stage.asked == {"way": "ptq", "whole": False}
    batch = Plan.model_validate(EXAMPLE).with_values({"network.norm": "batch"})
    assert Quantizing("qat", whole=True).planned(batch).network.quantization == "int8_only"
    with pytest.raises(UsageError, match="6 × instance_norm"):
        Quantizing("qat", whole=True).planned(Plan.model_validate(EXAMPLE))
    assert quantizing.WAYS == ("ptq", "qat")
