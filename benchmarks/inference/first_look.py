"""A first look at low resolution against every tile: what it misses, what it saves, on unseen cases.

python benchmarks/inference/first_look.py --model runs/mine --data DATA --factor 4 --recall 0.99 --tile 64
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from unetkit.data.catalog import find_cases
from unetkit.data.labels import read_label
from unetkit.metrics.score import score_case
from unetkit.records.split import SplitFile
from unetkit.workflows.model import Model, load
from unetkit.workflows.screen import screen


def measured(model: Model, cases: list) -> dict[str, object]:
    """Seconds of all cases, mean Dice per class, and the labels."""
    names, labels, dice, spent = model.classes[1:], [], {}, 0.0
    for case in cases:
        reference, known, grid = read_label(case, model.plan.data)
        start = time.perf_counter()
        labels.append(model.predictor.file(case.images, case.id).labels)
        spent += time.perf_counter() - start
        row = score_case(
            case.id, case.group, reference, labels[-1], classes=names, known=known,
            spacing_mm=grid.spacing_mm, metrics=("dice",),
        )  # fmt: skip
        for name in names:
            if (value := row.values[name]["dice"]) is not None:
                dice.setdefault(name, []).append(value)
    return {
        "seconds": spent,
        "dice": {name: float(np.mean(values)) for name, values in dice.items()},
        "labels": labels,
    }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--factor", type=int, default=4)
    parser.add_argument("--recall", type=float, default=0.99)
    parser.add_argument("--tile", type=int, default=0, help="Edge of a tile; the plan's own when 0.")
    given = parser.parse_args()
    model = load(given.model)
    if given.tile:
        edge = ",".join([str(given.tile)] * model.plan.data.rank)
        model = model.with_values({"inference.tile_size": f"[{edge}]", "inference.whole_image_pixels": "0"})
    found = screen(model, given.data, recall=given.recall, factor=given.factor)
    split = SplitFile.from_json((model.folder.parent / "split.json").read_bytes(), where=model.folder)
    cases = [case for case in find_cases(given.data).cases if case.id in split.held_out]
    every, some = measured(model, cases), measured(model.with_values(found.values), cases)
    same = [np.mean(a == b) for a, b in zip(every.pop("labels"), some.pop("labels"), strict=True)]
    answer = {"every tile": every, "first look": some, "same labels": float(np.mean(same))}
    print(json.dumps({"screen": found.model_dump(mode="json"), **answer}, indent=1))


if __name__ == "__main__":
    main()
