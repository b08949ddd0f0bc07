"""Several networks, one budget, one table; stopped and called again it goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import unetkit as uk
from unetkit.errors import PreemptedError, UsageError
from unetkit.metrics.score import score_case, summarise
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.records.progress import Quiet
from unetkit.records.run import Run
from unetkit.records.scores import Scores
from unetkit.workflows import compare as comparing
from unetkit.workflows.compare import case_means, planned_runs
from unetkit.workflows.comparison import Comparison
from unetkit.workflows.train import TrainedRun, reopen

PLAN = Plan.model_validate(EXAMPLE)


@pytest.fixture
def two_steps(tiny):
    own = {key: text for key, text in tiny.items() if key != "network.decoder_blocks"}
    exact = {"training.precision": "float32", "training.memory_format": "contiguous"}
    return {
        **own,
        **exact,
        "network.decoder_blocks": "[1]",
        "training.steps": "2",
        "training.validate_cases": "0",
    }


def test_one_table_about_two_networks_and_two_seeds(wafers, two_steps, tmp_path, monkeypatch):
    out = tmp_path / "c"
    asked = {"changes": two_steps, "fold": (0, 3)}
    train, calls = comparing.train, []

    def stopped(source, folder, **words):
        calls.append(folder.name)
        if len(calls) == 3:
            raise PreemptedError("asked to stop", cure="go on")
        return train(source, folder, **words)

    monkeypatch.setattr(comparing, "train", stopped)
    with pytest.raises(PreemptedError):
        uk.compare(wafers, ["plain", "residual"], out, seeds=2, **asked)
    weights = (out / "plain-seed0" / "model" / "weights.safetensors").stat().st_mtime_ns
    assert calls == ["plain-seed0", "residual-seed0", "plain-seed1"]
    found = uk.compare(wafers, ["plain", "residual"], out, seeds=2, **asked)
    assert (out / "plain-seed0" / "model" / "weights.safetensors").stat().st_mtime_ns == weights
    assert not (out / "cache").exists()

    assert Comparison.from_json((out / "compare.json").read_bytes(), where="compare.json") == found
    assert found.seeds == (0, 1)
    plain, residual = found.networks
    assert plain.runs == ("plain-seed0", "plain-seed1")
    assert plain.against_first == {}
    assert residual.parameters > plain.parameters
    assert residual.multiply_adds > plain.multiply_adds
    assert plain.steps == 2
    assert plain.patches_per_second > 0
    assert plain.predicted_per_second > 0

    values = {}
    for one in found.networks:
        seen = {}
        for run in one.runs:
            scores = Scores.from_json((out / run / "model" / "scores.json").read_bytes(), where=run)
            for case in scores.cases:
                dice = [row["dice"] for row in case.values.values() if row["dice"] is not None]
                if dice:
                    seen.setdefault(case.id, []).append(np.mean(dice))
        values[one.name] = {id: np.mean(each) for id, each in seen.items()}
        assert one.scores["dice"].mean == pytest.approx(np.mean(list(values[one.name].values())))
        assert one.scores["dice"].low is None  # one wafer is held out: a group has no spread
    apart = np.array([values["residual"][id] - values["plain"][id] for id in values["plain"]])
    against = residual.against_first["dice"]
    assert against.mean == pytest.approx(apart.mean())
    assert against.cases == len(apart)
    assert against.p_value == pytest.approx(stats.wilcoxon(apart).pvalue)

    splits = [
        json.loads((out / f"{name}-seed1" / "split.json").read_text()) for name in ("plain", "residual")
    ]
    assert splits[0]["held_out"] == splits[1]["held_out"]
    assert "| residual |" in (out / "compare.md").read_text()
    assert "<td>residual</td>" in (out / "compare.html").read_text()


def test_a_budget_that_planning_used_up_leaves_a_row_all_the_same(wafers, two_steps, tmp_path):
    changes = {key: text for key, text in two_steps.items() if key != "training.steps"}
    asked = {"changes": changes, "fold": (0, 3), "minutes": 1e-4, "memory_gb": 4.0}
    told = []

    class Watch(Quiet):
        def say(self, text):
            told.append(text)

    (plain,) = uk.compare(wafers, ["plain"], tmp_path / "c", progress=Watch(), **asked).networks
    assert any(text.startswith("warning: the time budget was used up before the first step") for text in told)
    assert (plain.steps, plain.patches_per_second) == (0, 0.0)
    assert plain.scores["iou"].cases == plain.scores["dice"].cases > 0
    assert "| plain |" in (tmp_path / "c" / "compare.md").read_text()


def test_wrong_words_cost_nothing(wafers, tmp_path, finished):
    for names, words, told in (
        (["plain", "plain"], {}, "different names were expected, got plain, plain"),
        ([], {}, "got none"),
        (["plain", "residul"], {}, "there is no network 'residul'.*use 'residual'"),
        (["plain"], {"seeds": 0}, "1 seed or more was expected, got 0"),
        (["plain"], {"network": "residual"}, "names its networks itself"),
        (["plain"], {"plan": "plan.json"}, "names its networks itself"),
        (["plain"], {"minuts": 3}, "use 'minutes'"),
    ):
        with pytest.raises(UsageError, match=told):
            uk.compare(wafers, names, tmp_path / "c", **words)
    with pytest.raises(UsageError, match="this folder holds a single run"):
        uk.compare(wafers, ["plain"], finished)
    assert not (tmp_path / "c").exists()


def test_the_runs_are_ordered_by_seed_so_that_a_table_of_one_seed_is_soon_whole(tmp_path):
    runs = planned_runs("data", ["planned", "plain"], tmp_path, seeds=2, seed=4)
    assert [(run.name, run.seed, run.folder.name) for run in runs] == [
        ("planned", 4, "planned-seed4"),
        ("plain", 4, "plain-seed4"),
        ("planned", 5, "planned-seed5"),
        ("plain", 5, "plain-seed5"),
    ]


def test_prepared_samples_are_shared_and_made_before_the_clock_runs(wafers, two_steps, tmp_path, monkeypatch):
    seen = []

    def train(source, folder, **words):
        seen.append((words["network"], words["cache"], len(list(words["cache"].iterdir()))))
        raise PreemptedError("enough", cure="stop")

    monkeypatch.setattr(comparing, "train", train)
    with pytest.raises(PreemptedError):
        uk.compare(wafers, ["planned"], tmp_path / "c", minutes=1, changes=two_steps, memory_gb=4)
    assert seen[0][:2] == (None, tmp_path / "c" / "cache")
    assert seen[0][2] > 0


def test_each_seed_is_prepared_for_once(wafers, two_steps, tmp_path, monkeypatch):
    seeds, trained = [], []

    def train(source, folder, **words):
        trained.append(folder.name)
        if len(trained) == 4:
            raise PreemptedError("enough", cure="stop")

    monkeypatch.setattr(comparing, "train", train)
    monkeypatch.setattr(comparing, "_warm", lambda source, wishes, seed, cache: seeds.append(seed))
    with pytest.raises(PreemptedError):
        uk.compare(wafers, ["planned", "plain"], tmp_path / "c", seeds=2, minutes=1, changes=two_steps)
    assert trained == ["planned-seed0", "plain-seed0", "planned-seed1", "plain-seed1"]
    assert seeds == [0, 1]


def test_case_means_are_over_classes_then_runs(finished):
    run = reopen(Run(finished))
    means = case_means({"one": [run, run]}, "dice")["one"]
    for case in run.scores.cases:
        known = [row["dice"] for row in case.values.values() if row["dice"] is not None]
        assert means[case.id] == pytest.approx(np.mean(known))


def scored(found):
    rows = [
        score_case(
            id,
            id,
            np.zeros((4, 4), int),
            labels,
            classes=["x"],
            spacing_mm=(1, 1),
            metrics=("dice", "hd95"),
        )
        for id, labels in found.items()
    ]
    return summarise(rows, classes=["x"], metrics=("dice", "hd95"), tolerance_mm=1.0, split="held-out")


def test_what_one_network_sees_on_an_empty_image_counts_in_favour_of_the_other():
    nothing, spot = np.zeros((4, 4), int), np.eye(4, dtype=int)
    quiet, noisy = (
        TrainedRun(Run(Path("run")), PLAN, scored({"a": nothing, "b": labels})) for labels in (nothing, spot)
    )
    runs = {"quiet": [quiet, quiet], "noisy": [quiet, noisy]}
    assert case_means(runs, "dice") == {"quiet": {"b": 1.0}, "noisy": {"b": 0.5}}
    assert case_means(runs, "hd95")["quiet"] == {"b": 0.0}
    assert case_means({"quiet": [quiet]}, "dice") == {"quiet": {}}
