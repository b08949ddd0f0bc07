"""The gate on real scores: a worse model in 100 tries, a better one in 100; one JSON line.

A model is trained, and its weights are disturbed until its Dice on images of groups that nobody trained on is
at least 3 points lower. These images, one per group, are the population: golden sets are drawn from them with
replacement, so that the true difference is known, and every try has its own. The disturbed model is put up
against the trained one, and the other way round. Then the scores of both are shifted until the candidate is
worse by exactly the margin, which is where the gate may err most often. What was scored is kept: a row that
was stopped goes on.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from domains import SEQUENCES, make_stage, stage_files

import unetkit as uk
from unetkit.data.catalog import find_cases
from unetkit.metrics.score import MEAN
from unetkit.records.case import Case
from unetkit.records.scores import Scores
from unetkit.workflows.evaluate import score_model
from unetkit.workflows.forgetting import class_values
from unetkit.workflows.model import Model, load
from unetkit.workflows.promotion import MARGIN, compare_set, decide

TRIES, CASES, WORSE_BY, DISTURBED = 100, (10, 20, 40, 80, 160, 320), 0.03, 5
PILOT, MOST = 40, 2000
"""Cases that say how many are needed, and the most that are drawn then."""


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


def unseen(data: Path, work: Path) -> tuple[Path, list[Case]]:
    """The training cases of the first defects, and one image of each group that is not among them."""
    stage = SEQUENCES["defects"][0]
    source, home = data / stage.source, work / "gate-images"
    train, _ = make_stage(stage, source, work / "defects" / stage.name)
    with train.open(newline="") as file:
        seen = {row["group"] for row in csv.DictReader(file)}
    first: dict[str, dict[str, str]] = {}
    with (source / "index.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["group"] not in seen and stage.wanted(row):
                first.setdefault(row["group"], row)
    table = stage_files(stage, source, home, list(first.values()), home / "cases.csv")
    return train, [case for case in find_cases(table).cases if case.label is not None]


def kept(path: Path, make: Callable[[], Scores]) -> Scores:
    """Scores from a file, or made and written there."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(make().to_json())
    return Scores.from_json(path.read_bytes(), where=path)


def worse_one(folder: Path, seed: int, good: Scores, cases: list[Case]) -> Scores:
    """The scores of the trained model, disturbed until it is worse by enough."""
    few, size = cases[::4], 0.05
    ids = {case.id for case in few}
    bar = dice(good.model_copy(update={"cases": tuple(row for row in good.cases if row.id in ids)}))
    while True:
        model = load(folder)
        disturbed(model, seed, size)
        if dice(score_model(model, few, split="unknown")) <= bar - WORSE_BY or size > 2:
            scores = score_model(model, cases, split="unknown")
            if dice(scores) <= dice(good) - WORSE_BY or size > 2:
                return scores
        size *= 1.2


def drawn(scores: Scores, places: np.ndarray, *, shift: float = 0.0) -> Scores:
    """A golden set: some of the population, each a group of its own; the gate looks at nothing else."""
    rows = []
    for number, place in enumerate(places):
        row = scores.cases[place]
        values = {
            name: {**row.values[name], "dice": None if value is None else value + shift}
            for name in scores.classes
            for value in (row.values[name]["dice"],)
        }
        rows.append(row.model_copy(update={"id": f"{number}", "group": f"{number}", "values": values}))
    return scores.model_copy(update={"cases": tuple(rows)})


def asked(good: Scores, worse: list[Scores], count: int) -> dict[str, object]:
    """How the gate decides on so many golden cases, drawn anew for every try."""
    random = np.random.default_rng(count)
    found = dict.fromkeys(("worse_promoted", "margin_promoted", "better_promoted"), 0)
    found |= {"better_refused_for_its_interval": 0, "better_refused_for_missed_objects": 0}
    for number in range(TRIES):
        other = worse[number % len(worse)]
        places = random.integers(len(good.cases), size=count)
        one, two = drawn(good, places), drawn(other, places)
        found["worse_promoted"] += not decide(2, 1, [compare_set("golden", two, one)]).refused
        reasons = " ".join(decide(2, 1, [compare_set("golden", one, two)]).refused)
        found["better_promoted"] += not reasons
        found["better_refused_for_its_interval"] += "95 %" in reasons or "too few" in reasons
        found["better_refused_for_missed_objects"] += "missed entirely" in reasons
        candidate, live = (good, other) if number % 2 else (other, good)
        shift = dice(live) - MARGIN - dice(candidate)
        just = compare_set("golden", drawn(candidate, places, shift=shift), drawn(live, places))
        found["margin_promoted"] += not just.refused
    return {"golden_cases": count, "tries": TRIES, **found}


def as_many_as_needed(good: Scores, worse: list[Scores]) -> dict[str, object]:
    """Where a first golden set could not tell: the better model on another, as large as it asked for."""
    random = np.random.default_rng(0)
    promoted, needed = 0, []
    for number in range(TRIES):
        other = worse[number % len(worse)]
        places = random.integers(len(good.cases), size=PILOT)
        first = compare_set("golden", drawn(good, places), drawn(other, places))
        if first.needed is None:
            continue
        needed.append(min(first.needed, MOST))
        places = random.integers(len(good.cases), size=needed[-1])
        second = compare_set("golden", drawn(good, places), drawn(other, places))
        promoted += not decide(2, 1, [second]).refused
    return {
        "pilot": PILOT,
        "tries": TRIES,
        "undecided": len(needed),
        "needed": [int(value) for value in np.percentile(needed or [0], (10, 50, 90))],
        "better_promoted": promoted,
    }


def main() -> None:
    """Train, disturb, ask the gate, and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    given = parser.parse_args()
    train, cases = unseen(given.data, given.work)
    home = given.work / "gate"
    folder = uk.train(train, home / "run", minutes=given.minutes, seed=0, resume=True).run.model
    good = kept(home / "good.json", lambda: score_model(load(folder), cases, split="unknown"))
    worse = [
        kept(home / f"worse{seed}.json", lambda seed=seed: worse_one(folder, seed, good, cases))
        for seed in range(DISTURBED)
    ]
    apart = [list(class_values(each, MEAN).values()) for each in (good, *worse)]
    facts = {
        "population": len(cases),
        "dice": round(dice(good), 4),
        "worse_by": [round(dice(good) - dice(each), 4) for each in worse],
        "spread": [round(float(np.std(np.subtract(apart[0], each))), 4) for each in apart[1:]],
        "margin": MARGIN,
        "gate": [asked(good, worse, count) for count in CASES],
        "as_many_as_needed": as_many_as_needed(good, worse),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
