"""Kill training with SIGKILL at random moments, resume, and compare the final weights with a quiet run.

`make soak` runs it. Small generated data, a small network, one process; every kill falls at a
random moment of the whole command (reading, planning, preparing, training, saving).
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

SETTINGS = [
    "training.steps=60", "training.checkpoint_steps=3", "training.validate_steps=25",
    "training.batch_size=2", "training.patch_size=[32,32]", "network.widths=[4,8]", "network.blocks=[1,1]",
    "network.decoder_blocks=[1]", "network.kernels=[[3,3],[3,3]]", "network.strides=[[1,1],[2,2]]",
    "network.deep_supervision=1", "inference.tile_size=[32,32]", "training.precision=float32",
    "training.memory_format=contiguous",
]  # fmt: skip


def generate(folder: Path) -> None:
    """Ten small pictures with a bright disc each."""
    draw = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    ys, xs = np.mgrid[:48, :48]
    for index in range(10):
        y, x = draw.integers(12, 36, 2)
        disc = (ys - y) ** 2 + (xs - x) ** 2 < 64
        noise = draw.normal(90, 20, (48, 48)) + 80 * disc
        Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"{index}.png")
        Image.fromarray(disc.astype(np.uint8)).save(folder / "masks" / f"{index}.png")


def command(data: Path, out: Path, resume: bool) -> list[str]:
    """The `unet train` call."""
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    start = [str(Path(sys.executable).with_name("unet")), "train", str(data), "--out", str(out), "--quiet"]
    return start + (["--resume"] if resume else settings)


def weights(out: Path) -> str:
    """The hash of the final weights."""
    return json.loads((out / "model" / "model.json").read_text())["weights_sha256"]


def main() -> None:
    """Run once quietly, then with kills, and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    draw = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        data, quiet = Path(folder) / "data", Path(folder) / "quiet"
        generate(data)
        start = time.monotonic()
        subprocess.run(command(data, quiet, resume=False), check=True)
        whole = time.monotonic() - start
        kills = unreadable = runs = equal = 0
        while kills < given.kills:
            out = Path(folder) / f"killed{runs}"
            runs += 1
            while not (out / "model" / "model.json").exists():
                resume = (out / "plan.json").exists()
                process = subprocess.Popen(
                    command(data, out, resume), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
                )
                try:
                    _, words = process.communicate(
                        timeout=draw.uniform(0.2, 1.1) * whole if kills < given.kills else None
                    )
                    if process.returncode != 0:
                        unreadable += 1
                        print(words.decode()[-600:], file=sys.stderr)
                        break
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()
                    kills += 1
            equal += (out / "model" / "model.json").exists() and weights(out) == weights(quiet)
        print(json.dumps({"kills": kills, "runs": runs, "unreadable": unreadable, "equal_weights": equal}))


if __name__ == "__main__":
    main()
