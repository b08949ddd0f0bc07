"""The verbs of models that live on, from words to exit codes."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from unetkit.cli import keep, main
from unetkit.records.registered import Decision, SetResult
from unetkit.workflows.wafers import make_wafers

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


def test_a_watch_from_words(finished, wafers, tmp_path, capsys):
    model = shutil.copytree(finished / "model", tmp_path / "model")
    page = tmp_path / "drift.html"
    assert main(["monitor", str(model), str(wafers), "--learn", "--dry-run"]) == 0
    assert f"would write reference.json into {model}" in capsys.readouterr().out
    assert main(["monitor", str(model), str(wafers), "--learn", "-q"]) == 0
    assert f"reference: 12 images of {wafers}" in capsys.readouterr().out
    words = ["monitor", str(model), str(wafers / "images"), "--html", str(page)]
    assert main([*words, "--dry-run"]) == 0
    assert not page.exists()
    assert main(words) == 0
    told = capsys.readouterr()
    assert "no drift found: 12 images against 12" in told.out
    assert f"wrote {page}" in told.err
    assert page.stat().st_size > 3000
    dark = tmp_path / "dark"
    dark.mkdir()
    for path in (wafers / "images").iterdir():
        with Image.open(path) as picture:
            Image.fromarray(255 - np.asarray(picture)).save(dark / path.name)
    assert main(["monitor", str(model), str(dark), "--html", str(page), "--json", "-q"]) == 4
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert "input" in found["drifted"]
    assert found["tests"][0]["drifted"]
    assert "drift in input" in told.err
    assert "Do this: look at the images that are named" in told.err
    assert main(["monitor", str(model), str(dark), "--html", str(page), "-q"]) == 4
    assert "Unusual images" in capsys.readouterr().out


def test_what_a_golden_set_cannot_show_is_said(capsys):
    found = SetResult(
        name="lot 7", cases=44, groups=40, live=0.7, candidate=0.8, difference=0.1, bound=0.0876
    )
    strict = SetResult(name="hard", cases=3, groups=3, live=0.7, candidate=0.8, must_find=True, bound=0.1)
    keep._show_decision(Decision(number=2, live=1, margin=0.01, sets=(found, strict), refused=()))
    told = " ".join(capsys.readouterr().out.split())
    assert "0.0876" in told
    assert "lot 7: a failure that none of its 40 groups has may still be in 7.2 % of all" in told
    assert "hard: a failure" not in told


def test_a_registry_from_words(finished, tmp_path, capsys):
    registry = str(tmp_path / "registry")
    assert main(["registry", "list", registry]) == 2
    assert "there is no registry here" in capsys.readouterr().err
    assert main(["registry", "add", registry, str(finished), "--dry-run"]) == 0
    assert not (tmp_path / "registry").exists()
    assert main(["registry", "add", registry, str(finished)]) == 0
    assert "version 1: candidate" in capsys.readouterr().out
    assert main(["registry", "promote", registry, "1"]) == 2
    assert "--golden" in capsys.readouterr().err
    golden, hard = tmp_path / "golden", tmp_path / "hard"
    for seed, folder in enumerate((golden, hard), start=9):
        make_wafers(folder, wafers=1, size=64, seed=seed)
    words = ["registry", "promote", registry, "1", "--golden", str(golden)]
    assert main([*words, "--dry-run"]) == 0
    assert "version 1 would go live" in capsys.readouterr().out
    assert main([*words, "--must-find", str(hard), "-q"]) == 0
    told = capsys.readouterr().out
    assert "lower by 0.01 counts as not worse" in told
    assert "must find" in told
    assert "version 1 is live" in told
    assert main(["registry", "add", registry, str(finished), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["number"] == 2
    assert main(["registry", "promote", registry, "2", "-q"]) == 4
    told = capsys.readouterr()
    assert "golden: too few groups to tell: 1, at least 5 are needed" in told.err
    assert "lower by 0.01 counts as not worse" in told.out  # the figures of a refusal are seen, too
    assert "is live" not in told.out
    assert main(["registry", "promote", registry, "2", "--dry-run", "--json", "-q"]) == 4
    assert json.loads(capsys.readouterr().out)["refused"]
    assert main(["registry", "add", str(golden), str(finished)]) == 2
    assert "this folder is no registry: it holds dataset.json, images" in capsys.readouterr().err
    words = ["registry", "publish", registry, "--to", "http://localhost:1", "--name", "a/b"]
    assert main([*words, "--dry-run"]) == 0
    assert "would copy 2 versions to 'a/b' in http://localhost:1" in capsys.readouterr().out
    assert main(words) == 2
    assert "'a/b' is no name for a model in MLflow" in capsys.readouterr().err
    assert main(["registry", "list", registry, "--json"]) == 0
    assert [row["stage"] for row in json.loads(capsys.readouterr().out)] == ["live", "candidate"]
    assert main(["registry", "list", registry]) == 0
    assert "trained from" in capsys.readouterr().out
    assert main(["registry", "rollback", registry]) == 2
    assert main(["registry", "verify", registry, "--json"]) == 0
    head = json.loads(capsys.readouterr().out)["head"]
    assert main(["registry", "verify", registry, "--head", head]) == 0
    assert "whole: 2 versions, 6 lines, version 1 is live" in capsys.readouterr().out
    assert main(["registry", "verify", registry, "--head", "0" * 64]) == 3
    (tmp_path / "registry" / "versions" / "0001" / "plan.json").write_text("{}")
    assert main(["registry", "verify", registry]) == 3
    assert "this registry was tampered with" in capsys.readouterr().err
    assert main(["info", registry]) == 3
