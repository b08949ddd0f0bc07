"""Exports that take the files' own bytes and answer classes: when they may, and that they answer alike."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

import unetkit as uk
from unetkit.errors import UsageError
from unetkit.records.case import Intensity
from unetkit.records.plan import EXAMPLE, Normalization, Plan
from unetkit.workflows.ends import Normalised, intensities_in, plan_with_ends
from unetkit.workflows.export import export
from unetkit.workflows.exported import read_exported
from unetkit.workflows.observing import read_reference
from unetkit.workflows.predict import predict

FIXED = '[{"scheme": "zero_one", "high": 255}]'


@pytest.fixture(scope="module")
def fixed(wafers, tmp_path_factory, tiny):
    """A run whose pictures are normalised alike."""
    folder = tmp_path_factory.mktemp("fixed") / "run"
    exact = {"training.precision": "float32", "training.memory_format": "contiguous"}
    changes = {**tiny, **exact, "preparation.normalization": FIXED, "inference.whole_image_pixels": "0"}
    uk.train(wafers, folder, changes=changes, fold=(0, 3))
    return folder


@pytest.fixture(scope="module")
def stored(fixed, wafers, tmp_path_factory, without_checks):
    """Its export for bytes."""
    with without_checks():
        return exported(fixed, wafers, tmp_path_factory.mktemp("stored") / "onnx", uint8=True)


@pytest.fixture(scope="module")
def ids(fixed, tmp_path_factory, without_checks):
    """Its export for bytes that answers classes."""
    with without_checks():
        return exported(fixed, None, tmp_path_factory.mktemp("ids") / "onnx", uint8=True, classes=True)


def exported(run, data, out, **words):
    for package in ("onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    export(run, "onnx", out, data=data, **words)
    return out


def plan_of(normalization, **changes):
    tree = {**EXAMPLE, "preparation": {"normalization": [normalization]}}
    return Plan.model_validate({**tree, **{key: {**EXAMPLE[key], **value} for key, value in changes.items()}})


def test_the_folder_says_what_goes_in_and_was_compared(stored):
    record, plan = read_exported(stored)
    assert record.image.startswith("(B, 1, S0, S1) uint8, as in the files; the network normalises")
    assert record.logits == "(B, 4, S0, S1) float32"
    assert plan.inference.network_input == "uint8"
    assert plan.reasons["inference.network_input"] == "Asked for at the export."
    assert plan.inference.network_output == "logits"
    assert "inference.network_output" in plan.reasons  # of the training
    assert record.parity.faults() == ()
    assert record.parity.images == 8
    assert 0 < record.parity.max_difference < 1e-4
    assert record.parity.dice_after == pytest.approx(record.parity.dice_before, abs=1e-3)


def test_the_factor_is_in_the_first_kernel_and_nothing_is_left_of_it(stored, fixed):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    graph = onnx.load(stored / "network.onnx").graph
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    (first,) = (node for node in graph.node if "image" in node.input and node.op_type != "Shape")
    assert first.op_type == "Cast"
    (second,) = (node for node in graph.node if first.output[0] in node.input and node.op_type != "Shape")
    assert second.op_type == "Conv"
    held = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    trained = uk.load(fixed).predictor.runtime.network.encoder.stages[0][0].conv.weight
    wanted = trained.detach().numpy() / np.float32(255)
    np.testing.assert_allclose(held[second.input[1]], wanted, rtol=1e-6)


def test_predict_without_torch_is_what_the_model_says(stored, fixed, wafers, tmp_path):
    words = ["predict", str(stored), str(wafers / "images"), "--out", str(tmp_path / "out"), "--tta", "-q"]
    code = (
        "import sys; from unetkit.cli import main; "
        f"code = main({words!r}); print(code, 'torch' in sys.modules, 'onnxruntime' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "0 False True"
    trained = uk.load(fixed)
    for path in sorted((wafers / "images").iterdir()):
        found = np.asarray(Image.open(tmp_path / "out" / path.name))
        assert (found == trained.predict(path, tta=True).labels).mean() > 0.999


@pytest.mark.parametrize("kind", ["stored", "ids"])
def test_an_image_that_stays_in_its_file_gets_the_same_labels(kind, request, wafers, tmp_path):
    model = request.getfixturevalue(kind)
    paths = sorted((wafers / "images").iterdir())[:6]
    parts = [np.asarray(Image.open(path)) for path in paths]
    scene = np.concatenate([np.concatenate(parts[:3], axis=1), np.concatenate(parts[3:], axis=1)])
    path = tmp_path / "scene.tif"
    tifffile.imwrite(path, scene, photometric="minisblack", tile=(32, 32))
    rows, whole = (
        predict(model, path, tmp_path / name, changes={"inference.stream_above_pixels": above})
        for name, above in (("rows", "1"), ("whole", "1000000000"))
    )
    assert not rows.refused + whole.refused
    with tifffile.TiffFile(rows.written[0].path) as one, tifffile.TiffFile(whole.written[0].path) as other:
        assert one.is_bigtiff
        assert np.array_equal(one.asarray(), other.asarray())


def test_an_export_that_answers_classes(ids, fixed, wafers):
    record, plan = read_exported(ids)
    assert record.logits == "(B, S0, S1) class ids"
    assert record.parity.max_difference is None
    assert record.parity.label_agreement > 0.999
    assert plan.inference.network_output == "classes"
    model, trained = uk.load(ids), uk.load(fixed)
    image = sorted((wafers / "images").iterdir())[0]
    whole = {"inference.whole_image_pixels": "1000000"}
    one, other = (each.with_values(whole).predict(image).labels for each in (model, trained))
    assert (one == other).mean() > 0.999  # of one piece nothing votes
    with pytest.raises(UsageError, match="probabilities need logits"):
        model.predict(image, probabilities=True)
    with pytest.raises(UsageError, match="needs logits, and this network answers classes"):
        model.with_values({"inference.mode": "exact"})
    with pytest.raises(UsageError, match="was decided when the model was made"):
        model.with_values({"inference.network_output": "logits"})


def test_pixels_of_more_bits_are_refused_and_the_others_done(stored, wafers, tmp_path):
    (tmp_path / "in").mkdir()
    first = sorted((wafers / "images").iterdir())[0]
    (tmp_path / "in" / "good.png").write_bytes(first.read_bytes())
    Image.fromarray(np.full((40, 40), 300, np.uint16)).save(tmp_path / "in" / "deep.png")
    result = predict(stored, tmp_path / "in", tmp_path / "out")
    assert [each.id for each in result.written] == ["good"]
    (refused,) = result.refused
    assert "expected pixels of type uint8, which is what this network takes, got uint16" in refused.problem


def test_only_fixed_normalisations_of_bytes_are_allowed():
    fixed = {"scheme": "zero_one", "high": 255.0}
    made = plan_with_ends(plan_of(fixed), uint8=True, classes=False)
    assert intensities_in(made) == (Intensity(-np.inf, np.inf, 0.0, 1 / 255),)
    assert intensities_in(plan_of(fixed)) == ()
    slices = {"rank": 3, "slice_axis": 0, "context_slices": 1, "channels": ["a", "b"]}
    two = {"normalization": [fixed, {"scheme": "none"}]}
    volume = Plan.model_validate({**EXAMPLE, "data": {**EXAMPLE["data"], **slices}, "preparation": two})
    rules = intensities_in(plan_with_ends(volume, uint8=True, classes=False))
    assert [rule.scale for rule in rules] == [1 / 255] * 3 + [1.0] * 3
    assert plan_with_ends(plan_of(fixed), uint8=False, classes=False) == plan_of(fixed)
    with pytest.raises(UsageError, match="the same for every image, got 'zscore'") as refused:
        plan_with_ends(plan_of({"scheme": "zscore"}), uint8=True, classes=False)
    said = refused.value.cure.split("normalization=")[1].split("'")[0]
    assert Normalization.model_validate(json.loads(said)[0]) == Normalization(**fixed)
    with pytest.raises(UsageError, match="expected a model of uint8 pictures, got one of int16"):
        plan_with_ends(plan_of(fixed, data={"pixels": "int16"}), uint8=True, classes=False)
    spaced = plan_of(fixed).with_values({"preparation.spacing_mm": "[1, 1]"})
    with pytest.raises(UsageError, match="are resampled to preparation"):
        plan_with_ends(spaced, uint8=True, classes=False)
    assert plan_with_ends(spaced, uint8=False, classes=True).inference.network_output == "classes"
    with pytest.raises(UsageError, match=r"inference\.mode exact needs logits"):
        plan_with_ends(plan_of(fixed, inference={"mode": "exact"}), uint8=False, classes=True)


def test_what_cannot_be_is_refused_before_any_work(finished, tmp_path):
    with pytest.raises(UsageError, match="the same for every image"):
        export(finished, "onnx", tmp_path / "out", uint8=True, dry_run=True)
    with pytest.raises(UsageError, match="export has no option 'int4'") as refused:
        export(finished, "onnx", tmp_path / "out", int4=True)
    assert refused.value.cure.startswith("use 'int8'")
    assert list(tmp_path.iterdir()) == []


def test_the_reference_normalises_each_image_of_a_batch():
    class Same:
        notes = ("said",)

        def run(self, batch):
            return batch

    rule = (Intensity(10.0, 200.0, 100.0, 0.5), Intensity(-np.inf, np.inf, 0.0, 1.0))
    runtime = Normalised(Same(), rule)
    pixels = np.array([[[0, 255], [7, 8]], [[100, 150], [9, 10]]], np.uint8)
    assert runtime.run(pixels).tolist() == [[[-45, 50], [7, 8]], [[0, 25], [9, 10]]]
    assert runtime.notes == ("said",)


def test_an_export_that_answers_classes_is_measured_without_confidence(ids, wafers):
    scores = uk.evaluate(ids, wafers)
    assert len(scores.cases) == 12
    assert not scores.calibration


def test_an_export_that_answers_classes_is_watched_without_entropy(ids, wafers, tmp_path):
    model, dark = shutil.copytree(ids, tmp_path / "model"), tmp_path / "dark"
    dark.mkdir()
    for path in (wafers / "images").iterdir():
        Image.fromarray(np.asarray(Image.open(path)) // 2).save(dark / path.name)
    assert uk.monitor(model, wafers / "images", learn=True).images == 12
    reference = read_reference(model)
    assert "prediction.entropy" not in reference.names
    assert reference.embeddings == ()
    names, classes = set(reference.names), read_exported(ids)[1].data.classes[1:]
    assert {f"prediction.area.{name}" for name in classes} < names
    page = tmp_path / "page.html"
    same, other = uk.monitor(model, wafers / "images"), uk.monitor(model, dark, html=page)
    assert same.drifted == ()
    assert "input" in other.drifted
    for result in (same, other):
        assert {test.name for test in result.tests} == names
        assert any("does not show its embedding" in note for note in result.notes)
    assert "entropy" not in page.read_text()
