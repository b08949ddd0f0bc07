"""Predict a generated tiled TIFF (.npy, .zarr) to a label file and state the peak memory above the start.

python benchmarks/inference/memory.py --work scratch --width 4096
python benchmarks/inference/memory.py --work scratch --width 4096 --suffix .zarr --levels 4
python benchmarks/inference/memory.py --work scratch --width 32768 --model runs/mine
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from unetkit.data.formats import format_of
from unetkit.inference.predict import Predictor
from unetkit.networks.unet import build
from unetkit.records.case import Grid
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.records.progress import Quiet
from unetkit.runtimes.devices import Layout
from unetkit.runtimes.pytorch import PytorchRuntime
from unetkit.workflows.model import Model, load
from unetkit.workflows.streaming import predict_rows

BAND = 256


def generate(path: Path, width: int) -> None:
    """A square grey picture of noise with bright squares, as deflated tiles in a BigTIFF."""

    def bands() -> Iterator[np.ndarray]:
        for top in range(0, width, BAND):
            draw = np.random.default_rng(top)
            band = draw.integers(90, 110, (min(BAND, width - top), width), dtype=np.uint8)
            for y, x in draw.integers(0, (BAND - 40, width - 40), (max(1, width // 1024), 2)):
                band[y : y + 40, x : x + 40] += 60
            yield band

    kind = np.dtype(np.uint8)
    format_of(path).write_rows(path, bands(), shape=(width, width), dtype=kind, grid=Grid.plain(2))


def small(tile: int) -> Model:
    """A model of 16 to 64 channels with weights as they start: memory does not depend on what they say."""
    plan = Plan.model_validate(EXAMPLE).with_values(
        {
            "network.norm": "batch",
            "network.widths": "[16,32,64]",
            "network.blocks": "[1,1,1]",
            "network.decoder_blocks": "[1,1]",
            "network.kernels": "[[3,3],[3,3],[3,3]]",
            "network.strides": "[[1,1],[2,2],[2,2]]",
            "inference.tile_size": f"[{tile},{tile}]",
            "inference.overlap_fraction": "0.125",
        }
    )
    network = build(plan.network, rank=2, in_channels=1, classes=2).eval()
    runtime = PytorchRuntime(network, torch.device("cpu"), Layout())
    return Model(Path(), plan, Predictor(runtime, plan.data, plan.preparation, plan.inference), "cpu")


def memory(key: str) -> int:
    """Bytes of a row of the kernel's account of this process: ``VmRSS`` now, ``VmHWM`` the peak."""
    rows = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(rows[key].split()[0]) * 1024


def main() -> None:
    """Generate, predict, print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--suffix", default=".tif")
    parser.add_argument("--levels", type=int, default=0, help="Smaller copies in the label file.")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    image, labels = (given.work / f"{given.width}{part}{given.suffix}" for part in ("", ".labels"))
    if not image.exists():  # in a process of its own: its memory is not what is measured
        maker = multiprocessing.get_context("spawn").Process(target=generate, args=(image, given.width))
        maker.start()
        maker.join()
    model = load(given.model) if given.model else small(given.tile)
    inference = model.plan.inference.model_copy(
        update={"stream_above_pixels": 1, "pyramid_levels": given.levels}
    )
    model.plan = model.plan.model_copy(update={"inference": inference})
    size = model.plan.inference.tile_size
    kind = np.uint8 if model.plan.inference.network_input == "uint8" else np.float32
    model.predictor.runtime.run(np.zeros((1, len(model.plan.data.channels), *size), kind))
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    start, began = memory("VmRSS"), time.monotonic()
    counts = predict_rows(model, [image], id="image", target=labels, mirror=False, progress=Quiet())
    seconds = time.monotonic() - began
    row = {
        "width": given.width,
        "suffix": given.suffix,
        "levels": given.levels,
        "tile": list(size),
        "streamed": counts is not None,
        "start_mb": round(start / 1e6),
        "peak_above_start_mb": round((memory("VmHWM") - start) / 1e6, 1),
        "image_mb": round(math.prod((given.width, given.width)) / 1e6, 1),
        "seconds": round(seconds, 1),
        "mpixel_per_s": round(given.width**2 / 1e6 / seconds, 2),
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
