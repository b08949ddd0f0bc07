import json

import pytest

from unetkit.cli import main

pytestmark = pytest.mark.usefixtures("excepthook", "unchecked")


def test_export_compares_and_predict_takes_what_it_wrote(finished, wafers, tmp_path, capsys):
    for package in ("openvino", "onnxscript"):
        pytest.importorskip(package, reason=f"{package} is not installed")
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
