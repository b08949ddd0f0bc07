"""A first look that is kept is the one that ``predict --screen`` takes, and of no other model."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from unetkit.errors import DataError, UsageError
from unetkit.records.registered import NOTE
from unetkit.records.run import Run
from unetkit.workflows.kept_screen import SCREEN, ScreenFile, keep_screen, kept_screen
from unetkit.workflows.predict import predict
from unetkit.workflows.screen import screen


@pytest.fixture(scope="module")
def found(finished, wafers):
    return screen(finished, wafers, recall=0.5, factor=2)


@pytest.fixture
def model(finished, tmp_path):
    return shutil.copytree(Run(finished).model, tmp_path / "model")


def test_predict_takes_exactly_what_was_found(model, found, wafers, tmp_path):
    assert keep_screen(model, found, source="wafers") == model / SCREEN
    assert kept_screen(model) == found.values
    assert ScreenFile.from_json((model / SCREEN).read_text(), where="x").source == "wafers"
    image = wafers / "images" / "wafer00-0.png"
    words = {"inference.whole_image_pixels": "0"}
    kept = predict(model, image, tmp_path / "a", screen=True, changes=words)
    said = predict(model, image, tmp_path / "b", changes={**found.values, **words})
    one, other = (np.asarray(Image.open(each.written[0].path)) for each in (kept, said))
    assert np.array_equal(one, other)


def test_what_is_set_by_hand_goes_before_what_was_kept(model, found, wafers, tmp_path):
    keep_screen(model, found, source="wafers")
    image = wafers / "images" / "wafer00-0.png"
    every = {"inference.screen_thresholds": "[0, 0, 0]"}
    none = {"inference.screen_thresholds": "[2, 2, 2]"}
    full, empty, plain = (
        predict(model, image, tmp_path / name, changes=words, **asked).written[0].pixels
        for name, words, asked in (
            ("a", every, {"screen": True}),
            ("b", none, {"screen": True}),
            ("c", {}, {}),
        )
    )
    assert full == plain
    assert not any(empty.values())


def test_without_one_it_is_said_how_to_get_it(model, wafers, tmp_path):
    with pytest.raises(UsageError, match="no first look was measured for this model") as refused:
        predict(model, wafers / "images", tmp_path / "out", screen=True)
    assert "unet screen MODEL DATA --keep" in refused.value.cure
    assert not (tmp_path / "out").exists()


def test_that_of_another_model_or_a_damaged_one_is_refused(model, found):
    path = keep_screen(model, found, source="wafers")
    whole = json.loads(path.read_text())
    for change, told in (
        ({"model_sha256": "0" * 64}, "is that of another model"),
        ({"result": {**whole["result"], "values": {}}}, "is not whole"),
        ({"version": 2}, "written by a newer unetkit"),
    ):
        path.write_text(json.dumps({**whole, **change}))
        with pytest.raises(DataError, match=told) as refused:
            kept_screen(model)
        assert "--keep" in refused.value.cure
        assert refused.value.where == str(path)


def test_a_version_of_a_registry_never_changes(model, found):
    (model / NOTE).touch()
    with pytest.raises(UsageError, match="a version of a registry never changes"):
        keep_screen(model, found, source="wafers")
    assert not (model / SCREEN).exists()
