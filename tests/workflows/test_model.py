import json

import numpy as np
import pytest
import torch
from PIL import Image

from unetkit.data.formats import format_of
from unetkit.data.labels import raw_values
from unetkit.errors import DataError, UsageError
from unetkit.networks.store import load_model
from unetkit.records.case import Grid
from unetkit.records.files import sha256
from unetkit.records.prediction import Prediction
from unetkit.records.run import Run
from unetkit.runtimes import devices
from unetkit.runtimes.devices import Layout
from unetkit.runtimes.pytorch import PytorchRuntime
from unetkit.workflows.model import load
from unetkit.workflows.predict import predict


def test_a_file_and_its_pixels_give_the_same_labels(finished, wafers, tmp_path):
    model = load(finished)
    assert model.folder == finished / "model"
    assert model.classes == ("background", "scratch", "particle", "stain")
    path = wafers / "images" / "wafer01-2.png"
    one, two = model.predict(path), model.predict(np.asarray(Image.open(path)))
    assert np.array_equal(np.asarray(one), np.asarray(two))
    saved = model.save(one, tmp_path / "x.png")
    assert np.array_equal(np.asarray(Image.open(saved)), one.labels)


def test_a_dicom_segmentation_has_the_classes_and_needs_its_image(finished, write_series, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    model = load(finished)
    random = np.random.default_rng(0)
    (image,) = write_series(tmp_path / "a", random.integers(0, 255, (1, 64, 64), dtype=np.uint8))
    prediction = Prediction("a", random.integers(0, 4, (64, 64)).astype(np.uint8), Grid.plain(2))
    with pytest.raises(DataError, match="refers to the images it was drawn on, and none was named"):
        model.save(prediction, tmp_path / "x.dcm")
    path = model.save(prediction, tmp_path / "x.dcm", source=image)
    assert [item.SegmentLabel for item in pydicom.dcmread(path).SegmentSequence] == list(model.classes[1:])
    np.testing.assert_array_equal(format_of(path).read_label(path)[0], prediction.labels)


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


def test_two_loads_compute_alike_and_as_in_training(finished, monkeypatch):
    """Nothing is timed where the training's layout is known: a timing may come out differently each time."""

    def timed(*_, **__):
        raise AssertionError("a layout was timed")

    monkeypatch.setattr(devices, "fastest_layout", timed)
    (event,) = Run(finished).events("layout")
    for _ in range(2):
        layout = load(finished).predictor.runtime.layout  # pyright: ignore[reportAttributeAccessIssue]
        assert (layout.precision, layout.memory_format) == (event["precision"], event["memory_format"])


@pytest.mark.parametrize("facts", [{"device": "cuda:0"}, {"precision": "float16"}, {"memory format": None}])
def test_elsewhere_the_fastest_layout_is_measured(finished, tmp_path, monkeypatch, facts):
    for file in (finished / "model").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    seal = json.loads((tmp_path / "model.json").read_text())
    seal["facts"] = {name: text for name, text in {**seal["facts"], **facts}.items() if text}
    (tmp_path / "model.json").write_text(json.dumps(seal))
    asked: list[tuple[object, object]] = []

    def timed(network, shape, device, **wanted):
        asked.append((shape, wanted["training"]))
        return devices.Layout()

    monkeypatch.setattr(devices, "fastest_layout", timed)
    model = load(tmp_path, device="cpu")
    assert asked == [((model.plan.inference.batch_size, len(model.plan.data.channels), 32, 32), False)]


def test_a_plan_that_wants_an_exported_network_says_how_to_get_one(finished, tmp_path):
    for file in (finished / "model").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    plan = json.loads((tmp_path / "plan.json").read_text())
    plan["inference"]["runtime"] = "onnx"
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    seal = json.loads((tmp_path / "model.json").read_text())
    seal["plan_sha256"] = sha256(tmp_path / "plan.json")
    (tmp_path / "model.json").write_text(json.dumps(seal))
    with pytest.raises(UsageError, match="the plan wants the runtime 'onnx'") as refused:
        load(tmp_path)
    assert refused.value.cure.startswith(f"unet export {tmp_path} --to onnx --out FOLDER")


def test_a_nested_network_is_cut_at_inference(nested, wafers, tmp_path):
    image = next((wafers / "images").iterdir())
    whole = load(nested)
    shallow = whole.with_values({"network.prune_level": "1"})
    assert shallow.plan.network.prune_level == 1
    assert shallow.sole.runtime.network.state_dict().keys() < whole.sole.runtime.network.state_dict().keys()
    tile = np.random.default_rng(0).normal(size=(1, 1, 32, 32)).astype(np.float32)
    wanted = PytorchRuntime(load_model(nested, prune_level=1)[0], torch.device("cpu"), Layout()).run(tile)
    assert np.array_equal(shallow.sole.runtime.run(tile), wanted)
    assert not np.array_equal(whole.sole.runtime.run(tile), wanted)
    predict(nested, image, tmp_path / "out", changes={"network.prune_level": "1"})
    found = np.asarray(Image.open(tmp_path / "out" / f"{image.stem}.png"))
    assert np.array_equal(found, raw_values(shallow.predict(image).labels, whole.plan.data))
    assert whole.with_values({"network.prune_level": "0"}).sole.runtime is whole.sole.runtime


def test_a_level_is_for_nested_networks_that_were_not_exported(nested, finished, exported):
    with pytest.raises(UsageError, match="the network has 2 levels"):
        load(nested).with_values({"network.prune_level": "3"})
    with pytest.raises(UsageError, match="the decoder 'unet' has no levels to cut"):
        load(finished).with_values({"network.prune_level": "1"})
    with pytest.raises(UsageError, match=r"'network.prune_level' was decided when the model was made"):
        load(exported).with_values({"network.prune_level": "1"})
    with pytest.raises(UsageError, match=r"'network.widths' was decided when the model was made"):
        load(nested).with_values({"network.widths": "[4]"})
