import pytest

from unetkit.errors import UsageError
from unetkit.workflows.model_folder import (
    engine_folder,
    is_exported,
    is_model,
    model_folder,
    trained_folder,
)


def test_a_run_stands_for_the_model_in_it(tmp_path):
    model = tmp_path / "run" / "model"
    model.mkdir(parents=True)
    assert not is_model(tmp_path / "run")
    with pytest.raises(UsageError, match="there is no model here"):
        model_folder(tmp_path / "run")
    (model / "weights.safetensors").touch()
    (model / "plan.json").touch()
    assert model_folder(tmp_path / "run") == model_folder(str(model)) == model
    assert is_model(tmp_path / "run")
    assert trained_folder(tmp_path / "run") == model


def test_an_exported_model_is_a_model_without_weights_to_go_on_with(tmp_path):
    for name in ("model.json", "plan.json"):
        assert not is_exported(tmp_path)
        (tmp_path / name).touch()
    assert not is_exported(tmp_path)  # a model folder that lost its weights
    (tmp_path / "network.onnx").touch()
    assert is_exported(tmp_path)
    assert is_model(tmp_path)
    assert model_folder(tmp_path) == tmp_path
    with pytest.raises(UsageError, match="holds no weights to go on with") as refused:
        trained_folder(tmp_path)
    assert refused.value.cure == "name the model folder it was exported from"
    (tmp_path / "weights.safetensors").touch()
    assert not is_exported(tmp_path)


def test_the_export_in_a_run_is_the_one_to_predict_with(tmp_path):
    assert engine_folder(tmp_path / "none") is None
    (tmp_path / "model").mkdir()
    for name in ("weights.safetensors", "plan.json", "model.json"):
        (tmp_path / "model" / name).touch()
    assert engine_folder(tmp_path) is None
    (tmp_path / "openvino").mkdir()
    for name in ("network.xml", "network.bin", "plan.json", "model.json"):
        (tmp_path / "openvino" / name).touch()
    assert engine_folder(tmp_path) == tmp_path / "openvino"


def test_a_registry_without_a_live_version_says_so(tmp_path):
    (tmp_path / "versions").mkdir()
    (tmp_path / "log.jsonl").touch()
    assert is_model(tmp_path)
    with pytest.raises(
        UsageError, match=r"no version of this registry is live yet.*registry promote .*--golden"
    ):
        model_folder(tmp_path)
