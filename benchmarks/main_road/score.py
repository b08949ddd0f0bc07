"""Score a folder of predicted masks of the held-out cases, ours and a peer's by the very same code."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from unetkit.data.catalog import find_cases
from unetkit.data.formats import format_of
from unetkit.data.labels import read_label
from unetkit.metrics.score import score_case, summarise
from unetkit.networks.store import read_plan
from unetkit.records.scores import Scores

METRICS = ("dice", "iou", "hd95", "nsd")


def score(data: Path, run: Path, predictions: Path) -> Scores:
    """Scores of the held-out cases of ``run``; a case without a file counts as absent."""
    plan = read_plan(run / "model").data
    held_out = set(json.loads((run / "split.json").read_text())["held_out"])
    rows = []
    for case in find_cases(data).cases:
        if case.id not in held_out:
            continue
        label, known, grid = read_label(case, plan)
        files = [path for path in predictions.glob(f"{case.id}.*") if "probab" not in path.name]
        predicted = None
        if files:
            values, _ = format_of(files[0]).read_label(files[0])
            predicted = values * 0
            for index, value in enumerate(plan.label_values):
                predicted[values == value] = index
        rows.append(
            score_case(
                case.id,
                case.group,
                label,
                predicted,
                classes=plan.classes[1:],
                known=known,
                spacing_mm=grid.spacing_mm,
                tolerance_mm=1.0,
                metrics=METRICS,
            )
        )
    return summarise(rows, classes=plan.classes[1:], metrics=METRICS, tolerance_mm=1.0, split="held-out")


def main() -> None:
    """Print the summary as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--predictions", type=Path, required=True)
    given = parser.parse_args()
    scores = score(given.data, given.run, given.predictions)
    print(json.dumps({"scores": json.loads(scores.model_dump_json())["summary"]}))


if __name__ == "__main__":
    main()
