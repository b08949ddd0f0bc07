"""One picture of 4096², file to file: our exported models and what is written today, in turn in one run.

Each side reads the picture's file, predicts it in tiles of 512 with 64 pixels of overlap and writes the label
file; loading the model is not counted. Dice is that of the files they wrote.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from duel import duel, medians, serve  # noqa: E402
from worklist import OURS, THEIRS  # noqa: E402


def predictions(folder: Path, image: Path, target: Path) -> Iterator[None]:
    """File to file with one of our models, over and over."""
    import unetkit as uk

    model = uk.load(folder)
    while True:
        model.save(model.predict(image), target)
        yield


def dice(label: np.ndarray, predicted: np.ndarray) -> list[float]:
    """Dice of each class of the label, over all pixels of the picture."""
    found = []
    for value in np.unique(label)[1:]:
        a, b = label == value, predicted == value
        found.append(round(float(2 * (a & b).sum() / (a.sum() + b.sum())), 4))
    return found


def main() -> None:
    """Time all sides, in turn; prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--label", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--peer", type=Path, help="the peer's weights")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--side", type=Path, help="serve this model")
    parser.add_argument("--target", type=Path)
    given = parser.parse_args()
    if given.side:
        serve(predictions(given.side, given.image, given.target))
        return
    given.work.mkdir(parents=True, exist_ok=True)
    image, sides = ["--image", str(given.image)], {}
    if given.peer:
        words = [THEIRS, f"{HERE}/mobile_peer.py", "--weights", str(given.peer), *image]
        sides["monai_smp"] = [*words, "--target", str(given.work / "monai_smp.png")]
    for pair in given.model:
        name, _, folder = pair.partition("=")
        words = [OURS, __file__, "--label", str(given.label), "--work", str(given.work), *image]
        sides[name] = [*words, "--side", folder, "--target", str(given.work / f"{name}.png")]
    rows = duel(sides, turns=given.turns, warmup=1)
    label = np.asarray(Image.open(given.label))
    facts: dict[str, object] = {"turns": given.turns, **medians(rows, "picture")}
    for name in sides:
        values = dice(label, np.asarray(Image.open(given.work / f"{name}.png")))
        facts[f"{name}_dice"] = {"mean": round(float(np.mean(values)), 4), "classes": values}
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
