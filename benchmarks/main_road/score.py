"""Score a folder of predicted masks of the held-out cases, ours and a peer's by the very same code."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from unetkit.data.catalog import find_cases
from unetkit.networks.store import read_plan
from unetkit.records.scores import Scores
from unetkit.workflows.evaluate import score_files


def score(data: Path, run: Path, predictions: Path) -> Scores:
    """Scores of the held-out cases of ``run``; a case without a file counts as absent."""
    plan = read_plan(run / "model").data
    held_out = set(json.loads((run / "split.json").read_text())["held_out"])
    cases = [case for case in find_cases(data).cases if case.id in held_out]
    found = {}
    for case in cases:
        files = [path for path in predictions.glob(f"{case.id}.*") if "probab" not in path.name]
        if files:
            found[case.id] = files[0]
    return score_files(cases, found, plan, split="held-out")


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
