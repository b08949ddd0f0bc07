"""Milliseconds of one 512² tile of the same network in every runtime, in turn in one run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from duel import duel, medians, serve  # noqa: E402

BLOCK = 20
"""Tiles in a row: a side that was stopped needs some before its threads and caches are warm again."""


def tiles(folder: Path, size: int) -> Iterator[None]:
    """One tile of noise through a model's runtime, in the pixels it takes, over and over."""
    import unetkit as uk

    model = uk.load(folder)
    channels = len(model.plan.data.channels)
    tile = np.random.default_rng(0).integers(0, 256, (1, channels, size, size), np.uint8)
    if model.plan.inference.network_input == "float32":
        tile = tile.astype(np.float32) / 255
    while True:
        model.predictor.runtime.run(tile)
        yield


def main() -> None:
    """Time all, in turn; prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--side", type=Path, help="serve this model")
    given = parser.parse_args()
    if given.side:
        serve(tiles(given.side, given.size))
        return
    size = ["--size", str(given.size)]
    sides = {}
    for pair in given.model:
        name, _, folder = pair.partition("=")
        sides[name] = [sys.executable, __file__, *size, "--side", folder]
    rows = duel(sides, turns=given.turns, block=BLOCK)
    print(json.dumps({"tile": given.size, "tiles_each": BLOCK * given.turns, **medians(rows, "tile")}))


if __name__ == "__main__":
    main()
