import json
import shutil

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


def touched(folder, *names):
    """A folder that looks like a model from outside."""
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_every_dry_run_answers_a_program_in_json(wafers, tmp_path, capsys):
    out, model = str(tmp_path / "r"), touched(tmp_path / "m", "weights.safetensors", "plan.json")
    train = ["train", str(wafers), "--out", out]
    for words, first in (
        ([*train, "--fold", "all/3"], f"train fold 0 on 8 cases, hold out 4, into {out}/fold-0"),
        ([*train, "--compare", "planned,unetpp"], f"train planned, seed 0, into {out}/planned-seed0"),
        (
            ["demo", "--out", out],
            f"write wafers/, unseen/, run/ and predictions/ into {out} and train 3 minutes",
        ),
        (["report", str(model), "--out", out], f"write {out}"),
        (["monitor", str(model), str(wafers), "--learn"], f"write reference.json into {model}"),
        (["registry", "add", out, str(model)], f"copy {model} into {out}"),
        (
            ["update", str(model), str(wafers), "--out", out, "--method", "lwf"],
            f"train {model} on {wafers} by lwf and write the run into {out}",
        ),
    ):
        assert main([*words, "--dry-run", "--json", "-q"]) == 0, words
        assert json.loads(capsys.readouterr().out)["would"][0] == first
    assert list(tmp_path.iterdir()) == [model]


def test_a_dry_run_of_an_ensemble_answers_a_program_too(validated, tmp_path, capsys):
    words = ["ensemble", str(validated), "--out", str(tmp_path / "e"), "--dry-run", "--json"]
    assert main(words) == 0
    wanted = [f"compare {validated.name}: 3 folds", f"write {tmp_path / 'e'}"]
    assert json.loads(capsys.readouterr().out) == {"would": wanted}


def test_a_dry_run_refuses_what_the_command_would_refuse(wafers, tmp_path, capsys):
    several = touched(tmp_path / "m" / "members", "x").parent
    for name in ("model.json", "plan.json"):
        (several / name).touch()
    for words in (
        ["update", str(several), str(wafers), "--out", str(tmp_path / "r"), "--method", "lwf"],
        ["registry", "add", str(tmp_path / "r"), str(several)],
    ):
        assert main([*words, "--dry-run"]) == 2
        assert "this model is an ensemble" in capsys.readouterr().err


def test_a_dry_run_of_resume_says_how_far_the_run_is(wafers, finished, tmp_path, capsys):
    words = ["train", str(wafers), "--resume", "--dry-run"]
    assert main([*words, "--out", str(finished)]) == 0
    told = capsys.readouterr().out
    assert f"{finished} is finished already (6 steps); nothing is left to do" in told
    assert "would" not in told
    run = shutil.copytree(finished, tmp_path / "r")
    (run / "manifest.json").unlink()
    assert main([*words, "--out", str(run), "--set", "training.steps=8"]) == 0
    told = capsys.readouterr().out
    assert f"would go on with {run} after step 6 of 8: 2 steps left" in told
    assert "would train on 8 cases, hold out 4" in told


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


def test_plan_takes_a_fold_and_a_seed_as_train_does(wafers, tiny_words, tmp_path, capsys):
    file = tmp_path / "p.json"
    words = ["--fold", "1/3", "--seed", "4"]
    assert main(["plan", str(wafers), *words, "--json", "-o", str(file), *tiny_words]) == 0
    training = json.loads(capsys.readouterr().out)["training"]
    assert (training["fold"], training["folds"], training["seed"]) == (1, 3, 4)
    train = ["train", str(wafers), "--plan", str(file), "--out", str(tmp_path / "r"), "--dry-run", "--json"]
    assert main([*train, "--minutes", "10", "--memory", "2"]) == 0
    told = capsys.readouterr()
    made = json.loads(told.out)["plan"]["training"]
    assert (made["steps"], made["minutes"], made["memory_gb"]) == (0, 10.0, 2.0)
    assert "the plan was made for" not in told.err
    assert main([*train, "--fold", "0/3"]) == 0
    assert "the plan was made for fold 1/3" in capsys.readouterr().err


