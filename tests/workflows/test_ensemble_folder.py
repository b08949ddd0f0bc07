"""An ensemble is an ordinary model folder: whole or not there, every member known by its hashes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

import unetkit as uk
from unetkit.errors import DataError, UsageError
from unetkit.inference.ensemble import Ensemble
from unetkit.inference.predict import Predictor
from unetkit.records.ensemble import EnsembleFile
from unetkit.records.files import sha256
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.workflows import model as models
from unetkit.workflows.ensemble_folder import Ready, describe_ensemble, read_ensemble, write_ensemble


@pytest.fixture
def copied(validated, tmp_path):
    return shutil.copytree(validated / "model", tmp_path / "copied")


def test_members_are_safetensors_and_json_only_and_named_by_hash(validated):
    place = validated / "model"
    file, plan = read_ensemble(place)
    assert [one.folder for one in file.members] == ["members/0", "members/1", "members/2"]
    for number, one in enumerate(file.members):
        weights = validated / f"fold-{number}" / "model" / "weights.safetensors"
        assert one.weights_sha256 == sha256(weights) == sha256(place / one.folder / "weights.safetensors")
        assert one.weight_bytes == weights.stat().st_size
    assert {path.suffix for path in (place / "members").rglob("*") if path.is_file()} == {
        ".json",
        ".safetensors",
    }
    assert {path.name for path in place.iterdir()} == {
        "members",
        "plan.json",
        "model.json",
        "scores.json",
        "model_card.md",
    }
    assert "3 networks answer with the mean of their probabilities" in plan.reasons["members"]
    assert describe_ensemble(place).scores.split == "cross-validation"


def test_it_predicts_the_mean_of_its_members(validated, wafers, tmp_path):
    image = wafers / "images" / "wafer01-2.png"
    whole = uk.load(validated)
    found = whole.predict(image, probabilities=True)
    parts = [uk.load(validated / f"fold-{n}").predict(image, probabilities=True) for n in range(3)]
    wanted = np.mean([part.probabilities.astype(np.float64) for part in parts], axis=0)
    np.testing.assert_allclose(found.probabilities, wanted, atol=1e-6)
    result = uk.predict(validated, image, tmp_path / "out", probabilities=True)
    assert [one.id for one in result.written] == ["wafer01-2"]
    saved = np.load(tmp_path / "out" / "wafer01-2.probabilities.npz", allow_pickle=False)
    np.testing.assert_allclose(saved["probabilities"], wanted, atol=1e-3)


class Bright:
    """A network that calls bright pixels a defect."""

    notes = ()

    def __init__(self, factor):
        self.factor = factor

    def run(self, batch):
        return np.concatenate([0 * batch, self.factor * batch], axis=1)


def test_values_of_one_call_reach_every_member(tmp_path):
    import tifffile

    plan = Plan.model_validate(EXAMPLE)

    def predictor(factor, inference):
        return Predictor(Bright(factor), plan.data, plan.preparation, inference)

    members = [
        Ready(lambda factor=factor: predictor(factor, plan.inference), plan.inference, keep=keep)
        for factor, keep in ((1.0, True), (2.0, False))
    ]
    model = models.Model(tmp_path, plan, Ensemble(members, plan.data, plan.inference), "cpu")
    said = {"inference.overlap_fraction": "0.25", "inference.tile_size": "[16,16]"}
    changed = model.with_values({**said, "inference.minimum_pixels": "[5]"})
    assert {
        (one.overlap_fraction, one.tile_size, one.minimum_pixels)
        for one in (member().inference for member in changed.predictor.members)
    } == {(0.25, (16, 16), ())}
    assert changed.predictor.inference.minimum_pixels == (5,)
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50), dtype=np.uint8)
    found = changed.predict(pixels, probabilities=True)
    own = plan.with_values(said).inference
    parts = [predictor(factor, own).array(pixels, probabilities=True).probabilities for factor in (1.0, 2.0)]
    np.testing.assert_allclose(found.probabilities, np.mean(parts, axis=0), atol=1e-6)
    tifffile.imwrite(tmp_path / "x.tif", pixels)
    levels = {"inference.pyramid_levels": "1"}
    result = uk.predict(model, tmp_path / "x.tif", tmp_path / "out", changes=levels)
    with tifffile.TiffFile(result.written[0].path) as file:
        assert [level.shape for level in file.series[0].levels] == [(40, 50), (20, 25)]
    with pytest.raises(UsageError, match="this model is an ensemble, and this needs a single network"):
        model.with_values({"inference.screen_factor": "4"})


def test_one_network_at_a_time_answers_alike(validated, wafers, monkeypatch):
    image = wafers / "images" / "wafer00-1.png"
    kept, loads = uk.load(validated), []
    load = models._load_trained
    monkeypatch.setattr(models, "_load_trained", lambda *given: loads.append(given[0].name) or load(*given))
    wanted = kept.predict(image).labels
    np.testing.assert_array_equal(kept.predict(image).labels, wanted)
    assert loads == ["0", "1", "2"]  # each once, for both images
    monkeypatch.setattr(models, "KEPT_SHARE", 0.0)
    anew = uk.load(validated)
    for _ in range(2):
        np.testing.assert_array_equal(anew.predict(image).labels, wanted)
    assert loads == ["0", "1", "2"] * 3


def test_a_member_loses_its_own_rules_and_takes_the_field_of_the_ensemble():
    plan = Plan.model_validate(EXAMPLE)
    member = plan.with_values({"inference.minimum_pixels": "[9]", "inference.overlap_fraction": "0.25"})
    whole = plan.with_values({"inference.crf_steps": "3", "inference.minimum_pixels": "[4]"})
    made = []

    def load():
        made.append(1)
        return Predictor(None, member.data, member.preparation, member.inference)  # pyright: ignore[reportArgumentType]

    for keep, times in ((True, 1), (False, 2)):
        made.clear()
        ready = Ready(load, whole.inference, keep=keep)
        for _ in range(2):
            inference = ready().inference
            assert (inference.crf_steps, inference.minimum_pixels) == (3, ())
            assert inference.overlap_fraction == 0.25
        assert len(made) == times


def test_another_member_is_noticed(copied):
    seal = copied / "members" / "1" / "model.json"
    shutil.copy(copied / "members" / "0" / "model.json", seal)
    with pytest.raises(DataError, match="expected the member with the weights"):
        read_ensemble(copied)
    with pytest.raises(DataError, match="expected the member with the weights"):
        uk.load(copied)


@pytest.mark.parametrize("name", ["plan.json", "members/2/plan.json", "members/2/weights.safetensors"])
def test_changed_files_are_noticed(copied, wafers, name):
    content = bytearray((copied / name).read_bytes())
    content[-3] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(DataError, match="SHA-256 differs"):
        uk.load(copied).predict(wafers / "images" / "wafer00-0.png")


def test_a_member_lies_in_the_folder(copied):
    file = json.loads((copied / "model.json").read_text())
    for name in ("../../elsewhere", "/etc", "members/../0", "members/0/.."):
        file["members"][0]["folder"] = name
        (copied / "model.json").write_text(json.dumps(file))
        with pytest.raises(DataError, match="String should match pattern"):
            read_ensemble(copied)


def test_a_missing_member_is_named(copied):
    shutil.rmtree(copied / "members" / "1")
    with pytest.raises(DataError, match="there is no such model folder") as wrong:
        uk.load(copied)
    assert wrong.value.where == str(copied / "members" / "1")


def test_a_damaged_source_publishes_nothing(validated, tmp_path):
    source = shutil.copytree(validated / "fold-0" / "model", tmp_path / "source")
    weights = bytearray((source / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (source / "weights.safetensors").write_bytes(weights)
    plan = Plan.from_json((source / "plan.json").read_bytes(), where=source)
    with pytest.raises(DataError, match="these weights are not the ones that were saved"):
        write_ensemble(tmp_path / "out", [("a", source)], plan)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]
    whole = write_ensemble(tmp_path / "out", [("a", validated / "fold-0" / "model")], plan)
    assert EnsembleFile.from_json((tmp_path / "out" / "model.json").read_bytes(), where="x") == whole


def test_info_says_what_it_is_and_loads_no_torch(validated):
    found = uk.info(validated)
    alone = uk.info(validated / "fold-0")
    assert found.parameters == 3 * alone.parameters
    assert found.facts["members"].startswith("3: validated, fold 0 (")
    assert found.facts["networks"] == "3"
    assert found.facts["memory"].endswith("32 bytes per pixel of an image")  # four classes, eight bytes each
    assert found.measured_on == "cross-validation"
    assert found.scores.keys() == {"scratch", "particle", "stain", "mean"}
    code = f"import sys, unetkit as u; u.info({str(validated)!r}); print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_what_needs_a_single_network_says_so(validated, wafers, tmp_path):
    told = "this model is an ensemble, and this needs a single network"
    for verb in (
        lambda: uk.export(validated, "onnx", tmp_path / "e"),
        lambda: uk.compress(validated, wafers, tmp_path / "c"),
        lambda: uk.update(validated, wafers, tmp_path / "u", method="finetune"),
        lambda: uk.train(wafers, tmp_path / "t", init=validated),
        lambda: uk.Registry(tmp_path / "r").add(validated),
        lambda: uk.load(validated).sole,
    ):
        with pytest.raises(UsageError, match=told) as wrong:
            verb()
        assert wrong.value.cure == f"name one of its members, such as {validated / 'model' / 'members' / '0'}"
    one = uk.load(validated / "model" / "members" / "0")
    assert one.sole is one.predictor


def test_evaluate_knows_that_it_has_seen_every_case(validated, wafers):
    scores = uk.evaluate(validated, wafers)
    assert scores.split == "training"
    assert len(scores.cases) == 12


@pytest.mark.parametrize("tta", [False, True])
def test_an_image_that_stays_in_its_file_has_the_labels_of_the_one_in_memory(validated, tmp_path, tta):
    """Every network goes down the image beside the others: tiles of 16 over 70 rows."""
    import tifffile

    pixels = np.random.default_rng(0).integers(0, 255, (70, 50), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", pixels, tile=(16, 16))
    small = {"inference.tile_size": "[16,16]", "inference.whole_image_pixels": "0"}
    model = uk.load(validated).with_values({**small, "inference.stream_above_pixels": "1"})
    result = uk.predict(model, tmp_path / "x.tif", tmp_path / "out", tta=tta)
    with tifffile.TiffFile(result.written[0].path) as written:
        assert written.is_bigtiff  # row by row
        found = written.asarray()
    labels = model.predict(pixels, tta=tta).labels
    np.testing.assert_array_equal(found, np.array(model.plan.data.label_values)[labels])
    counted = [int((labels == index).sum()) for index in range(1, len(model.classes))]
    assert list(result.written[0].pixels.values()) == counted


def test_a_refined_image_for_rows_is_predicted_as_a_whole_and_said(validated, tmp_path):
    import tifffile

    tifffile.imwrite(tmp_path / "x.tif", np.zeros((40, 50), np.uint8))
    values = {"inference.stream_above_pixels": "1", "inference.guided_radius": "2"}
    said = []

    class Watch:
        def begin(self, *_, **__): ...
        def advance(self, *_, **__): ...
        def end(self): ...
        def say(self, text):
            said.append(text)

    model = uk.load(validated).with_values(values)
    uk.predict(model, tmp_path / "x.tif", tmp_path / "out", progress=Watch())
    assert said == ["x is refined: it is predicted in memory as a whole"]
