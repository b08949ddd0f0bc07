import json
import shutil

import numpy as np
import pytest
from PIL import Image

from unetkit.cli import main

pytestmark = pytest.mark.usefixtures("excepthook")


def test_check_of_good_data(wafers, tmp_path, capsys):
    page = tmp_path / "check.html"
    assert main(["check", str(wafers), "--html", str(page)]) == 0
    told = capsys.readouterr()
    assert "12 labelled cases in 3 groups" in told.out
    assert "ready to train" in told.out
    assert f"wrote {page}" in told.err
    assert "scratch" in page.read_text()


def test_check_of_bad_data_is_refused_with_exit_3(tmp_path, capsys):
    for folder, size in (("images", (8, 8)), ("masks", (8, 9))):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.zeros(size, np.uint8)).save(tmp_path / folder / "a.png")
    assert main(["check", str(tmp_path), "--dry-run", "--html", str(tmp_path / "c.html")]) == 3
    assert "refused: training would not start" in capsys.readouterr().out
    assert not (tmp_path / "c.html").exists()
    assert main(["check", str(tmp_path), "--json", "-q"]) == 3
    assert json.loads(capsys.readouterr().out)["refused"] is True
    assert main(["train", str(tmp_path), "--out", str(tmp_path / "run")]) == 3
    assert "a.png" in capsys.readouterr().err


def test_check_says_what_pixels_are_and_shows_few_findings_of_one_kind(tmp_path, capsys):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for number in range(3):
            Image.fromarray(np.eye(8, k=number, dtype=np.uint8)).save(tmp_path / folder / f"{number}.png")
    assert main(["check", str(tmp_path), "-q"]) == 0
    assert "pixels: uint8, 1 channel (image)\n" in capsys.readouterr().out
    for number in range(12):
        (tmp_path / "images" / f"more{number}.png").touch()
    assert main(["check", str(tmp_path), "-q"]) == 3
    told = capsys.readouterr().out
    assert told.count("missing mask: expected") == 10
    assert "… 2 more" in told
    assert "3 labelled cases in 3 groups, 12 unlabelled" in told


