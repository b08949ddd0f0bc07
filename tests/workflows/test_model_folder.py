import pytest

from unetkit.errors import UsageError
from unetkit.workflows.model_folder import is_model, model_folder


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
