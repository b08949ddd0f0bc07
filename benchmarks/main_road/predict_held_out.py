"""Write the masks of a run's held-out cases with `unetkit.predict`, as a user would."""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import unetkit as uk
from unetkit.data.catalog import find_cases


def main() -> None:
    """Predict; prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--predictions", type=Path, required=True)
    given = parser.parse_args()
    split = json.loads((given.run / "split.json").read_text())
    held_out = set(split["held_out"])
    shutil.rmtree(given.predictions, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        for case in find_cases(given.data).cases:
            if case.id in held_out:
                for image in case.images:
                    shutil.copy(image, folder)
        start = time.monotonic()
        uk.predict(given.run / "model", folder, out=given.predictions)
    plan = json.loads((given.run / "plan.json").read_text())
    events = [json.loads(line) for line in (given.run / "journal.jsonl").read_text().splitlines()]
    steps = max((event.get("step", 0) for event in events), default=0)
    network = {key: plan["network"][key] for key in ("encoder", "widths")}
    training = {key: plan["training"][key] for key in ("patch_size", "batch_size")}
    facts = {
        "split": split["how"],
        "cases": len(held_out),
        "predict_seconds": round(time.monotonic() - start, 1),
    }
    print(json.dumps({"steps": steps, "network": network, "training": training, **facts}))


if __name__ == "__main__":
    main()