def test_predict_names_what_it_wrote_and_refused(finished, wafers, tmp_path, capsys):
    inputs = tmp_path / "in"
    inputs.mkdir()
    good = wafers / "images" / "wafer00-0.png"
    (inputs / "good.png").write_bytes(good.read_bytes())
    (inputs / "bad.png").write_bytes(good.read_bytes()[:200])
    out = tmp_path / "out"
    assert main(["predict", str(finished), str(inputs), "--out", str(out), "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"would write {out / n}" for n in ("bad.png", "good.png")]
    assert main(["predict", str(finished), str(inputs), "--out", str(out), "-q"]) == 3
    told = capsys.readouterr()
    assert told.out.splitlines() == [str(out / "good.png")]
    assert "bad.png" in told.err
    assert main(["predict", str(finished), str(inputs), "--out", str(out)]) == 3
    told = capsys.readouterr().err
    assert len([line for line in told.splitlines() if line.startswith("refused ")]) == 1
    assert told.count("bad.png: ") == 1
    assert main(["predict", str(finished), str(inputs), "--out", str(out), "--json", "-q"]) == 3
    result = json.loads(capsys.readouterr().out)
    assert [each["id"] for each in result["refused"]] == ["bad"]


def test_evaluate_shows_intervals_and_writes_csv(finished, wafers, tmp_path, capsys):
    csv = tmp_path / "e.csv"
    words = ["evaluate", str(finished / "predictions"), str(wafers / "masks"), "--csv", str(csv)]
    assert main([*words, "--dry-run", "-q"]) == 0
    assert not csv.exists()
    assert main(words) == 0
    told = capsys.readouterr()
    assert "no prediction" in told.out
    assert csv.read_text().startswith("case,group,class,dice")
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == ["scratch", "particle", "stain"]


def test_a_gate_that_is_not_met_is_exit_4_after_the_results(wafers, tmp_path, capsys):
    masks, csv = str(wafers / "masks"), tmp_path / "e.csv"
    words = ["evaluate", masks, masks, "--json", "-q", "--csv", str(csv)]
    assert main([*words, "--at-least", "dice=1", "--at-least", "hd95=0"]) == 0
    empty = tmp_path / "none"
    empty.mkdir()
    for path in (wafers / "masks").iterdir():
        Image.fromarray(np.zeros_like(np.asarray(Image.open(path)))).save(empty / path.name)
    capsys.readouterr()
    words[1] = str(empty)
    assert main([*words, "--at-least", "dice=0.5", "--at-least", "nsd=0"]) == 4
    told = capsys.readouterr()
    assert json.loads(told.out)["summary"]["mean"]["dice"]["mean"] == 0
    assert csv.is_file()
    assert "expected a mean dice of at least 0.5, got 0. Do this: " in told.err
    assert main([*words, "--at-least", "dise=0.5"]) == 2
    assert "use 'dice'" in capsys.readouterr().err


def test_evaluate_by_a_column_and_against_others(wafers, tmp_path, capsys):
    masks = wafers / "masks"
    names = sorted(path.stem for path in masks.iterdir())
    labels = tmp_path / "labels"
    shutil.copytree(masks, labels)
    shutil.copy(wafers / "dataset.json", tmp_path)
    lines = [f"{name},{name.partition('-')[0]},{'ab'[place % 2]}" for place, name in enumerate(names)]
    (tmp_path / "index.csv").write_text("\n".join(["id,group,site", *lines]))
    empty = tmp_path / "none"
    empty.mkdir()
    for path in labels.iterdir():
        Image.fromarray(np.zeros_like(np.asarray(Image.open(path)))).save(empty / path.name)
    words = ["evaluate", str(labels), str(labels), "--by", "site", "--against", str(empty), "-q"]
    assert main([*words, "--at-least", "cldice=1"]) == 0
    told = capsys.readouterr().out
    assert "By site: mean [95 % interval]" in told
    assert f"The first minus {empty}, case by case" in told
    assert main([*words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [(part["value"], part["cases"]) for part in result["subgroups"]] == [("a", 6), ("b", 6)]
    assert result["against"]["mean"]["dice"]["mean"] == 1
    assert main([*words[:3], "--by", "age", "-q"]) == 3
    assert "no column 'age'" in capsys.readouterr().err


def test_report(finished, tmp_path, capsys):
    out = tmp_path / "r.html"
    assert main(["report", str(finished), "--out", str(out), "--dry-run"]) == 0
    assert not out.exists()
    assert main(["report", str(finished), "--out", str(out), "--json"]) == 0
    captured = capsys.readouterr().out
    assert json.loads(captured[captured.index("{") :])["cases"] == 4
    assert main(["report", str(finished), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert main(["report", str(tmp_path)]) == 2
    assert "not the folder of a run" in capsys.readouterr().err


def test_predict_sets_values_of_the_inference_and_goes_on_where_it_was(finished, wafers, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for path in sorted((wafers / "images").iterdir())[:2]:
        shutil.copy(path, tmp_path / "in")
    words = ["predict", str(finished), str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    words += ["--set", "inference.skip_tiles=empty", "--resume"]
    assert main(words) == 0
    assert "2 predicted, 0 refused" in capsys.readouterr().err
    sorted((tmp_path / "out").glob("*.png"))[0].unlink()
    assert main(words) == 0
    told = capsys.readouterr()
    assert "1 kept, 1 predicted, 0 refused" in told.err
    assert len(told.out.splitlines()) == 1
    assert main([*words, "--dry-run", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["kept"]) == 2
    assert main([*words, "--set", "training.steps=3"]) == 2
    assert "'training.steps' was decided when the model was made" in capsys.readouterr().err


def test_screen_says_what_a_first_look_misses_and_saves(finished, wafers, capsys):
    assert main(["screen", str(finished), str(wafers), "--factor", "2"]) == 0
    told = capsys.readouterr().out
    assert "A first look at 1/2 of the resolution" in told
    assert "measured on the cases of the thresholds: 4 cases (held-out)" in told
    assert "--set 'inference.screen_factor=2' --set 'inference.screen_thresholds=[" in told
    assert main(["screen", str(finished), str(wafers), "--factor", "2", "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["split"] == "held-out"
    assert main(["screen", str(finished), str(wafers), "--recall", "2"]) == 2
    assert "expected a recall above 0" in capsys.readouterr().err


def test_a_first_look_is_kept_and_taken(finished, wafers, tmp_path, capsys):
    run = shutil.copytree(finished, tmp_path / "run")
    words = ["screen", str(run), str(wafers), "--factor", "2", "--keep"]
    assert main([*words, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert f"would write {run / 'model' / 'screen.json'}" in told
    assert not (run / "model" / "screen.json").exists()
    assert main(words) == 0
    told = capsys.readouterr().out
    assert f"wrote {run / 'model' / 'screen.json'}" in told
    assert told.rstrip().endswith("--out DIR --screen")
    image = str(wafers / "images" / "wafer00-0.png")
    assert main(["predict", str(run), image, "--out", str(tmp_path / "out"), "--screen"]) == 0
    assert (tmp_path / "out" / "wafer00-0.png").exists()
    assert main(["predict", str(finished), image, "--out", str(tmp_path / "other"), "--screen"]) == 2
    assert "no first look was measured for this model" in capsys.readouterr().err
