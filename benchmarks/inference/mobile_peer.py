"""What is written today for large pictures: smp's MobileNetV2-U-Net, tiled by MONAI's inferer, in torch.

Runs in the peers' environment. ``--train`` fits it for a time budget (random start: nothing is downloaded)
with the loop of the smp rows of the main road; without, it predicts one picture per line on stdin.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
from monai.inferers import SlidingWindowInferer
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "main_road")]

from smp_peer import load, train  # noqa: E402

from duel import serve  # noqa: E402


def network(classes: int) -> torch.nn.Module:
    """The peer's network for pictures of three channels."""
    return smp.Unet("mobilenet_v2", encoder_weights=None, classes=classes)


def predictions(weights: Path, image: Path, target: Path, tile: int, overlap: int) -> Iterator[None]:
    """File to file, over and over."""
    state = torch.load(weights, weights_only=True)
    made = network(len(state["segmentation_head.0.bias"]))
    made.load_state_dict(state)
    made.eval()
    inferer = SlidingWindowInferer(roi_size=(tile, tile), sw_batch_size=1, overlap=overlap / tile)
    while True:
        pixels = np.asarray(Image.open(image).convert("RGB"), dtype=np.float32).transpose(2, 0, 1) / 255
        with torch.inference_mode():
            logits = inferer(torch.from_numpy(pixels)[None], made)
        labels = torch.as_tensor(logits)[0].argmax(0).numpy().astype(np.uint8)
        Image.fromarray(labels).save(target)
        yield


def main() -> None:
    """Train, or serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--split", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--target", type=Path)
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--overlap", type=int, default=64)
    given = parser.parse_args()
    if not given.train:
        serve(predictions(given.weights, given.image, given.target, given.tile, given.overlap))
        return
    names = json.loads(given.split.read_text())["train"]
    classes = 1 + max(int(load(given.data, name)[1].max()) for name in names)
    torch.manual_seed(0)
    start = time.monotonic()
    fitted, steps = train(network(classes), given.data, names, given.minutes)
    torch.save(fitted.state_dict(), given.weights)
    print(json.dumps({"peer_steps": steps, "peer_seconds": round(time.monotonic() - start, 1)}))


if __name__ == "__main__":
    main()
