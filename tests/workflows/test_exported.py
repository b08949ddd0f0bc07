"""An exported folder is checked before it is run, and is run without torch."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from unetkit.errors import DataError, MissingPackageError, ResourceError, UsageError
from unetkit.workflows.exported import file_runtime, open_exported, read_exported
from unetkit.workflows.info import ModelInfo, info
from unetkit.workflows.model import load, plan_in


@pytest.fixture
def copy(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "copy")


def test_predict_on_an_exported_folder_does_not_import_torch(exported, wafers, tmp_path):
    words = ["predict", str(exported), str(wafers / "images"), "--out", str(tmp_path / "out"), "--tta", "-q"]
    code = (
        "import sys; from unetkit.cli import main; "
        f"code = main({words!r}); print(code, 'torch' in sys.modules, 'onnxruntime' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "0 False True"
    assert len(list((tmp_path / "out").glob("*.png"))) == 12
    labels = load(exported).predict(wafers / "images" / "wafer01-1.png", tta=True).labels
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "wafer01-1.png")), labels)


def test_a_loaded_one_is_a_model_like_any_other(exported, finished, wafers):
    model, trained = load(exported), load(finished)
    assert model.classes == trained.classes
    assert model.device == "cpu (onnx)"
    assert plan_in(exported) == model.plan
    image = wafers / "images" / "wafer00-3.png"
    alike = model.predict(image).labels == trained.predict(image).labels
    assert alike.mean() > 0.98  # the trained one may compute in bfloat16


def test_info_says_what_it_is_without_torch(exported, finished):
    found, trained = info(exported), info(finished)
    assert isinstance(found, ModelInfo)
    assert isinstance(trained, ModelInfo)
    assert found.facts["exported for"] == "onnx"
    assert found.scores == trained.scores
    assert (found.parameters, found.measured_on) == (trained.parameters, trained.measured_on)
    assert found.weights_mb == pytest.approx((exported / "network.onnx").stat().st_size / 1e6, abs=1e-3)


@pytest.mark.parametrize("name", ["network.onnx", "plan.json"])
def test_a_changed_file_is_refused(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(DataError, match="not the one that was exported") as refused:
        open_exported(copy)
    assert refused.value.where == str(copy / name)
    assert "export the model again" in refused.value.cure


def test_a_missing_file_is_refused(copy):
    (copy / "network.onnx").rename(copy / "network.other")
    with pytest.raises(DataError, match=r"is not whole: it holds no network\.onnx"):
        load(copy)


def test_another_device_is_refused(exported):
    with pytest.raises(ResourceError, match="'onnx' computes on the cpu, 'cuda' was asked for"):
        open_exported(exported, device="cuda")


@pytest.mark.parametrize(
    ("name", "problem", "cure"),
    [
        ("onyx", "there is no runtime 'onyx'", "use 'onnx'"),
        ("torch", "'pytorch' runs model folders as they are", "export to one of: onnx, openvino, tensorrt"),
        ("pytorch", "runs model folders as they are", "export to one of: onnx, openvino, tensorrt"),
    ],
)
def test_an_unknown_runtime_is_refused(copy, name, problem, cure):
    with pytest.raises(UsageError, match=problem) as refused:
        file_runtime(name)
    assert cure in refused.value.cure
    record = json.loads((copy / "model.json").read_text())
    (copy / "model.json").write_text(json.dumps({**record, "runtime": name}))
    with pytest.raises(UsageError, match=problem) as refused:
        load(copy)
    assert refused.value.where == str(copy / "model.json")


def test_a_record_of_another_version_or_kind_is_refused(copy):
    record = json.loads((copy / "model.json").read_text())
    (copy / "model.json").write_text(json.dumps({**record, "version": 2}))
    with pytest.raises(DataError, match="written by a newer unetkit"):
        read_exported(copy)
    (copy / "model.json").write_text(json.dumps({**record, "strides": [2]}))
    with pytest.raises(DataError, match="unknown key 'strides'"):
        read_exported(copy)


def test_a_missing_runtime_is_named_with_the_command_that_installs_it(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackageError, match="needs the package 'onnxruntime'") as missing:
        load(exported)
    assert missing.value.cure == "pip install 'unetkit[onnx]'"
