"""One value changed at a time, everything else alike: same cases, minutes and seeds; tested case by case.

``start``: MobileNetV2 from random and from ImageNet weights, and with 0, 3 and all encoder stages frozen.
``recipe``: mixing, multi-scale input and losses on small objects, one by one and joined.
Finished runs are kept: the same command goes on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import unetkit as uk
from unetkit.metrics.paired import difference
from unetkit.metrics.score import mean_interval

ARCHIVE = "mobilenetv2_100_imagenet_int8.npz"
FROZEN = {"from ImageNet": 0, "from ImageNet, 3 stages frozen": 3, "from ImageNet, all stages frozen": 5}
FOCAL = '[{"name":"dice","weight":0.7},{"name":"focal","weight":0.3}]'
UNIFIED = '[{"name":"unified_focal"}]'
RECIPES: dict[str, dict[str, str]] = {
    "as planned": {},
    "vanilla: dice + cross-entropy": {
        "objective.losses": '[{"name":"dice"},{"name":"cross_entropy"}]',
        "training.foreground_fraction": "0.33",
    },
    "focal": {"objective.losses": FOCAL},
    "unified focal": {"objective.losses": UNIFIED},
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


def variants(question: str, weights: Path) -> dict[str, dict[str, object]]:
    """Name to what is asked of ``uk.train``; the first is what the others are measured against."""
    if question == "recipe":
        return {name: {"changes": values} for name, values in RECIPES.items()}
    start = {"network": "mobile", "init": weights / ARCHIVE}
    frozen = {
        name: {**start, "changes": {"training.freeze_blocks": str(count)}} for name, count in FROZEN.items()
    }
    return {"from random weights": {"network": "mobile"}, **frozen}


def case_means(runs: list[uk.TrainedRun]) -> tuple[dict[str, float], dict[str, str]]:
    """Case to its mean Dice over classes and over the seeds that held it out, and case to group."""
    found: dict[str, list[float]] = {}
    groups: dict[str, str] = {}
    for case in (case for run in runs if run.scores for case in run.scores.cases):
        values = [value["dice"] for value in case.values.values() if value["dice"] is not None]
        if values:
            found.setdefault(case.id, []).append(float(np.mean(values)))
            groups[case.id] = case.group
    return {id: float(np.mean(values)) for id, values in found.items()}, groups


def main() -> None:
    """Train what is missing; prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("question", choices=("start", "recipe"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seeds", type=int, required=True)
    given = parser.parse_args()
    rows: list[dict[str, object]] = []
    first: dict[str, float] = {}
    for name, settings in variants(given.question, given.weights).items():
        folder = given.out / name.replace(" ", "_").replace(",", "").replace(":", "")
        runs = [
            uk.train(  # pyright: ignore[reportCallIssue] - the settings are those of train
                given.data, f"{folder}-{seed}", minutes=given.minutes, seed=seed, resume=True, **settings
            )
            for seed in range(given.seeds)
        ]
        values, groups = case_means(runs)
        ends = mean_interval(list(values.values()), [groups[id] for id in values])
        mean = float(np.mean(list(values.values())))
        row: dict[str, object] = {"name": name, "dice": mean, "interval": ends, "cases": len(values)}
        first = first or values
        if rows:
            against = difference(values, first, groups)
            row |= {"gain": against.mean, "gain_interval": (against.low, against.high), "p": against.p_value}
        rows.append(row)
    print(json.dumps({"variants": rows}))


if __name__ == "__main__":
    main()
