"""The queue of the family: it fits its hours, its commands are understood, its rows go on and are printed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

import unetkit as uk
from unetkit.cli import main
from unetkit.metrics.paired import difference

EXACT = {"training.precision": "float32", "training.memory_format": "contiguous"}


@pytest.fixture
def bench(script):
    return script("architectures/bench.py")


@pytest.fixture
def ablation(script):
    return script("architectures/ablation.py")


def test_the_queue_takes_four_hours_at_most_with_two_seeds_and_both_budgets(bench):
    scope = bench.Scope()
    assert bench.hours(scope) <= 4
    assert scope.seeds >= 2
    names = [job.name for job in bench.jobs(scope)]
    assert len({job.kept for job in bench.jobs(scope)}) == len(names)
    assert {f"{name}-{budget}" for name in bench.SETS for budget in ("minutes", "steps")} < set(names)
    assert len(names) == len(set(names)) == 9


def test_hours_by_hand(bench, monkeypatch):
    monkeypatch.setattr(bench, "SETS", {"a": ((8, 8), 2, ("plain", "mobile"))})
    monkeypatch.setattr(bench, "STARTS", ("a",))
    monkeypatch.setattr(bench, "RECIPES", ())
    monkeypatch.setattr(bench, "AROUND_SECONDS", 10.0)
    monkeypatch.setattr(bench, "STEP_SECONDS", 0.5)
    scope = bench.Scope(minutes=1, steps=100, seeds=2)
    timed, counted = (2 + 4) * (60 + 10), 2 * (100 * 0.5 + 10)  # networks and variants; networks again
    assert bench.hours(scope) == pytest.approx(2 * (timed + counted) / 3600)


def test_every_comparison_is_understood_and_trains_what_it_says(bench, tmp_path, capsys):
    scope = replace(bench.Scope(), data=tmp_path, work=tmp_path / "work")
    for name, (_, _, networks) in bench.SETS.items():
        for budget in bench.BUDGETS:
            words = bench.comparison(scope, name, budget).commands[0][1:]
            assert main([*words, "--dry-run"]) == 0
            told = capsys.readouterr().out.splitlines()
            assert len(told) == 2 * len(networks)
            assert told[0].startswith(f"would train {networks[0]}, seed 0, into ")
            assert ("training.steps=400" in words) == (budget == "steps")


def test_variants_are_trained_kept_and_measured_against_the_baselines(
    ablation, wafers, tiny, tmp_path, monkeypatch
):
    tried = {name: ablation.TRIED[name] for name in (ablation.VANILLA, ablation.PLANNED, "cutmix")}
    monkeypatch.setattr(ablation, "TRIED", tried)
    changes = {**tiny, **EXACT, "training.steps": "2", "training.validate_cases": "0"}
    asked = {"weights": tmp_path, "seeds": 2, "changes": changes, "fold": (0, 3)}
    rows = ablation.measure("recipe", wafers, tmp_path / "out", **asked)
    assert [row["name"] for row in rows] == list(tried)
    assert [sorted(row["against"]) for row in rows] == [
        [ablation.PLANNED], [ablation.VANILLA], sorted([ablation.VANILLA, ablation.PLANNED]),
    ]  # fmt: skip
    plans = {
        name: json.loads((ablation.folder_of(tmp_path / "out", name, 1) / "plan.json").read_text())
        for name in tried
    }
    assert plans[ablation.VANILLA]["training"]["foreground_fraction"] == 0
    assert plans["cutmix"]["augmentation"]["cutmix"] == 0.5
    assert {plan["training"]["seed"] for plan in plans.values()} == {1}

    files = sorted((tmp_path / "out").rglob("weights.safetensors"))
    assert len(files) == 6
    before = [file.stat().st_mtime_ns for file in files]
    shutil.rmtree(ablation.folder_of(tmp_path / "out", "cutmix", 1))  # as if stopped before the last run
    again = ablation.measure("recipe", wafers, tmp_path / "out", **asked)
    assert again == rows
    assert [file.stat().st_mtime_ns for file in files if "cutmix-1" not in str(file)] == [
        time for file, time in zip(files, before, strict=True) if "cutmix-1" not in str(file)
    ]

    runs = {
        name: [
            uk.train(wafers, ablation.folder_of(tmp_path / "out", name, seed), resume=True) for seed in (0, 1)
        ]
        for name in (row["name"] for row in rows)
    }
    values = ablation.case_means(runs, "dice")
    groups = {case.id: case.group for run in runs["cutmix"] for case in run.scores.cases}
    wanted = difference(values["cutmix"], values[ablation.VANILLA], groups)
    got = rows[2]["against"][ablation.VANILLA]
    assert (got["mean"], got["p_value"]) == (wanted.mean, wanted.p_value)


def test_starts_are_the_same_network_with_and_without_weights(ablation, tmp_path):
    asked = ablation.variants("start", tmp_path)
    assert asked[ablation.RANDOM] == {"network": "mobile"}
    frozen = [settings["changes"]["training.freeze_blocks"] for settings in list(asked.values())[1:]]
    assert frozen == ["0", "3", "5"]
    assert {settings["init"].name for settings in list(asked.values())[1:]} == {ablation.ARCHIVE}


def mean(value, **more):
    return {"mean": value, "low": None, "high": None, "cases": 4, **more}


def network(name, dice, gain):
    against = {metric: mean(gain, p_value=0.04) for metric in ("dice", "iou")} if gain is not None else {}
    return {
        "name": name,
        "scores": {"dice": mean(dice), "iou": mean(dice - 0.1), "hd95": mean(3.0)},
        "against_first": against,
        "parameters": 1_000_000,
        "multiply_adds": 2_000_000_000,
        "patch": [32, 48],
        "batch": 2,
        "steps": 400.0,
        "patches_per_second": 12.34,
        "predicted_per_second": 5.0,
        "memory_gb": 0.5,
    }


def variant(name, dice, against):
    scores = {"dice": mean(dice), "iou": mean(dice), "hd95": mean(2.0)}
    return {"name": name, "scores": scores, "against": against}


def test_the_page_shows_promises_beside_what_was_measured(script, tmp_path):
    facts = {"date": "2026-01-02", "commit": "abc", "machine": "2 cores", "seconds": 3.0, "cpu_share": 0.9}
    networks = [network("plain", 0.6, None), network("unetpp", 0.64, 0.04)]
    gained = mean(0.1, p_value=0.01)
    variants = [
        variant("vanilla", 0.5, {"planned": mean(-0.05, p_value=1.0)}),
        variant("planned", 0.55, {"vanilla": mean(0.05, p_value=0.5)}),
        variant("cutmix", 0.6, {"vanilla": gained, "planned": mean(0.05, p_value=None)}),
    ]
    rows = {
        "nuclei-minutes": {**facts, "seeds": [0, 1], "networks": networks},
        "recipe-lidc": {**facts, "seeds": [0, 1], "minutes": 2.0, "variants": variants},
    }
    (tmp_path / "rows").mkdir()
    for name, row in rows.items():
        (tmp_path / "rows" / f"{name}.json").write_text(json.dumps(row))
    script("architectures/results.py").write(tmp_path / "rows", tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text().splitlines()
    papers = [line for line in page if "(Zhou et al. 2018)" in line or "(Chen et al. 2021)" in line]
    assert papers[0] == (
        "| UNet++ (Zhou et al. 2018) | +3.9 points of IoU over U-Net | IoU | +4.0, at 54.0 |"
    )
    assert papers[1].endswith("| a mean Dice of 77.48 on Synapse | Dice | – |")
    assert (
        "| unetpp | 64.0 | 3.0 | +4.0 | 0.04 | 1.00 M | 2.00 G | 32×48 × 2 | 400 | 12.3 | 5.0 | 0.50 |"
        in page
    )
    assert "| cutmix | 4 | 60.0 | 60.0 | 2.0 | +10.0 | 0.01 | +5.0 | – |" in page
    assert "Best: cutmix, +10.0 points of Dice over vanilla." in page
    assert "2 minutes each, seeds 0, 1." in page
    assert page[-1] == "| recipe-lidc | 2026-01-02 | abc | 2 cores | 3.0 | 0.9 |"


def test_a_row_that_is_asked_for_again_is_trained_again(script, tmp_path, monkeypatch):
    worklist = script("worklist.py")
    written, kept = [], tmp_path / "work" / "runs"
    monkeypatch.setattr(worklist, "run", lambda job, work: {"left": (job.kept / "old").exists()})
    for words, left in (([], True), (["--again", "one"], False)):
        shutil.rmtree(tmp_path / "rows", ignore_errors=True)
        kept.mkdir(parents=True, exist_ok=True)
        (kept / "old").touch()
        monkeypatch.setattr("sys.argv", ["bench.py", *words])
        job = worklist.Job("one", (), kept=kept)
        worklist.work_off([job], tmp_path, lambda rows, page: written.append(page))
        assert json.loads((tmp_path / "rows" / "one.json").read_text()) == {"left": left}
    assert written == [tmp_path / "RESULTS.md"] * 2
