"""A model is exported whole and only after it was compared; or nothing is there."""

import hashlib
import shutil

import pytest

import unetkit as uk
from unetkit.errors import DataError, GateError, ResourceError, UsageError
from unetkit.runtimes.onnx import OnnxRuntime
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
    names = {"network.onnx", "plan.json", "scores.json", "model_card.md", "model.json"}
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
    names = ["network.xml", "network.bin", "plan.json", "scores.json", "model_card.md", "model.json"]
    assert [path.name for path in result.planned] == names
    assert list(tmp_path.iterdir()) == []


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
