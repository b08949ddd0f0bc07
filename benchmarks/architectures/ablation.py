"""One value changed at a time, everything else alike: same cases, minutes and seeds; tested case by case.

``start``: MobileNetV2 from random and from ImageNet weights, and with 0, 3 and all encoder stages frozen.
``recipe``: mixing, multi-scale input and losses on small objects, one by one and joined.
Finished runs are kept: the same command goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import unetkit as uk
from unetkit.metrics.paired import difference
from unetkit.metrics.score import mean_interval
from unetkit.workflows.compare import case_means
from unetkit.workflows.train import TrainedRun

ARCHIVE = "mobilenetv2_100_imagenet_int8.npz"
RANDOM = "from random weights"
STARTED: dict[str, int | None] = {
    RANDOM: None,
    "from ImageNet": 0,
    "from ImageNet, 3 stages frozen": 3,
    "from ImageNet, all stages frozen": 5,
}
"""Variant → frozen stages of a start from ImageNet; None: no such start."""

FOCAL = '[{"name":"dice","weight":0.7},{"name":"focal","weight":0.3}]'
VANILLA, PLANNED = "vanilla U-Net", "as planned"
TRIED: dict[str, dict[str, str]] = {
    VANILLA: {
        "objective.losses": '[{"name":"dice"},{"name":"cross_entropy"}]',
        "training.foreground_fraction": "0",
    },
    PLANNED: {},
    "focal": {"objective.losses": FOCAL},
    "unified focal": {"objective.losses": '[{"name":"unified_focal"}]'},
    "mixup": {"augmentation.mixup": "0.5"},
    "cutmix": {"augmentation.cutmix": "0.5"},
    "copy_paste": {"augmentation.copy_paste": "0.5"},
    "pyramid joined to the input": {"network.pyramid": "input"},
    "pyramid at every stage": {"network.pyramid": "levels"},
    "focal, cutmix, pyramid": {
        "objective.losses": FOCAL,
        "augmentation.cutmix": "0.5",
        "network.pyramid": "levels",
    },
}
"""Variant → what is changed about the plan."""

BASELINES = {"start": (RANDOM,), "recipe": (VANILLA, PLANNED)}
"""Question → variants that every other one is measured against."""
METRICS = ("dice", "iou", "hd95")


def variants(question: str, weights: Path) -> dict[str, dict[str, Any]]:
    """Name → what is asked of ``uk.train``."""
    if question == "recipe":
        return {name: {"changes": values} for name, values in TRIED.items()}
    start = {"network": "mobile", "init": weights / ARCHIVE}
    return {
        name: {"network": "mobile"}
        if count is None
        else {**start, "changes": {"training.freeze_blocks": str(count)}}
        for name, count in STARTED.items()
    }


def folder_of(out: Path, name: str, seed: int) -> Path:
    """Where a variant's run with a seed lies."""
    words = "".join(letter if letter.isalnum() else " " for letter in name).split()
    return out / f"{'_'.join(words)}-{seed}"


def measure(
    question: str, data: Path, out: Path, *, weights: Path, seeds: int, **budget: object
) -> list[dict[str, Any]]:
    """Train what is missing, and say how good each variant is and how far above the baselines.

    Args:
        question: ``start`` or ``recipe``.
        data: The data set.
        out: Folder of the runs.
        weights: Folder of ``ARCHIVE``.
        seeds: How many, counted from 0.
        budget: What else every ``uk.train`` is asked.
    """
    rows: list[dict[str, Any]] = []
    trained: dict[str, list[TrainedRun]] = {}
    groups: dict[str, str] = {}
    for name, settings in variants(question, weights).items():
        asked: dict[str, Any] = {**budget, **settings}
        asked["changes"] = {**asked_of(budget), **asked_of(settings)}
        trained[name] = [
            uk.train(data, folder_of(out, name, seed), seed=seed, resume=True, **asked)
            for seed in range(seeds)
        ]
        for run in trained[name]:
            groups |= {case.id: case.group for case in run.scores.cases} if run.scores else {}
    values = {metric: case_means(trained, metric) for metric in METRICS}
    for name in trained:
        rows.append({"name": name, "scores": {m: _mean(values[m][name], groups) for m in METRICS}})
    for row in rows:
        row["against"] = {
            baseline: _apart(values["dice"][row["name"]], values["dice"][baseline], groups)
            for baseline in BASELINES[question]
            if baseline != row["name"]
        }
    return rows


def asked_of(settings: Mapping[str, Any]) -> Mapping[str, str]:
    """The values of the plan that settings change."""
    return settings.get("changes", {})


def _mean(found: Mapping[str, float], groups: Mapping[str, str]) -> dict[str, Any]:
    """Mean and interval over cases, groups resampled."""
    if not found:
        return {"mean": None, "low": None, "high": None, "cases": 0}
    low, high = mean_interval(list(found.values()), [groups[id] for id in found]) or (None, None)
    return {"mean": sum(found.values()) / len(found), "low": low, "high": high, "cases": len(found)}


def _apart(one: Mapping[str, float], other: Mapping[str, float], groups: Mapping[str, str]) -> dict[str, Any]:
    found = difference(one, other, groups)
    return {"mean": found.mean, "low": found.low, "high": found.high, "p_value": found.p_value}


def main() -> None:
    """Train what is missing; prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("question", choices=tuple(BASELINES))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seeds", type=int, required=True)
    given = parser.parse_args()
    rows = measure(
        given.question,
        given.data,
        given.out,
        weights=given.weights,
        seeds=given.seeds,
        minutes=given.minutes,
    )
    print(json.dumps({"variants": rows, "minutes": given.minutes, "seeds": list(range(given.seeds))}))


if __name__ == "__main__":
    main()
