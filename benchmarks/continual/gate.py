"""The gate on real scores: a worse model in 100 tries, a better one in 100; one JSON line.

Weights of a trained model are disturbed until its Dice on the cases is at least 3 points lower. On 40 and on
80 cases drawn anew for every try, the disturbed model is put up against the trained one, and the other way
round. What refuses a better model is counted: an interval too wide for so few cases, or objects missed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from domains import make_sequence

import unetkit as uk
from unetkit.data.catalog import find_cases
from unetkit.metrics.score import MEAN
from unetkit.records.scores import Scores
from unetkit.workflows.evaluate import score_model
from unetkit.workflows.forgetting import class_values
from unetkit.workflows.model import Model, load
from unetkit.workflows.promotion import compare_set, decide

TRIES, CASES, WORSE_BY, DISTURBED = 100, (40, 80), 0.03, 5


def dice(scores: Scores) -> float:
    """Mean over cases."""
    return float(np.mean(list(class_values(scores, MEAN).values())))


def disturbed(model: Model, seed: int, size: float) -> None:
    """Noise on every kernel of the loaded network, ``size`` of its spread."""
    generator = torch.Generator().manual_seed(seed)
    network = model.predictor.runtime.network  # pyright: ignore[reportAttributeAccessIssue]
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim > 1:
                weight += size * weight.std() * torch.randn(weight.shape, generator=generator)


def chosen(scores: Scores, places: np.ndarray) -> Scores:
    """The scores of some cases; the gate looks at nothing else."""
    return scores.model_copy(update={"cases": tuple(scores.cases[place] for place in places)})


def main() -> None:
    """Train, disturb, ask the gate, and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    given = parser.parse_args()
    stages = make_sequence("defects", given.data, given.work)
    run = given.work / "gate"
    folder = uk.train(stages[0][0], run, minutes=given.minutes, seed=0, resume=True).run.model
    cases = [case for train, test in stages[:1] for path in (test, train) for case in find_cases(path).cases]
    good = score_model(load(folder), cases, split="unknown")
    worse: list[Scores] = []
    sizes: list[float] = []
    for seed in range(DISTURBED):
        size = 0.05
        while True:
            model = load(folder)
            disturbed(model, seed, size)
            scores = score_model(model, cases, split="unknown")
            if dice(scores) <= dice(good) - WORSE_BY or size > 2:
                break
            size *= 1.3
        worse.append(scores)
        sizes.append(round(size, 3))
    facts = {
        "dice": round(dice(good), 4),
        "worse_by": [round(dice(good) - dice(each), 4) for each in worse],
        "noise": sizes,
        "gate": [asked(good, worse, count) for count in CASES],
    }
    print(json.dumps(facts))


def asked(good: Scores, worse: list[Scores], count: int) -> dict[str, int]:
    """How the gate decides on so many golden cases, drawn anew for every try."""
    random = np.random.default_rng(0)
    found = {"golden_cases": count, "tries": TRIES, "worse_promoted": 0, "better_promoted": 0}
    found |= {"better_refused_for_its_interval": 0, "better_refused_for_missed_objects": 0}
    for number in range(TRIES):
        places = random.permutation(len(good.cases))[:count]
        one, other = chosen(good, places), chosen(worse[number % DISTURBED], places)
        found["worse_promoted"] += not decide(2, 1, [compare_set("golden", other, one)]).refused
        reasons = " ".join(decide(2, 1, [compare_set("golden", one, other)]).refused)
        found["better_promoted"] += not reasons
        found["better_refused_for_its_interval"] += "95 % interval" in reasons
        found["better_refused_for_missed_objects"] += "missed entirely" in reasons
    return found


if __name__ == "__main__":
    main()
