"""Prediction of one volume, nnU-Net's predictor against ours: the very same trained network, no mirroring.

From an array in memory to labels, preparation included; the Dice of both against the same reference. Volumes
of 40×56×40 are held-out cases padded at the edges; larger ones (``--shape 256 256 256``) are held-out cases
side by side, each normalised first. Peak memory is that of a side's process, network and data included.
The same network as ``unet export`` wrote it (``--exported``) is the third side, in our own environment.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import nibabel
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nnunet_peer import prepare, trainer

from duel import duel, medians, serve

CASE = (40, 56, 40)


def volumes(data: Path, split: Path, shape: tuple[int, ...]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Held-out images and labels in (z, y, x), each brought to 40×56×40, side by side up to ``shape``."""
    cases = cycle(pairs(data, split))
    while True:  # nothing is kept here: peak memory is that of a prediction
        yield side_by_side(cases, shape)


def side_by_side(
    cases: Iterator[tuple[np.ndarray, np.ndarray]], shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The next cases as one image and one label of ``shape``."""
    counts = [-(-size // case) for size, case in zip(shape, CASE, strict=True)]
    image, label = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
    for place in np.ndindex(*counts):
        starts = [i * size for i, size in zip(place, CASE, strict=True)]
        at = tuple(slice(start, start + size) for start, size in zip(starts, CASE, strict=True))
        for whole, case in zip((image, label), next(cases), strict=True):
            there = whole[at]
            there[...] = case[tuple(slice(0, size) for size in there.shape)]
    return image, label


def pairs(data: Path, split: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Image and label of every held-out case, brought to 40×56×40 at its ends."""
    found = []
    for case in json.loads(split.read_text())["held_out"]:
        pair = []
        for folder in ("imagesTr", "labelsTr"):
            array = np.asarray(nibabel.load(data / folder / f"{case}.nii.gz").dataobj).T
            array = array[tuple(slice(0, size) for size in CASE)]
            grow = [(0, size - have) for size, have in zip(CASE, array.shape, strict=True)]
            pair.append(np.pad(array, grow, mode="edge"))
        pixels = pair[0].astype(np.float32)  # scanners differ by a factor of 100: side by side, as one scan
        found.append(((pixels - pixels.mean()) / pixels.std(), pair[1].astype(np.uint8)))
    return found


def dice(label: np.ndarray, predicted: np.ndarray) -> float:
    """Mean Dice of the two parts."""
    both = [(label == k, predicted == k) for k in (1, 2)]
    return float(np.mean([2 * (a & b).sum() / max(1, a.sum() + b.sum()) for a, b in both]))


def facts(label: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Dice, and the peak memory of this process so far in GB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # before the scoring takes its own
    return {"dice": dice(label, predicted), "peak_gb": round(peak, 3)}


def theirs(given: argparse.Namespace) -> Iterator[dict[str, float]]:
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
    for pixels, label in volumes(given.data, given.split, tuple(given.shape)):
        predicted = predictor.predict_single_npy_array(pixels[None], {"spacing": [1.0, 1.0, 1.0]})
        yield facts(label, np.asarray(predicted))
        del pixels, label, predicted


def ours(given: argparse.Namespace, folder: Path) -> Iterator[dict[str, float]]:
    """Our model handle."""
    import unetkit as uk

    model = uk.load(folder).with_values(dict(word.split("=", 1) for word in given.set))
    for pixels, label in volumes(given.data, given.split, tuple(given.shape)):
        yield facts(label, np.asarray(model.predict(pixels[None])))
        del pixels, label


def main() -> None:
    """Time both, in turn; prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--shape", type=int, nargs=3, default=CASE)
    parser.add_argument("--exported", type=Path, help="The same network, for a runtime without torch.")
    parser.add_argument("--python", default=sys.executable, help="What runs the exported network.")
    parser.add_argument("--set", action="append", default=[], help="As of 'unet predict', for our sides.")
    parser.add_argument("--side", choices=["nnunet", "unetkit", "exported"])
    given = parser.parse_args()
    if given.side in ("unetkit", "exported"):
        serve(ours(given, given.run / "model" if given.side == "unetkit" else given.exported))
        return
    if given.side == "nnunet":
        prepare(given.data, given.split, given.work.resolve())
        serve(theirs(given))
        return
    prepare(given.data, given.split, given.work.resolve())
    python = {"nnunet": sys.executable, "unetkit": sys.executable}
    if given.exported:
        python["exported"] = given.python
    sides = {name: [which, *sys.argv, "--side", name] for name, which in python.items()}
    rows = duel(sides, turns=given.turns, warmup=given.warmup)
    told: dict[str, object] = {**medians(rows, "volume"), "volumes_each": given.turns}
    for name, side in rows.items():
        told[f"{name}_dice"] = round(statistics.mean(row["facts"]["dice"] for row in side), 4)
        told[f"{name}_peak_gb"] = max(row["facts"]["peak_gb"] for row in side)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
