"""The verbs of models that live on, from words to exit codes."""

from __future__ import annotations

import json

import pytest

from unetkit.cli import main

pytestmark = pytest.mark.usefixtures("excepthook")


def test_an_update_that_could_not_be_costs_no_reading(finished, wafers, tmp_path, capsys):
    words = ["update", str(finished), str(wafers), "--out", str(tmp_path / "r")]
    assert main(words) == 2
    assert (
        "'replay' needs old data, and none was named. Do this: name it with --memory"
        in capsys.readouterr().err
    )
    assert main([*words, "--method", "lwf", "--dry-run"]) == 0
    assert f"would train {finished / 'model'} on {wafers} by lwf" in capsys.readouterr().out
    assert not (tmp_path / "r").exists()


def test_an_update_shows_what_was_kept(finished, wafers, tmp_path, capsys):
    out = str(tmp_path / "r")
    words = ["update", str(finished), str(wafers), "--out", out, "--method", "finetune", "--fold", "0/3"]
    words += ["--set", "training.steps=1", "--set", "inference.fit_cases=0"]
    assert main(words) == 0
    told = capsys.readouterr()
    assert "Dice mean" in told.out
    assert "BWT" in told.out
    assert "note: no golden set was named" in told.out
    assert "registry add REGISTRY" in told.err
    assert main([*words, "--resume", "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["domains"] == ["new"]


def test_a_registry_from_words(finished, wafers, tmp_path, capsys):
    registry = str(tmp_path / "registry")
    assert main(["registry", "list", registry]) == 2
    assert "there is no registry here" in capsys.readouterr().err
    assert main(["registry", "add", registry, str(finished), "--dry-run"]) == 0
    assert not (tmp_path / "registry").exists()
    assert main(["registry", "add", registry, str(finished)]) == 0
    assert "version 1: candidate" in capsys.readouterr().out
    assert main(["registry", "promote", registry, "1"]) == 2
    assert "--golden" in capsys.readouterr().err
    assert main(["registry", "promote", registry, "1", "--golden", str(wafers), "-q"]) == 0
    assert "version 1 is live" in capsys.readouterr().out
    assert main(["registry", "add", registry, str(finished), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["number"] == 2
    assert main(["registry", "promote", registry, "2", "-q"]) == 4
    assert "it is better on no golden set" in capsys.readouterr().err
    assert main(["registry", "list", registry, "--json"]) == 0
    assert [row["stage"] for row in json.loads(capsys.readouterr().out)] == ["live", "candidate"]
    assert main(["registry", "list", registry]) == 0
    assert "trained from" in capsys.readouterr().out
    assert main(["registry", "rollback", registry]) == 2
    assert main(["registry", "verify", registry, "--json"]) == 0
    head = json.loads(capsys.readouterr().out)["head"]
    assert main(["registry", "verify", registry, "--head", head]) == 0
    assert "whole: 2 versions, 5 lines, version 1 is live" in capsys.readouterr().out
    assert main(["registry", "verify", registry, "--head", "0" * 64]) == 3
    (tmp_path / "registry" / "versions" / "0001" / "plan.json").write_text("{}")
    assert main(["registry", "verify", registry]) == 3
    assert "this registry was tampered with" in capsys.readouterr().err
    assert main(["info", registry]) == 3
