"""The benchmark of going on learning: what is made of the data, its rows, and its page."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from unetkit.metrics.score import summarise
from unetkit.records.drift import ReferenceFile
from unetkit.records.scores import CaseScores
from unetkit.workflows.observing import Observation


@pytest.fixture
def domains(script):
    return script("continual/domains.py")


@pytest.fixture
def source(tmp_path):
    """Nine pictures of three groups, coloured, with two classes."""
    folder = tmp_path / "set"
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    rows = [("id", "group", "kind")]
    for number in range(9):
        rows.append((f"c{number}", f"g{number % 3}", "x" if number < 6 else "y"))
        Image.fromarray(np.full((4, 4, 3), 10 * number, np.uint8)).save(folder / "images" / f"c{number}.png")
        Image.fromarray(np.array([[0, 1], [2, 2]], np.uint8)).save(folder / "masks" / f"c{number}.png")
    with (folder / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_stage_keeps_groups_apart_and_changes_copies_alone(domains, source, tmp_path):
    stage = domains.Stage("x", "set", lambda row: row["kind"] == "x", {"background": 0, "all": 1}, {2: 1})
    train, test = domains.make_stage(stage, source, tmp_path / "home")
    rows = table(train), table(test)
    assert sorted(row["id"] for side in rows for row in side) == [f"c{n}" for n in range(6)]
    assert {row["group"] for row in rows[1]} == {"g0"}
    assert {row["group"] for row in rows[0]} == {"g1", "g2"}
    with Image.open(rows[0][0]["image"]) as picture, Image.open(rows[0][0]["label"]) as mask:
        assert picture.mode == "L"
        assert np.asarray(mask).tolist() == [[0, 1], [1, 1]]
    with Image.open(source / "masks" / "c0.png") as mask:
        assert np.asarray(mask).max() == 2
    assert json.loads((train.parent / "dataset.json").read_text()) == {"labels": stage.labels}
    assert domains.make_stage(stage, tmp_path / "gone", tmp_path / "home") == (train, test)
    joint = domains.joined_csv([(train, test)], {"background": 0, "all": 1}, tmp_path)
    assert [row["group"] for row in table(joint)] == [f"home-{row['group']}" for row in rows[0]]


def test_every_row_of_the_issue_is_there(script):
    bench = script("continual/bench.py")
    names = [job.name for job in bench.jobs()]
    assert len(names) == len(set(names)) == 2 * (8 + 8 + 6) + 2 + 1 + 1
    assert {"nuclei-replay-0", "steel_classes-joint-1", "drift-lidc_nodules2d", "gate", "soak"} <= set(names)
    assert not [
        name for name in names if name.startswith(("steel_classes-interpolate", "steel_classes-adabn"))
    ]


def scores(values):
    rows = [
        CaseScores(id=f"c{n}", group=f"g{n}", values={"a": {"dice": value}}) for n, value in enumerate(values)
    ]
    return summarise(rows, classes=("a",), metrics=("dice",), tolerance_mm=1.0, split="unknown")


def test_the_sums_of_a_sequence(script):
    sequence = script("continual/sequence.py")
    rows = [
        [scores([0.9, 0.9]), scores([0.2, 0.2])],
        [scores([0.7, 0.7]), scores([0.8, 0.8])],
        [scores([0.0, 0.0]), scores([0.1, 0.1])],
    ]
    found = sequence.sums(rows, "mean", [True, True])
    assert [[cell[0] for cell in row] for row in found["matrix"]] == [[0.9, 0.2], [0.7, 0.8]]
    assert [found[name][0] for name in ("acc", "bwt", "fwt", "forgetting")] == [0.75, -0.2, 0.1, 0.2]
    second = sequence.sums(rows, "a", [False, True])
    assert [[cell[0] for cell in row] for row in second["matrix"]] == [[None, 0.2], [None, 0.8]]
    assert (second["acc"][0], second["fwt"][0], second["bwt"][0]) == (0.8, 0.1, None)
    joint = sequence.sums(rows[1:], "a", [True, True])
    assert joint["acc"][0] == 0.75
    assert joint["bwt"][0] is None


def test_the_page_prints_every_kind_of_row(script, tmp_path):
    results = script("continual/results.py")
    facts = {"date": "d", "commit": "c", "machine": "m", "seconds": 1}
    one = {"matrix": [[[0.9, 0.8, 1.0], [None, None, None]], [[0.7, None, None], [0.8, None, None]]]}
    one |= {"acc": [0.75, 0.7, 0.8], "bwt": [-0.2, None, None], "fwt": [None, None, None]}
    one |= {"forgetting": [0.2, 0.1, 0.3]}
    rows = {
        "s": {"sequence": "s", "method": "ewc", "seed": 0, "domains": ["x", "y"], "classes": {"mean": one}},
        "d": {"set": "d", "false_alarms": 1, "batches": 200, "batch": 50, "reference": 100, "statistics": 12,
              "shifts": {"gain": {"images": 10, "first": "i", "effect": 2.5},
                         "blur": {"images": None, "first": "", "effect": 0.3}}},
        "gate": {"worse_by": [0.03], "spread": [0.1], "population": 9, "margin": 0.01, "gate": [
            {"golden_cases": 40, "tries": 100, "worse_promoted": 0, "margin_promoted": 4,
             "better_promoted": 99, "better_refused_for_its_interval": 1,
             "better_refused_for_missed_objects": 0}],
             "as_many_as_needed": {"pilot": 40, "tries": 100, "undecided": 20, "needed": [50, 60, 90],
                                   "better_promoted": 19}},
        "soak": {"kills": {"update": 60, "promote": 20}, "broken": [], "updates_finished": 4},
    }  # fmt: skip
    for name, row in rows.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({**row, **facts}))
    results.write(tmp_path, tmp_path / "RESULTS.md")
    text = (tmp_path / "RESULTS.md").read_text()
    assert "| ewc | 0 | 70.0 | 80.0 | 75.0 (70.0–80.0) | -20.0 | – | +20.0 (10.0–30.0) |" in text
    assert "| x | 90.0 (80.0–100.0) | – |" in text
    assert "1 false alarms in 200 clean batches of 50" in text
    assert "gain: 10 (d 2.5), blur: not found (d 0.3)" in text
    assert "| 40 | 100 | 0 | 4 | 99 | 1 | 0 |" in text
    assert "20 of 100 sets of 40 cases asked for more (60; 10 to 90 %: 50 to 90)" in text
    assert "the better model was promoted 19 times" in text
    assert "Kills: 60 of update, 20 of promote. Broken: nothing." in text


def test_the_gate_is_asked_and_its_reasons_counted(script, monkeypatch):
    gate = script("continual/gate.py")
    monkeypatch.setattr(gate, "TRIES", 10)
    spread = np.linspace(-0.02, 0.02, 30)
    good, worse = scores([0.8] * 30), scores(0.7 + spread)
    found = gate.asked(good, [worse] * 5, 20)
    assert (found["worse_promoted"], found["better_promoted"], found["tries"]) == (0, 10, 10)
    assert found["margin_promoted"] < 5
    wide = scores([0.2 if n % 2 else 1.0 for n in range(30)])
    found = gate.asked(good, [wide] * 5, 10)
    assert found["better_refused_for_its_interval"] == 10 - found["better_promoted"] > 0
    assert gate.as_many_as_needed(good, [worse])["undecided"] == 0
    monkeypatch.setattr(gate, "PILOT", 4)
    found = gate.as_many_as_needed(good, [worse])
    assert (found["undecided"], found["needed"], found["better_promoted"]) == (10, [5, 5, 5], 10)


def test_a_golden_set_is_drawn_with_the_difference_that_was_asked_for(script):
    gate = script("continual/gate.py")
    good = scores([0.8, 0.6, 0.4])
    found = gate.drawn(good, np.array([2, 2, 0]), shift=-0.1)
    assert [row.values["a"]["dice"] for row in found.cases] == pytest.approx([0.3, 0.3, 0.7])
    assert len({row.id for row in found.cases}) == len({row.group for row in found.cases}) == 3
    assert gate.dice(good) == pytest.approx(0.6)


def test_the_size_of_a_shift_by_hand(script):
    drift = script("continual/drift.py")
    rows = ((1.0, None), (3.0, 5.0))
    reference = ReferenceFile(model_sha256="", source="", ids=("a", "b"), names=("x", "y"), values=rows)
    seen = [Observation("c", {"x": 4.0}, None), Observation("d", {"x": 6.0, "y": 5.0}, None)]
    assert drift.effect(reference, seen) == 3.0  # means 2 and 5, both of spread 1


def test_the_soak_says_its_words(script, tmp_path):
    soak = script("continual/soak.py")
    one = soak.Soak(tmp_path, None)
    words = one.command("update", tmp_path / "out")
    assert "--resume" not in words
    assert "training.steps=40" in words
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "plan.json").touch()
    assert one.command("update", tmp_path / "out")[-1] == "--resume"
    assert one.command("promote")[2:] == ["promote", str(tmp_path / "registry"), "2", "--quiet"]
    assert soak.changes(2)["training.steps"] == "2"
