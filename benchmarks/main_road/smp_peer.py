"""A plain segmentation_models_pytorch U-Net as its users write it, for a time budget.

resnet34 encoder (random start: nothing is downloaded), 256 crops, batch 8, AdamW cosine, Dice +
cross-entropy, flips. Runs in the peers' environment; writes one PNG of class values per held-out case.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
from PIL import Image

CROP = 256
BATCH = 8


def load(data: Path, case: str) -> tuple[np.ndarray, np.ndarray]:
    """Image ``(3, H, W)`` in 0–1 and label ``(H, W)``."""
    image = np.asarray(Image.open(data / "images" / f"{case}.png").convert("RGB"), dtype=np.float32) / 255
    return image.transpose(2, 0, 1), np.asarray(Image.open(data / "masks" / f"{case}.png")).astype(np.int64)


def crop(image: np.ndarray, label: np.ndarray, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random 256 crop (reflected where the image is smaller) with random flips."""
    grow = [(0, max(0, CROP - size)) for size in label.shape]
    image, label = np.pad(image, [(0, 0), *grow], mode="reflect"), np.pad(label, grow, mode="reflect")
    y, x = (int(draw.integers(0, size - CROP + 1)) for size in label.shape)
    image, label = image[:, y : y + CROP, x : x + CROP], label[y : y + CROP, x : x + CROP]
    for axis in (0, 1):
        if draw.random() < 0.5:
            image, label = np.flip(image, axis + 1), np.flip(label, axis)
    return image.copy(), label.copy()


def train(
    network: torch.nn.Module, data: Path, cases: list[str], minutes: float
) -> tuple[torch.nn.Module, int]:
    """Train until the minutes are over; the network in evaluation mode, and its steps."""
    start = time.monotonic()
    pairs = [load(data, case) for case in cases]
    draw = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-4)
    dice = smp.losses.DiceLoss("multiclass", from_logits=True)
    steps = 0
    network.train()
    while (share := (time.monotonic() - start) / (minutes * 60)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * 0.5 * (1 + math.cos(math.pi * share))
        chosen = [crop(*pairs[int(draw.integers(len(pairs)))], draw) for _ in range(BATCH)]
        pixels, target = (torch.from_numpy(np.stack(part)) for part in zip(*chosen, strict=True))
        logits = network(pixels)
        loss = dice(logits, target) + torch.nn.functional.cross_entropy(logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    return network.eval(), steps


def predict(network: torch.nn.Module, image: np.ndarray) -> np.ndarray:
    """Whole image, padded to a multiple of 32."""
    size = image.shape[1:]
    grow = [(0, -edge % 32) for edge in size]
    padded = np.pad(image, [(0, 0), *grow], mode="reflect")
    with torch.inference_mode():
        logits = network(torch.from_numpy(padded)[None])[0, :, : size[0], : size[1]]
    return logits.argmax(0).numpy().astype(np.uint8)


def main() -> None:
    """Train and predict; prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--predictions", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    given = parser.parse_args()
    parts = json.loads(given.split.read_text())
    values = {int(v) for case in parts["train"] for v in np.unique(load(given.data, case)[1])}
    start = time.monotonic()
    torch.manual_seed(0)
    network = smp.Unet("resnet34", encoder_weights=None, classes=max(values) + 1)
    network, steps = train(network, given.data, parts["train"], given.minutes)
    seconds = time.monotonic() - start
    given.predictions.mkdir(parents=True, exist_ok=True)
    for case in parts["held_out"]:
        labels = predict(network, load(given.data, case)[0])
        Image.fromarray(labels).save(given.predictions / f"{case}.png")
    print(json.dumps({"steps": steps, "seconds": seconds}))


if __name__ == "__main__":
    main()
