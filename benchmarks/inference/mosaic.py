"""One large picture and its labels from the held-out pictures of a data set, laid side by side.

Large labelled pictures that may be passed on are rare; this one holds real surfaces at the scale they were
trained at. Where the held-out pictures run out they begin again. Beside it some pictures of the training are
laid out as a data set of their own, for exports to find the ranges of eight bits on.
"""

from __future__ import annotations

import argparse
import json
import shutil
from itertools import cycle
from pathlib import Path

import numpy as np
from PIL import Image


def mosaic(folder: Path, names: list[str], edge: int) -> np.ndarray:
    """``(edge, edge)`` or ``(edge, edge, 3)`` from pictures of one size."""
    tiles = [np.asarray(Image.open(folder / f"{name}.png")) for name in names]
    if len({tile.shape for tile in tiles}) != 1:
        raise SystemExit(f"{folder}: the pictures differ in size; a mosaic needs one size")
    high, wide = tiles[0].shape[:2]
    turn = cycle(tiles)
    rows = [np.concatenate([next(turn) for _ in range(-(-edge // wide))], 1) for _ in range(-(-edge // high))]
    return np.concatenate(rows)[:edge, :edge]


def main() -> None:
    """Write ``image.png``, ``label.png`` and the folder ``calibration``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--edge", type=int, default=4096)
    parser.add_argument("--calibration", type=int, default=8, help="Pictures of the training to lay out.")
    given = parser.parse_args()
    split = json.loads(given.split.read_text())
    train = split["train"][:: max(1, len(split["train"]) // given.calibration)][: given.calibration]
    given.out.mkdir(parents=True, exist_ok=True)
    for part, name in (("images", "image"), ("masks", "label")):
        picture = mosaic(given.data / part, split["held_out"], given.edge)
        Image.fromarray(picture).save(given.out / f"{name}.png")
        folder = given.out / "calibration" / part
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for id in train:
            shutil.copy(given.data / part / f"{id}.png", folder)


if __name__ == "__main__":
    main()
