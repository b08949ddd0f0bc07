import json

import pytest

from unetkit.cli import main

pytestmark = pytest.mark.usefixtures("excepthook")


def test_plan_shows_reasons_and_writes_a_plan_that_train_takes(wafers, tiny_words, tmp_path, capsys):
    file = tmp_path / "plan.json"
    assert main(["plan", str(wafers), "-o", str(file), *tiny_words]) == 0
    told = capsys.readouterr()
    assert "training.steps" in told.out
    assert "set by hand" in told.out
    assert f"wrote {file}" in told.err
    assert json.loads(file.read_text())["training"]["steps"] == 6
    assert main(["train", str(wafers), "--plan", str(file), "--out", str(tmp_path / "r"), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "would train on 8 cases, hold out 4" in told
    assert "would need about" in told
    assert not (tmp_path / "r").exists()


def test_dry_runs_write_nothing(wafers, tmp_path, tiny_words, capsys):
    assert main(["plan", str(wafers), "--dry-run", "--json", "-q", "-o", str(tmp_path / "p.json")]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["rank"] == 2
    words = ["train", str(wafers), "--dry-run", "--json", "-q", "--out", str(tmp_path / "r"), *tiny_words]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["held_out"] == 4
    assert main(["demo", "--dry-run", "--out", str(tmp_path / "d")]) == 0
    assert "would write" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_key_costs_no_reading(tmp_path, capsys):
    assert main(["train", str(tmp_path), "--out", str(tmp_path / "r"), "--set", "training.stepz=6"]) == 2
    assert "use 'training.steps'" in capsys.readouterr().err


def test_demo_ends_with_what_to_try_next(monkeypatch, tmp_path, capsys):
    from unetkit.workflows import demo

    def made(out, **asked):
        assert asked["minutes"] == 2
        assert asked["changes"] == {"training.steps": "6"}
        paths = {name: out / name for name in ("data", "run", "model", "report", "prediction", "overlay")}
        return demo.DemoResult(out=out, **paths, dice={"mean": 0.5}, next=("unet a", "unet b", "unet c"))

    monkeypatch.setattr(demo, "demo", made)
    words = ["demo", "--out", str(tmp_path), "--minutes", "2", "--set", "training.steps=6"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == ["  unet a", "  unet b", "  unet c"]
    assert f"report:  {tmp_path / 'report'}" in lines
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["dice"] == {"mean": 0.5}
