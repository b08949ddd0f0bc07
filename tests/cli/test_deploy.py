import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import unetkit
from unetkit.cli import main
from unetkit.records.benched import BenchResult, BenchRow, Machine

pytestmark = pytest.mark.usefixtures("excepthook", "unchecked")


def test_export_compares_and_predict_takes_what_it_wrote(
    finished, exported, wafers, tmp_path, capsys, monkeypatch
):
    """By way of the ONNX file that was written for this very model, which takes seconds."""
    pytest.importorskip("openvino", reason="openvino is not installed")
    monkeypatch.setattr(
        torch.onnx, "export", lambda network, example, path, **_: shutil.copy(exported / "network.onnx", path)
    )
    out = tmp_path / "exported"
    words = ["export", str(finished), "--to", "openvino", "--out", str(out), "--data", str(wafers)]
    assert main(words) == 0
    told = capsys.readouterr()
    assert "pytorch float32" in told.out
    assert "Dice scratch" in told.out
    assert "8 given images" in told.out
    assert "(allowed" in told.out
    assert f"model: {out}" in told.out
    assert f"predict {out} IMAGES" in told.err
    assert main(["predict", str(out), str(wafers / "images"), "--out", str(tmp_path / "p"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["device"] == "cpu (openvino)"
    assert len(found["written"]) == 12
    assert main([*words, "--quiet"]) == 2
    assert "there is an exported model already" in capsys.readouterr().err


def test_bytes_in_and_classes_out_are_asked_for_and_refused_where_they_cannot_be(finished, tmp_path, capsys):
    words = ["export", str(finished), "--to", "onnx", "--out", str(tmp_path / "x"), "--dry-run"]
    assert main([*words, "--classes"]) == 0
    assert main([*words, "--uint8"]) == 2
    assert "the same for every image, got 'zscore'" in capsys.readouterr().err


def test_a_dry_run_and_a_wrong_runtime(finished, tmp_path, capsys):
    words = ["export", str(finished), "--out", str(tmp_path / "x")]
    assert main([*words, "--to", "onnx", "--dry-run"]) == 0
    assert f"would write {tmp_path / 'x' / 'network.onnx'}" in capsys.readouterr().out
    assert main([*words, "--to", "onnx", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runtime"] == "onnx"
    assert main([*words, "--to", "onyx"]) == 2
    assert "there is no runtime 'onyx'. Do this: use 'onnx'" in capsys.readouterr().err


def test_bench_times_an_exported_model_where_torch_cannot_be_imported(exported, tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('torch was imported')")
    own = str(Path(unetkit.__file__).parents[1])
    words = ["bench", str(exported), "--image", "56x40", "--seconds", "0", "--json", "--quiet"]
    small = "from unetkit.runtimes import roofline; roofline._EDGE, roofline._COPIED = 512, 2**22; "
    code = (  # what shows the machine's best takes seconds at its own size
        "import sys; import unetkit.workflows.bench_worker as worker; "
        f"worker._CODE = {small!r} + worker._CODE; "
        f"from unetkit.cli import main; sys.exit(main({words!r}))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), own])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert "torch" not in answer.stderr
    found = BenchResult.model_validate_json(answer.stdout)
    assert found.image == (40, 56)  # width first on the command line
    (row,) = found.rows
    assert (row.runtime, row.device) == ("onnx", "cpu")
    assert row.multiply_adds
    assert row.multiply_adds > 0


def test_bench_shows_a_table_the_machine_and_what_is_missing(monkeypatch, tmp_path, capsys):
    time = {"median": 0.5, "fastest": 0.5, "slowest": 0.5, "units": 3}
    numbers = dict.fromkeys(("network_mb", "tiles_per_second", "start_mb", "loaded_mb", "peak_mb"), 7.5)
    missing = ("multiply_adds", "tile_bytes", "array", "array_mpixels_per_second", "device_mb", "gflops")
    row = BenchRow(
        model="mine", folder=tmp_path, runtime="onnx", precision="int8", device="cpu", parameters=1,
        tile_size=(8, 8), batch_size=1, tiles=time, file=time, file_mpixels_per_second=2.25,
        notes=("why it is missing",),
        **numbers, **dict.fromkeys((*missing, "peak_share", "roofline_gflops", "roofline_share")),
    )  # fmt: skip
    machine = Machine(device="cpu", threads=2, gflops=20.0, gbytes_per_second=2.0)
    result = BenchResult(
        image=(40, 56), channels=1, pixels="uint8", suffix=".png", seconds=1.0, processor="",
        machines=(machine,), rows=(row,),
    )  # fmt: skip
    asked = {}

    def work(models, **words):
        asked.update(words, models=models)
        return result

    monkeypatch.setattr("unetkit.workflows.bench.bench", work)
    out = tmp_path / "out"
    words = ["bench", "a", "b", "--image", "56x40", "--seconds", "2", "--device", "cpu", "--out", str(out)]
    assert main(words) == 0
    asked.pop("progress")
    assert asked == {
        "models": [Path("a"), Path("b")], "shape": (40, 56), "seconds": 2.0, "device": "cpu",
        "out": out, "dry_run": False,
    }  # fmt: skip
    told = capsys.readouterr()
    assert "40 × 56 pixels (.png)" in told.out
    assert "of float32 peak" in told.out
    assert "cpu: float32 matrix product 20 GFLOP/s, copy 2 GB/s, 2 threads" in told.out
    assert "mine: why it is missing" in told.out
    assert f"page: {out / 'bench.html'}" in told.out
    assert "measured and what is derived" in told.err
    assert main(["bench", "a", "--image", "8x16x32", "--json", "--quiet"]) == 0
    assert asked["shape"] == (8, 16, 32)
    assert BenchResult.model_validate_json(capsys.readouterr().out) == result


def test_bench_previews_and_refuses(finished, tmp_path, capsys):
    assert main(["bench", str(finished), "--dry-run"]) == 0
    assert f"would time {finished} (pytorch) on 128 × 128 pixels" in capsys.readouterr().out
    assert main(["bench", str(finished), "--image", "4k"]) == 2
    assert "'--image 4k' is no image" in capsys.readouterr().err
    assert main(["bench", str(finished), "--image", "0x8"]) == 2
    assert "1 pixel or more on each" in capsys.readouterr().err
    assert main(["bench", str(tmp_path)]) == 2
    assert "there is no model here" in capsys.readouterr().err


def test_values_of_an_export_are_set_by_hand(finished, tmp_path, capsys):
    words = ["export", str(finished), "--to", "onnx", "--out", str(tmp_path / "out"), "--dry-run"]
    assert main([*words, "--set", "inference.overlap_fraction=0.5"]) == 0
    assert "scores.json" not in capsys.readouterr().out
    assert main([*words, "--set", "network.prune_level=1"]) == 2
    assert "the decoder 'unet' has no levels to cut" in capsys.readouterr().err
