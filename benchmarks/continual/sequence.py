"""One sequence of domains or classes by one method and seed: the matrix R and its sums, as one JSON line."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from domains import SEQUENCES, joined_csv, make_sequence

import unetkit as uk
from unetkit.data.catalog import find_cases
from unetkit.inference.predict import Predictor
from unetkit.metrics.continual import Domain, Estimate, transfer
from unetkit.metrics.score import MEAN
from unetkit.networks.unet import build
from unetkit.records.case import Case
from unetkit.records.plan import DataPlan, Plan
from unetkit.records.scores import Scores
from unetkit.runtimes.devices import Layout
from unetkit.runtimes.pytorch import PytorchRuntime
from unetkit.workflows.evaluate import score_model
from unetkit.workflows.forgetting import class_values
from unetkit.workflows.growing import measured_on
from unetkit.workflows.model import Model, load

NEEDS_OLD = ("replay", "ewc", "interpolate")


def models_of(name: str, method: str, given: argparse.Namespace) -> list[Path]:
    """The model after every stage; what is trained already is taken as it is."""
    home = given.work / name
    stages = make_sequence(name, given.data, given.work)
    settings = {"minutes": given.minutes, "seed": given.seed, "resume": True}
    if method == "joint":
        labels: dict[str, int] = {}
        for stage in SEQUENCES[name]:
            labels |= stage.labels
        run = home / f"joint-{given.seed}"
        settings["minutes"] = given.minutes * len(stages)  # as long as all stages together
        uk.train(joined_csv(stages, labels, home), run, **settings)
        return [run]
    runs = [home / f"{'batch' if method == 'adabn' else 'base'}-{given.seed}"]
    new = method == "adabn" and not (runs[0] / "plan.json").exists()  # there is nothing to match without
    uk.train(stages[0][0], runs[0], changes={"network.norm": "batch"} if new else {}, **settings)
    old: Path = stages[0][0]
    for number, (train, _) in enumerate(stages[1:], start=1):
        run = home / f"{method}-{given.seed}-{number}"
        memory = old if method in NEEDS_OLD else None
        uk.update(runs[-1], train, run, method=method, memory=memory, **settings)
        runs.append(run)
        old = run if (run / "memory").is_dir() else old
    return runs


def untrained(plan: Plan) -> Model:
    """The same network with random weights."""
    torch.manual_seed(plan.training.seed)
    data = plan.data
    network = build(plan.network, rank=data.rank, in_channels=len(data.channels), classes=len(data.classes))
    runtime = PytorchRuntime(network.eval(), torch.device("cpu"), Layout())
    return Model(Path(), plan, Predictor(runtime, data, plan.preparation, plan.inference), "cpu")


def scored(models: list[Model], cases: list[list[Case]], data: DataPlan) -> list[list[Scores]]:
    """Scores of every model on the test cases of every stage."""
    return [
        [score_model(measured_on(model, data), tested, split="unknown") for tested in cases]
        for model in models
    ]


def sums(table: list[list[Scores]], name: str, telling: list[bool]) -> dict[str, object]:
    """The matrix of a class and what follows from it.

    Args:
        table: Scores by stage and domain; the last row is the untrained network's.
        name: A class, or ``mean``.
        telling: Which domains' labels tell of it.
    """
    *stages, bare = table
    places = [place for place, tells in enumerate(telling) if tells]
    domains = [
        Domain(
            learned=place if len(stages) > 1 else 0,
            stages=tuple(class_values(row[place], name) for row in stages),
            groups={case.id: case.group for case in bare[place].cases},
            untrained=class_values(bare[place], name),
        )
        for place in places
    ]
    found = transfer(domains)
    empty: list[list[float | None]] = [[None] * 3 for _ in telling]
    rows = [[*empty] for _ in found.matrix]
    for row, cells in zip(rows, found.matrix, strict=True):
        for place, cell in zip(places, cells, strict=True):
            row[place] = shown(cell)
    return {
        "matrix": rows,
        "acc": shown(found.accuracy),
        "bwt": shown(found.backward),
        "fwt": shown(found.forward),
        "forgetting": shown(found.forgetting),
    }


def shown(one: Estimate) -> list[float | None]:
    """Value and interval."""
    return [None if value is None else round(value, 4) for value in (one.value, one.low, one.high)]


def main() -> None:
    """Train what is missing, measure, and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sequence", choices=SEQUENCES)
    parser.add_argument("method")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    given = parser.parse_args()
    runs = models_of(given.sequence, given.method, given)
    tests = [test for _, test in make_sequence(given.sequence, given.data, given.work)]
    models = [load(run) for run in runs]
    plan = models[-1].plan
    cases = [[case for case in find_cases(test).cases if case.label is not None] for test in tests]
    table = scored([*models, untrained(plan)], cases, plan.data)
    stages = SEQUENCES[given.sequence]
    classes = {
        name: sums(table, name, [name == MEAN or name in stage.labels for stage in stages])
        for name in (*plan.data.classes[1:], MEAN)
    }
    print(
        json.dumps(
            {
                "sequence": given.sequence,
                "method": given.method,
                "seed": given.seed,
                "minutes": given.minutes,
                "domains": [stage.name for stage in stages],
                "cases": [len(each) for each in cases],
                "classes": classes,
            }
        )
    )


if __name__ == "__main__":
    main()
