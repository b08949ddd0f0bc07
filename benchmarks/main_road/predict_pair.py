"""Prediction of one volume, nnU-Net's predictor against ours: the very same trained network, no mirroring.

From an array in memory to labels, preparation included; volumes of 40×56×40 (held-out cases padded at the
edges), the Dice of both against the same reference.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
from duel import duel, medians, serve
from nnunet_peer import prepare, trainer

SHAPE = (40, 56, 40)


def volumes(data: Path, split: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Held-out images and labels in (z, y, x), brought to 40×56×40, over and over."""
    while True:
        for case in json.loads(split.read_text())["held_out"]:
            pair = []
            for folder in ("imagesTr", "labelsTr"):
                array = np.asarray(nibabel.load(data / folder / f"{case}.nii.gz").dataobj).T
                array = array[tuple(slice(0, size) for size in SHAPE)]
                grow = [(0, size - have) for size, have in zip(SHAPE, array.shape, strict=True)]
                pair.append(np.pad(array, grow, mode="edge"))
            yield pair[0].astype(np.float32), pair[1].astype(np.uint8)


def dice(label: np.ndarray, predicted: np.ndarray) -> float:
    """Mean Dice of the two parts."""
    both = [(label == k, predicted == k) for k in (1, 2)]
    return float(np.mean([2 * (a & b).sum() / max(1, a.sum() + b.sum()) for a, b in both]))


def theirs(given: argparse.Namespace) -> Iterator[float]:
    """nnU-Net's predictor around our network."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    from unetkit.networks.store import load_model

    network, _ = load_model(given.run / "model")
    made = trainer()
    predictor = nnUNetPredictor(
        tile_step_size=0.5, use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.manual_initialization(
        network,
        made.plans_manager,
        made.configuration_manager,
        [network.state_dict()],
        made.dataset_json,
        "",
        None,
    )
    for pixels, label in volumes(given.data, given.split):
        predicted = predictor.predict_single_npy_array(pixels[None], {"spacing": [1.0, 1.0, 1.0]})
        yield dice(label, np.asarray(predicted))


def ours(given: argparse.Namespace) -> Iterator[float]:
    """Our model handle."""
    import unetkit as uk

    model = uk.load(given.run / "model")
    for pixels, label in volumes(given.data, given.split):
        yield dice(label, np.asarray(model.predict(pixels[None])))


def main() -> None:
    """Time both, in turn; prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--side", choices=["nnunet", "unetkit"])
    given = parser.parse_args()
    if given.side:
        prepare(given.data, given.split, given.work.resolve())
        serve(theirs(given) if given.side == "nnunet" else ours(given))
        return
    prepare(given.data, given.split, given.work.resolve())
    sides = {name: [sys.executable, *sys.argv, "--side", name] for name in ("nnunet", "unetkit")}
    rows = duel(sides, turns=given.turns)
    scores = {
        f"{name}_dice": round(statistics.mean(row["facts"] for row in side), 4) for name, side in rows.items()
    }
    print(json.dumps({**medians(rows, "volume"), **scores, "volumes_each": given.turns}))


if __name__ == "__main__":
    main()
