"""HD95 and NSD of volume pairs of 256³, MONAI against ours, in turn in one run, value by value.

Runs in the peers' environment. The objects are two to four generated ellipsoids with a rough outline, at most
5 % of the voxels; the prediction is the reference shifted by up to two voxels, with an outline of its own.
Every tenth prediction is empty: there MONAI answers infinity or nothing, where ours counts the miss.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from duel import duel, medians, serve  # noqa: E402

SPACING, TOLERANCE_MM, EMPTY_EVERY = (1.5, 0.8, 0.8), 1.0, 10


def volumes(edge: int, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Reference and prediction, bool ``(edge, edge, edge)``, over and over."""
    axes = np.ogrid[:edge, :edge, :edge]
    while True:
        for number in range(count):
            draw = np.random.default_rng(number)
            pair = [np.zeros((edge,) * 3, bool) for _ in range(2)]
            for _ in range(draw.integers(2, 5)):
                center, radii = draw.uniform(0.25, 0.75, 3) * edge, draw.uniform(0.05, 0.13, 3) * edge
                waves, shift = draw.uniform(0.2, 0.6, 3), draw.uniform(-2, 2, 3)
                for mask, moved, phase in zip(pair, (0 * shift, shift), (0.0, 2.0), strict=True):
                    parts = zip(axes, center + moved, radii, strict=True)
                    far = sum(((axis - at) / radius) ** 2 for axis, at, radius in parts)
                    rough = sum(np.sin(axis * wave + phase) for axis, wave in zip(axes, waves, strict=True))
                    mask |= far < 1 + 0.05 * rough
            if number % EMPTY_EVERY == EMPTY_EVERY - 1:
                pair[1][:] = False
            yield pair[0], pair[1]


def theirs(edge: int, count: int) -> Iterator[list[float]]:
    """MONAI's two functions on the pair as it is."""
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    for reference, prediction in volumes(edge, count):
        y, found = (torch.from_numpy(mask)[None, None].float() for mask in (reference, prediction))
        yield []  # the making of the volumes is not theirs to answer for
        hd95 = compute_hausdorff_distance(found, y, include_background=True, percentile=95, spacing=SPACING)
        nsd = compute_surface_dice(found, y, [TOLERANCE_MM], include_background=True, spacing=SPACING)
        yield [float(hd95), float(nsd)]


def ours(edge: int, count: int) -> Iterator[list[float]]:
    """Our scores of one case."""
    from unetkit.metrics.score import score_case

    for reference, prediction in volumes(edge, count):
        yield []
        case = score_case(
            "case", "case", reference, prediction, classes=["object"], spacing_mm=SPACING,
            metrics=("hd95", "nsd"), tolerance_mm=TOLERANCE_MM,
        )  # fmt: skip
        values = case.values["object"]
        yield [math.nan if values[name] is None else float(values[name] or 0) for name in ("hd95", "nsd")]


def main() -> None:
    """Time both, in turn; prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--edge", type=int, default=256)
    parser.add_argument("--side", choices=["monai", "unetkit"])
    given = parser.parse_args()
    if given.side:
        serve((theirs if given.side == "monai" else ours)(given.edge, given.pairs))
        return
    sides = {name: [sys.executable, *sys.argv, "--side", name] for name in ("monai", "unetkit")}
    rows = duel(sides, turns=given.pairs, warmup=0, block=2)
    measured = {name: [row for row in side if row["facts"]] for name, side in rows.items()}
    values = {name: np.array([row["facts"] for row in side]) for name, side in measured.items()}
    both = np.isfinite(values["monai"]).all(1) & (np.arange(given.pairs) % EMPTY_EVERY != EMPTY_EVERY - 1)
    apart = np.abs(values["monai"] - values["unetkit"])[both]
    facts = {
        **medians(measured, "pair"),
        "pairs": given.pairs,
        "compared": int(both.sum()),
        "largest_hd95_difference_mm": float(apart[:, 0].max()),
        "largest_nsd_difference": float(apart[:, 1].max()),
        "a_missed_object": {name: str(side[~both][0].tolist()) for name, side in values.items()},
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
