import numpy as np
import pytest
from PIL import Image

from unetkit.errors import DataError, UsageError
from unetkit.workflows.model import load


def test_a_file_and_its_pixels_give_the_same_labels(finished, wafers, tmp_path):
    model = load(finished)
    assert model.folder == finished / "model"
    assert model.classes == ("background", "scratch", "particle", "stain")
    path = wafers / "images" / "wafer01-2.png"
    one, two = model.predict(path), model.predict(np.asarray(Image.open(path)))
    assert np.array_equal(np.asarray(one), np.asarray(two))
    saved = model.save(one, tmp_path / "x.png")
    assert np.array_equal(np.asarray(Image.open(saved)), one.labels)


def test_what_is_no_model_or_was_changed_is_refused(finished, tmp_path):
    with pytest.raises(UsageError, match="there is no model here"):
        load(tmp_path)
    for file in (finished / "model").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = bytearray((tmp_path / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "weights.safetensors").write_bytes(weights)
    with pytest.raises(DataError):
        load(tmp_path)
