"""A model is exported whole and only after it was compared; or nothing is there."""

import hashlib
import json
import shutil
import sys

import pytest

import unetkit as uk
from unetkit.errors import DataError, GateError, MissingPackageError, ResourceError, UsageError
from unetkit.networks.store import load_model
from unetkit.planning.count import count_tile
from unetkit.records.progress import Quiet
from unetkit.runtimes import tensorrt
from unetkit.runtimes.onnx import NETWORK, OnnxRuntime
from unetkit.workflows.export import export
from unetkit.workflows.exported import read_exported
from unetkit.workflows.model_folder import is_exported


@pytest.fixture
def fast(exported, monkeypatch):
    """Writing the network takes seconds: take the file that was written for this very model."""

    def copied(network, plan, folder):
        shutil.copy(exported / "network.onnx", folder)

    monkeypatch.setattr(OnnxRuntime, "export", staticmethod(copied))


@pytest.fixture
def spoiled(exported, monkeypatch):
    """A network of which one weight was changed on the way."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")

    def changed(network, plan, folder):
        model = onnx.load(exported / "network.onnx")
        tensor = next(each for each in model.graph.initializer if each.name.endswith("heads.0.bias"))
        values = onnx.numpy_helper.to_array(tensor) + 0.1
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype("float32"), tensor.name))
        onnx.save(model, folder / "network.onnx")

    monkeypatch.setattr(OnnxRuntime, "export", staticmethod(changed))


def test_the_folder_says_what_it_holds(exported, finished):
    record, plan = read_exported(exported)
    names = {"network.onnx", "plan.json", "scores.json", "seen.json", "model_card.md", "model.json"}
    assert {path.name for path in exported.iterdir()} == names
    assert [path.name for path in exported.parent.iterdir()] == ["onnx"]
    for name, digest in record.files.items():
        assert hashlib.sha256((exported / name).read_bytes()).hexdigest() == digest
    trained = uk.load(finished)
    assert plan.inference.runtime == record.runtime == "onnx"
    changed = plan.model_copy(update={"inference": trained.plan.inference, "reasons": trained.plan.reasons})
    assert changed == trained.plan
    assert record.classes == trained.classes
    assert record.label_values == plan.data.label_values
    assert (record.stride, record.tile_size) == ((2, 2), (32, 32))
    assert record.halo is None  # instance norms: the network sees the whole tile
    assert record.image.startswith("(B, 1, S0, S1) float32")
    assert record.image.endswith("as plan.json says, seen along every axis")
    assert record.logits == "(B, 4, S0, S1) float32"
    assert record.packages["onnxruntime"] != "unknown"
    assert set(record.dice) == {"scratch", "particle", "stain", "mean"}
    assert "exported for" in (exported / "model_card.md").read_text()


def test_it_was_compared_on_tiles_and_labelled_images(exported):
    parity = read_exported(exported)[0].parity
    assert parity.faults() == ()
    assert parity.images == 8
    assert parity.max_difference < 1e-4
    assert set(parity.dice_before) == {"scratch", "particle", "stain"}
    assert parity.dice_after == pytest.approx(parity.dice_before, abs=1e-3)
    assert any("21" in size for size in parity.sizes)
    assert parity.bytes_after == (exported / "network.onnx").stat().st_size


@pytest.mark.usefixtures("spoiled")
def test_a_network_that_answers_otherwise_is_not_published(finished, wafers, tmp_path):
    with pytest.raises(GateError, match="does not answer as the model: logits were expected") as refused:
        export(finished, "onnx", tmp_path / "out", data=wafers / "images")
    assert refused.value.exit_code == 4
    assert "nothing was published" in refused.value.cure
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("spoiled")
def test_a_refused_network_leaves_the_old_one(finished, exported, tmp_path):
    old = shutil.copytree(exported, tmp_path / "out")
    with pytest.raises(GateError):
        export(finished, "onnx", old, overwrite=True)
    assert read_exported(old) == read_exported(exported)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.usefixtures("fast")
def test_only_an_exported_model_is_replaced_and_only_when_asked(finished, exported, tmp_path):
    old = shutil.copytree(exported, tmp_path / "out")
    (old / "model_card.md").unlink()
    with pytest.raises(UsageError, match="there is an exported model already") as refused:
        export(finished, "onnx", old)
    assert "--overwrite" in refused.value.cure
    result = uk.export(finished, "onnx", old, overwrite=True)
    assert result.record is not None
    assert result.record.parity.images == 0
    assert (old / "model_card.md").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(UsageError, match="expected a new or empty folder"):
        export(finished, "onnx", tmp_path / "mine", overwrite=True)


def test_a_dry_run_writes_nothing(finished, tmp_path):
    result = export(finished, "openvino", tmp_path / "out", dry_run=True)
    kept = ["plan.json", "scores.json", "seen.json", "model_card.md", "model.json"]
    names = ["network.xml", "network.bin", *kept]
    assert [path.name for path in result.planned] == names
    assert list(tmp_path.iterdir()) == []


def test_a_file_for_tensorrt_is_compared_where_there_is_none(
    finished, exported, wafers, tmp_path, monkeypatch
):
    """TensorRT is taken away where it is installed; what would write ONNX takes the file of this model."""
    told = []

    class Watch(Quiet):
        def say(self, text):
            told.append(text)

    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(
        tensorrt, "write_onnx", lambda network, plan, path, **_: shutil.copy(exported / NETWORK, path)
    )
    out = tmp_path / "out"
    export(finished, "tensorrt", out, data=wafers, progress=Watch())
    record, plan = read_exported(out)
    assert set(record.files) == {"network.onnx", "network.json", "plan.json"}
    parity = record.parity
    assert parity.faults() == ()
    assert (parity.precision, parity.seconds_after, parity.images) == ("float16", None, 8)
    assert parity.stand_in.startswith("onnxruntime on the CPU, each half value rounded to half")
    assert 1e-5 < parity.max_difference < 0.01 * parity.largest_logit
    assert parity.dice_after == pytest.approx(parity.dice_before, abs=5e-3)
    assert any("neither the engine nor its speed is tested" in text for text in told)
    assert (plan.inference.runtime, plan.inference.whole_image_pixels) == ("tensorrt", 0)
    assert plan.reasons["inference.whole_image_pixels"] == "exported for tensorrt"
    sizes = json.loads((out / "network.json").read_text())
    assert sizes["most"] == [4, 1, 32, 32]
    assert parity.bytes_after < 0.6 * (exported / NETWORK).stat().st_size
    with pytest.raises(MissingPackageError, match="needs the package 'tensorrt', which is not") as missing:
        uk.load(out)
    assert missing.value.cure.startswith("pip install 'unetkit[tensorrt]' on a machine with an NVIDIA GPU")
    assert "export the model to onnx or openvino" in missing.value.cure
    with pytest.raises(ResourceError, match="'tensorrt' computes on the cuda, 'cpu' was asked for"):
        uk.load(out, device="cpu")


def test_a_runtime_that_nothing_stands_in_for_has_to_be_there(finished, exported, tmp_path, monkeypatch):
    monkeypatch.setattr(
        OnnxRuntime, "export", staticmethod(lambda n, p, folder: shutil.copy(exported / NETWORK, folder))
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackageError, match="'onnxruntime'"):
        export(finished, "onnx", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("unchecked")
def test_a_level_of_a_nested_network_is_exported_by_itself(nested, tmp_path):
    export(nested, "onnx", tmp_path / "out", changes={"network.prune_level": "1"})
    record, plan = read_exported(tmp_path / "out")
    small = load_model(nested, prune_level=1)[0]
    assert plan.network.prune_level == 1
    assert record.parameters == sum(weight.numel() for weight in small.parameters())
    assert record.parity.faults() == ()
    assert record.multiply_adds < count_tile(load_model(nested)[1]).multiply_adds


@pytest.mark.usefixtures("fast")
def test_what_was_changed_by_hand_was_not_measured(finished, tmp_path):
    export(finished, "onnx", tmp_path / "out", changes={"inference.overlap_fraction": "0.5"})
    record, plan = read_exported(tmp_path / "out")
    assert plan.inference.overlap_fraction == 0.5
    assert (record.dice, record.measured_on) == ({}, "")
    assert not (tmp_path / "out" / "scores.json").exists()
    for key in ("training.steps", "inference.runtime", "network.widths"):
        with pytest.raises(UsageError, match=f"'{key}' was decided when the model was made"):
            export(finished, "onnx", tmp_path / "other", changes={key: "1"})


def test_what_cannot_be_exported_is_refused_before_any_work(finished, exported, tmp_path):
    with pytest.raises(UsageError, match="there is no runtime 'onyx'"):
        export(finished, "onyx", tmp_path / "out")
    with pytest.raises(UsageError, match="this model was exported") as refused:
        export(exported, "onnx", tmp_path / "out")
    assert refused.value.cure == "name the model folder it was exported from"
    with pytest.raises(DataError, match="does not exist"):
        export(finished, "onnx", tmp_path / "out", data=tmp_path / "nothing")
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="cannot write"):
        export(finished, "onnx", tmp_path / "file" / "out")
    assert not is_exported(tmp_path / "out")
