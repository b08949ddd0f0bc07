"""What one side does when it is asked, what it says of itself, and how it ends."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from unetkit.data.formats import format_of
from unetkit.errors import DataError, ResourceError, UsageError
from unetkit.networks.store import save_model
from unetkit.networks.unet import build
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.runtimes.devices import Layout
from unetkit.workflows import bench_worker
from unetkit.workflows.bench_image import write_image
from unetkit.workflows.bench_worker import ModelSide, RooflineSide, Worker
from unetkit.workflows.model import layout_facts, load, plan_in
from unetkit.workflows.model_folder import model_folder


@pytest.fixture
def image(finished, tmp_path):
    folder = tmp_path / "image"
    folder.mkdir()
    return write_image(folder, plan_in(model_folder(finished)), (40, 56))


def side(folder, image, tmp_path):
    return ModelSide(model=str(folder), device="cpu", source=str(image), out=str(tmp_path / "labels"))


def test_a_trained_model_says_what_it_is_and_what_a_tile_costs(finished, image, tmp_path):
    from unetkit.planning.count import count_tile

    one = side(finished, image, tmp_path)
    facts, plan = one.facts(), plan_in(model_folder(finished))
    counted = count_tile(plan)
    assert facts["runtime"] == "pytorch"
    assert facts["precision"] in ("float32", "bfloat16")
    assert (facts["device"], facts["parameters"]) == ("cpu", counted.parameters)
    assert (facts["tile_size"], facts["batch_size"]) == ((32, 32), plan.inference.batch_size)
    first = one.first()
    assert (first["multiply_adds"], first["elements"]) == (counted.multiply_adds, counted.elements)
    assert (first["in_memory"], first["device_mb"], first["notes"]) == (True, None, [])
    assert first["peak_mb"] >= first["loaded_mb"] >= 0
    assert first["start_mb"] > 1


def test_the_file_that_is_written_is_what_predict_says(exported, image, tmp_path):
    one = side(exported, image, tmp_path)
    assert len(one.does["file"](seconds=0)["seconds"]) == 1
    written = np.asarray(Image.open(tmp_path / "labels" / "image.png"))
    assert np.array_equal(written, load(exported).predict(image).labels)


def test_the_work_is_done_with_what_the_network_takes(exported, image, tmp_path, monkeypatch):
    one = side(exported, image, tmp_path)
    seen = []
    model = one._model
    monkeypatch.setattr(model.predictor.runtime, "run", lambda batch: seen.append(batch.shape))
    one.does["tiles"](seconds=0)
    assert seen == [(model.plan.inference.batch_size, 1, 32, 32)]
    monkeypatch.setattr(model.predictor, "array", lambda pixels, grid: seen.append(pixels.shape))
    one.does["array"](seconds=0)
    assert seen[1:] == [(1, 40, 56)]


def test_an_exported_one_reads_its_count_and_one_of_before_has_none(exported, image, tmp_path, monkeypatch):
    one = side(exported, image, tmp_path)
    record, plan = bench_worker.read_exported(exported)
    assert one.facts()["runtime"] == plan.inference.runtime == "onnx"
    assert one.facts()["precision"] == "float32"
    assert one.first()["multiply_adds"] == record.multiply_adds > 0
    old = record.model_copy(update={"multiply_adds": None, "elements": None})
    monkeypatch.setattr(bench_worker, "read_exported", lambda folder: (old, plan))
    assert one.first()["multiply_adds"] is None


def test_eight_bits_are_named_and_torch_only_plays_them_through(finished, exported, image, tmp_path):
    for folder, named in ((exported, "int8"), (finished, ", int8 played through")):
        one = side(folder, image, tmp_path)
        plan: Plan = one._model.plan
        network = plan.network.model_copy(update={"quantization": "ptq"})
        one._model.plan = plan.model_copy(update={"network": network})
        assert one.facts()["precision"].endswith(named)


def test_what_predict_leaves_in_its_file_is_not_taken_into_memory(exported, tmp_path, monkeypatch):
    monkeypatch.setattr("unetkit.workflows.bench_image.PNG_PIXELS", 1000)
    folder = tmp_path / "image"
    folder.mkdir()
    image = write_image(folder, plan_in(exported), (60, 60))
    assert image.suffix == ".tif"
    one = side(exported, image, tmp_path)
    one._model = one._model.with_values({"inference.stream_above_pixels": "1000"})
    assert one.first()["in_memory"] is False
    one._model = one._model.with_values({"inference.stream_above_pixels": "3600"})
    assert one.first()["in_memory"] is True


def test_an_image_that_is_refused_is_an_error(exported, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError) as refused:
        side(exported, broken, tmp_path).first()
    assert refused.value.where == str(broken)


VOLUME = {
    "data.rank": "3",
    "training.patch_size": "[4,16,16]",
    "inference.tile_size": "[4,16,16]",
    "network.kernels": "[[3,3,3],[3,3,3]]",
    "network.strides": "[[1,1,1],[2,2,2]]",
}
SLICED = {"data.rank": "3", "data.slice_axis": "0", "data.context_slices": "1", "data.pixels": "int16"}


@pytest.mark.parametrize(("changes", "tile"), [(VOLUME, (1, 1, 4, 16, 16)), (SLICED, (1, 3, 32, 32))])
def test_volumes_go_the_same_way_whole_or_slice_by_slice(changes, tile, tmp_path):
    plan = Plan.model_validate(EXAMPLE).with_values(changes)
    data, folder = plan.data, tmp_path / "image"
    network = build(plan.network, rank=data.input_rank, in_channels=data.input_channels, classes=2)
    facts = layout_facts(torch.device("cpu"), Layout())  # nothing has to be timed to find the fastest
    save_model(tmp_path / "model", network, plan, facts=facts)
    folder.mkdir()
    one = side(tmp_path / "model", write_image(folder, plan, (6, 20, 18)), tmp_path)
    assert one._tile.shape == tile
    assert one.first()["multiply_adds"] > 0
    for do in ("tiles", "array", "file"):
        (spent,) = one.does[do](seconds=0)["seconds"]
        assert spent > 0
    labels, _ = format_of(tmp_path / "x.nii.gz").read_label(tmp_path / "labels" / "image.nii.gz")
    assert labels.shape == (6, 20, 18)


def test_the_machines_best_is_timed_and_said():
    one = RooflineSide("cpu", edge=8, copied=64)
    facts = one.facts()
    assert (facts["operations"], facts["moved_bytes"]) == (1024, 128)
    assert facts["threads"] >= 1
    for do in ("multiply", "copy"):
        (spent,) = one.does[do](seconds=0)["seconds"]
        assert spent > 0


def test_a_process_hands_its_refusal_on_and_an_early_end_is_told(tmp_path):
    with Worker("mine") as worker:
        with pytest.raises(UsageError, match="there is no model here") as refused:
            worker.ask("start", model=str(tmp_path), device="cpu", source="", out="")
        assert refused.value.where == str(tmp_path)
        os.kill(worker._process.pid, signal.SIGKILL)
        with pytest.raises(ResourceError, match=r"that ran 'mine' ended early \(exit code -9\)") as ended:
            worker.ask("first")
        assert "a smaller --image" in ended.value.cure
        with pytest.raises(ResourceError):  # nobody reads what it is asked any more
            worker.ask("first")


def test_a_process_is_gone_with_its_block():
    with Worker("mine") as worker:
        assert worker._process.poll() is None
    assert worker._process.poll() is not None
