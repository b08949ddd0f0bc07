"""Pictures, from a folder to a report, through the command line."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from unetkit.cli import main

pytestmark = pytest.mark.usefixtures("excepthook")


def answer(capsys):
    told = capsys.readouterr().out
    return json.loads(told[told.index("{") :])


def test_from_a_folder_to_a_report(wafers, tiny_words, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", str(wafers), "--out", str(run), "--fold", "1/3", "--json", "-q", *tiny_words]) == 0
    facts = answer(capsys)
    assert facts["split"] == "held-out"
    assert facts["cases"] == 4
    assert set(facts["dice"]) == {"scratch", "particle", "stain", "mean"}

    split = json.loads((run / "split.json").read_text())
    groups = [{id.partition("-")[0] for id in split[side]} for side in ("train", "held_out")]
    assert not groups[0] & groups[1]
    manifest = json.loads((run / "manifest.json").read_text())
    assert set(manifest["data"]) == set(split["train"]) | set(split["held_out"])
    assert not (run / "cache").exists()
    for name in ("plan.json", "weights.safetensors", "scores.json", "model_card.md"):
        assert (run / "model" / name).is_file()
    page = (run / "report.html").read_text()
    assert "Pictures, worst first" in page
    assert page.count("data:image/png") >= 12

    out = tmp_path / "predictions"
    assert main(["predict", str(run), str(wafers / "images"), "--out", str(out), "-q"]) == 0
    capsys.readouterr()
    written = sorted(p.name for p in out.iterdir() if not p.name.startswith("."))
    assert written == sorted(p.name for p in (wafers / "images").iterdir())
    for one in split["held_out"]:  # the very predictor that measured it
        first, second = (
            np.asarray(Image.open(folder / f"{one}.png")) for folder in (out, run / "predictions")
        )
        assert np.array_equal(first, second)

    table = tmp_path / "scores.csv"
    words = ["evaluate", str(out), str(wafers / "masks"), "--csv", str(table), "--json", "-q"]
    assert main(words) == 0
    by_files = answer(capsys)
    assert main(["evaluate", str(run), str(wafers), "--json", "-q"]) == 0
    by_model = answer(capsys)
    assert by_model["split"] == "training"
    assert [case["values"] for case in by_model["cases"]] == [case["values"] for case in by_files["cases"]]
    with table.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 12 * 3


def test_resumed_is_uninterrupted(wafers, tiny_words, tmp_path, capsys, monkeypatch):
    words = ["train", str(wafers), "--quiet", "--json", *tiny_words, "--set", "training.checkpoint_steps=2"]
    # two runs on a busy machine may find another layout the fastest
    words += ["--set", "training.precision=float32", "--set", "training.memory_format=contiguous"]
    assert main([*words, "--out", str(tmp_path / "whole")]) == 0

    from unetkit.training.checkpoint import Checkpoints

    save, count = Checkpoints.save, [0]

    def killed(self, state):
        save(self, state)
        count[0] += 1
        if count[0] == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", killed)
    assert main([*words, "--out", str(tmp_path / "halved")]) == 130
    monkeypatch.undo()
    assert not (tmp_path / "halved" / "model").exists()
    assert main([*words, "--out", str(tmp_path / "halved")]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert main([*words, "--out", str(tmp_path / "halved"), "--resume"]) == 0
    weights = [
        (tmp_path / name / "model" / "weights.safetensors").read_bytes() for name in ("whole", "halved")
    ]
    assert weights[0] == weights[1]
    assert main([*words, "--out", str(tmp_path / "halved"), "--resume"]) == 0  # finished: nothing to do


def test_a_resumed_run_refuses_other_data(wafers, tiny_words, tmp_path, capsys, monkeypatch):
    data = tmp_path / "data"
    shutil.copytree(wafers, data)
    words = ["train", str(data), "--out", str(tmp_path / "r"), "-q", *tiny_words]

    from unetkit.workflows import fitting

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "fit", stop)
    assert main(words) == 130
    shutil.copy(data / "images" / "wafer00-0.png", data / "images" / "wafer00-1.png")
    assert main([*words, "--resume"]) == 3
    assert "the data is not what this run was started with (1 cases differ, such as 'wafer00-1')" in (
        capsys.readouterr().err
    )


def test_a_missing_prediction_never_helps(wafers, finished, tmp_path, capsys):
    labels, out = tmp_path / "labels", tmp_path / "out"
    shutil.copytree(finished / "predictions", out)
    labels.mkdir()
    for path in out.iterdir():
        shutil.copy(wafers / "masks" / path.name, labels)
    means = []
    while any(out.iterdir()) and len(means) < 3:
        assert main(["evaluate", str(out), str(labels), "--json", "-q"]) == 0
        means.append(answer(capsys)["summary"]["mean"]["dice"]["mean"])
        sorted(out.iterdir())[0].unlink()
    assert means == sorted(means, reverse=True)


def test_one_large_image_is_split_in_space(tiny_words, tmp_path, capsys):
    from unetkit.workflows.wafers import make_wafers

    made = make_wafers(tmp_path / "many", wafers=1, size=256)
    for folder in ("images", "masks"):
        (tmp_path / "one" / folder).mkdir(parents=True)
        shutil.copy(tmp_path / "many" / folder / made[0].name, tmp_path / "one" / folder)
    run = tmp_path / "run"
    assert main(["train", str(tmp_path / "one"), "--out", str(run), "--json", *tiny_words]) == 0
    told = capsys.readouterr()
    assert "split in space" in told.err
    assert "margin" in json.loads((run / "split.json").read_text())["how"]
    assert (run / "report.html").is_file()


def test_labels_keep_the_values_of_the_data_set(tiny_words, tmp_path, capsys):
    random = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for number in range(6):
        mask = np.zeros((40, 48), np.uint8)
        mask[8:24, 10 + number : 30] = 255
        pixels = (random.normal(90, 9, mask.shape) + mask * 0.4).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "data" / "images" / f"{number}.png")
        Image.fromarray(mask).save(tmp_path / "data" / "masks" / f"{number}.png")
    run = tmp_path / "run"
    words = [*tiny_words, "--set", "training.steps=30", "--set", "training.learning_rate=0.02"]
    assert main(["train", str(tmp_path / "data"), "--out", str(run), "-q", *words]) == 0
    values = {int(v) for p in (run / "predictions").iterdir() for v in np.unique(np.asarray(Image.open(p)))}
    assert values == {0, 255}
    capsys.readouterr()
