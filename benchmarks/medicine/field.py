"""Seconds of the dense random field on 512² pixels and two classes."""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np

from unetkit.inference.crf import refined
from unetkit.records.plan import EXAMPLE, Plan


def main() -> None:
    """Time it; prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    draw = np.random.default_rng(0)
    ys, xs = np.mgrid[: given.size, : given.size] - given.size / 2
    disc = (ys**2 + xs**2 < (given.size / 4) ** 2).astype(np.float32)
    image = (disc + 0.2 * draw.normal(size=disc.shape))[None].astype(np.float32)
    logits = np.stack([0 * disc, 2 * disc - 1 + draw.normal(size=disc.shape)]).astype(np.float32)
    plan = Plan.model_validate(EXAMPLE).with_values({"inference.crf_steps": f"{given.steps}"}).inference
    seconds = []
    for _ in range(given.turns + 1):
        start = time.perf_counter()
        refined(logits, image, spacing_mm=(1.0, 1.0), plan=plan)
        seconds.append(time.perf_counter() - start)
    middle = round(statistics.median(seconds[1:]), 3)
    print(json.dumps({"pixels": given.size**2, "steps": given.steps, "seconds_each": middle}))


if __name__ == "__main__":
    main()