def test_demo_says_minutes_only_when_they_are_said(monkeypatch, tmp_path):
    from unetkit.errors import UsageError
    from unetkit.workflows import demo

    seen = []

    def made(out, *, progress, **asked):
        seen.append(asked.get("minutes"))
        raise UsageError("enough", cure="stop")

    monkeypatch.setattr(demo, "demo", made)
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert main(["demo", "--out", str(tmp_path), "--minutes", "0"]) == 2
    assert seen == [None, 0.0]


def test_a_network_by_name_is_planned_and_said(wafers, tmp_path, capsys):
    assert main(["plan", str(wafers), "--network", "residual", "--json", "-q", "--memory", "4"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["network"]["encoder"] == "residual"
    assert made["reasons"]["network"] == "'residual' was asked for: the encoder 'residual'."
    assert main(["plan", str(tmp_path / "none"), "--network", "residul"]) == 2
    assert "there is no network 'residul'. Do this: use 'residual'" in capsys.readouterr().err
    file = tmp_path / "plan.json"
    file.write_text("{}")
    words = ["train", str(wafers), "--plan", str(file), "--network", "residual", "--out", str(tmp_path / "r")]
    assert main(words) == 2


def test_a_comparison_says_what_it_would_do(wafers, tmp_path, capsys):
    words = [
        "train",
        str(wafers),
        "--compare",
        "planned, residual",
        "--seeds",
        "2",
        "--out",
        str(tmp_path / "c"),
    ]
    assert main([*words, "--dry-run"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"would train planned, seed 0, into {tmp_path / 'c' / 'planned-seed0'}"
    assert len(told) == 4
    assert not (tmp_path / "c").exists()
    assert main(["train", str(wafers), "--seeds", "2"]) == 2
    assert "--seeds 2 is for a comparison" in capsys.readouterr().err


def test_every_fold_in_turn(wafers, validated, quick, tmp_path, capsys):
    words = ["train", str(wafers), "--fold", "all/3", "--out"]
    assert main([*words, str(tmp_path / "c"), "--dry-run", "-q"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[1] == f"would train fold 1 on 8 cases, hold out 4, into {tmp_path / 'c' / 'fold-1'}"
    assert len(told) == 3
    assert not (tmp_path / "c").exists()
    folder = shutil.copytree(validated, tmp_path / "v")
    changes = [word for key, value in quick.items() for word in ("--set", f"{key}={value}")]
    assert main([*words, str(folder), "--resume", *changes]) == 0
    told = capsys.readouterr()
    assert "Every case, unseen" in told.out
    assert "all folds" in told.out
    assert f"model:  {folder / 'model'}" in told.out
    assert f"next: unet predict {folder / 'model'} IMAGES --out predictions" in told.err
    assert main([*words, str(folder), "--json", "-q", *changes]) == 0
    assert json.loads(capsys.readouterr().out)["cases"] == 12


def test_words_about_folds_that_make_no_sense(wafers, tmp_path, capsys):
    out = ["--out", str(tmp_path / "c")]
    for words, told in (
        (["train", str(wafers), "--fold", "all/1", *out], "2 folds or more were expected, got 1"),
        (["train", str(wafers), "--fold", "all", *out], "train also takes all/5"),
        (["train", str(wafers), "--fold", "all/3", "--compare", "plain,residual", *out], "unet ensemble A B"),
        (["plan", str(wafers), "--fold", "all/3"], "'--fold all/3' is no fold"),
        (["ensemble", str(tmp_path), *out], "there is no finished run here"),
    ):
        assert main(words) == 2, words
        assert told in capsys.readouterr().err


def test_an_ensemble_of_runs(finished, validated, tmp_path, capsys):
    words = ["ensemble", str(finished), str(validated / "fold-0"), "--out", str(tmp_path / "e")]
    assert main([*words, "--dry-run"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "would compare finished: 1 fold",
        "would compare fold-0: 1 fold",
        f"would write {tmp_path / 'e'}",
    ]
    assert main([*words, "--try", "inference.crf_steps=1"]) == 0
    told = capsys.readouterr().out
    assert "Which answer together" in told
    assert "finished + fold-0" in told
    assert "The refinement that was tried changes the mean Dice of 4 unseen cases by" in told
    assert main(["info", str(tmp_path / "e")]) == 0
    assert "cross-validation" in capsys.readouterr().out
