"""A made-up inspection data set: textured wafer surfaces with faint scratches, particles and stains."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from unetkit.records.files import write_bytes, write_text
from unetkit.records.progress import Progress, Quiet

CLASSES = ("background", "scratch", "particle", "stain")
IMAGES_PER_WAFER = 4


@dataclass(frozen=True)
class Wafer:
    """What the images of one wafer share: its die grid, its circuit texture, its light.

    Args:
        pitch: Die width, pixels.
        pattern: ``(pitch, pitch)`` grey-level offsets that repeat from die to die.
        street: Grey-level offset of the lines between dies.
        light: Gradient of the illumination along y and x, grey levels over the whole image.
        tilt: Rotation of the grid, radians.
    """

    pitch: int
    pattern: np.ndarray
    street: float
    light: tuple[float, float]
    tilt: float


def make_wafers(
    folder: Path,
    *,
    wafers: int = 12,
    size: int = 256,
    seed: int = 0,
    labelled: bool = True,
    progress: Progress | None = None,
) -> list[Path]:
    """Write images (and masks) of made-up wafers: ``images/``, ``masks/``, ``index.csv``, ``dataset.json``.

    Args:
        folder: Where to write; created when absent.
        wafers: Number of wafers; each gives ``IMAGES_PER_WAFER`` images and is one group.
        size: Edge of an image, pixels.
        seed: The same seed gives the same files, byte for byte.
        labelled: Whether masks and the index are written too.
        progress: Who watches.

    Returns:
        The image files.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     [path.name for path in make_wafers(Path(place), wafers=1, size=64)][:2]
        ['wafer00-0.png', 'wafer00-1.png']
    """
    watch = progress or Quiet()
    written: list[Path] = []
    rows = [["id", "group"]]
    watch.begin("drawing wafers", wafers * IMAGES_PER_WAFER)
    for number in range(wafers):
        random = np.random.default_rng((seed, number))
        wafer = _wafer(random)
        for view in range(IMAGES_PER_WAFER):
            name = f"wafer{number:0>2}-{view}"
            pixels, mask = _image(wafer, size, random)
            target = folder / "images" / f"{name}.png" if labelled else folder / f"{name}.png"
            write_bytes(target, _png(pixels))
            written.append(target)
            if labelled:
                write_bytes(folder / "masks" / f"{name}.png", _png(mask))
                rows.append([name, f"wafer{number:0>2}"])
            watch.advance()
    watch.end()
    if labelled:
        table = io.StringIO()
        csv.writer(table, lineterminator="\n").writerows(rows)
        write_text(folder / "index.csv", table.getvalue())
        facts = {
            "name": "wafers",
            "channel_names": {"0": "grey"},
            "labels": {name: value for value, name in enumerate(CLASSES)},
        }
        write_text(folder / "dataset.json", json.dumps(facts, indent=2) + "\n")
    return written


def _png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


def _wafer(random: np.random.Generator) -> Wafer:
    pitch = int(random.integers(44, 72))
    pattern = np.zeros((pitch, pitch))
    for _ in range(int(random.integers(9, 16))):  # rectangles: the circuit blocks of one die
        top, left = random.integers(2, pitch - 8, 2)
        height, width = random.integers(3, max(4, pitch // 3), 2)
        pattern[top : top + height, left : left + width] += random.uniform(-9, 9)
    pattern = ndimage.gaussian_filter(pattern, 0.7, mode="wrap")
    light = random.uniform(-14, 14, 2)
    return Wafer(
        pitch,
        pattern,
        float(random.uniform(8, 16)) * float(random.choice((-1.0, 1.0))),
        (float(light[0]), float(light[1])),
        float(random.uniform(-0.06, 0.06)),
    )


def _image(wafer: Wafer, size: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    grey = _surface(wafer, size, random)
    mask = np.zeros((size, size), np.uint8)
    if random.random() < 0.4:
        _stain(grey, mask, random)
    for _ in range(int(random.choice((0, 1, 1, 2)))):
        _scratch(grey, mask, random)
    for _ in range(int(random.choice((0, 1, 2, 2, 3)))):
        _particle(grey, mask, random)
    grey = ndimage.gaussian_filter(grey, 0.55) + random.normal(0, 3.2, grey.shape)  # optics, then the sensor
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8), mask


def _surface(wafer: Wafer, size: int, random: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:size, :size].astype(float)
    along = x * np.cos(wafer.tilt) - y * np.sin(wafer.tilt) + random.uniform(0, wafer.pitch)
    across = x * np.sin(wafer.tilt) + y * np.cos(wafer.tilt) + random.uniform(0, wafer.pitch)
    column, row = np.mod(along, wafer.pitch), np.mod(across, wafer.pitch)
    grey = 112 + wafer.pattern[row.astype(int) % wafer.pitch, column.astype(int) % wafer.pitch]
    grey = grey + wafer.street * ((column < 3) | (row < 3))
    centre = ((y - size / 2) ** 2 + (x - size / 2) ** 2) / size**2
    grey = grey + wafer.light[0] * (y / size - 0.5) + wafer.light[1] * (x / size - 0.5) - 14 * centre
    cloud = ndimage.gaussian_filter(random.normal(0, 1, (size, size)), 9)
    grain = ndimage.gaussian_filter(random.normal(0, 1, (size, size)), 0.8)
    return grey + 2.5 * cloud / cloud.std() + 2.2 * grain / grain.std()


def _scratch(grey: np.ndarray, mask: np.ndarray, random: np.random.Generator) -> None:
    """A thin curve: a walk whose direction drifts, drawn with a soft edge, fading towards its ends."""
    size = grey.shape[0]
    steps = int(random.uniform(0.18, 0.5) * size) * 2
    turn = ndimage.gaussian_filter1d(random.normal(0, 1, steps), 25) * 0.07
    heading = random.uniform(0, 2 * np.pi) + np.cumsum(turn)
    start = random.uniform(0.15, 0.85, 2) * size
    line = start[:, None] + np.cumsum(np.stack([np.sin(heading), np.cos(heading)]) * 0.5, axis=1)
    fade = np.sin(np.linspace(0.12, np.pi - 0.12, steps)) ** 0.5
    strength = np.zeros_like(grey)
    spots = np.rint(line).astype(int)
    inside = ((spots >= 0) & (spots < size)).all(axis=0)
    np.maximum.at(strength, (spots[0, inside], spots[1, inside]), fade[inside])
    width = random.uniform(0.55, 1.1)
    soft = ndimage.gaussian_filter(strength, width)
    soft /= max(soft.max(), 1e-6)
    grey += random.uniform(24, 40) * float(random.choice((-1.0, 1.0))) * soft
    mask[soft > 0.33] = 1


def _particle(grey: np.ndarray, mask: np.ndarray, random: np.random.Generator) -> None:
    """A small blob, bright or dark, with the faint ring that a defocused particle shows."""
    size = grey.shape[0]
    radius = random.uniform(2.0, 5.0)
    centre = random.uniform(0.04, 0.96, 2) * size
    y, x = np.mgrid[:size, :size].astype(float)
    squash = random.uniform(0.75, 1.3)
    distance = np.hypot((y - centre[0]) * squash, (x - centre[1]) / squash)
    sign = float(random.choice((-1.0, 1.0)))
    grey += sign * random.uniform(26, 46) / (1 + np.exp(np.clip((distance - radius) * 2.2, -50, 50)))
    grey -= sign * 6 * np.exp(-(((distance - radius - 2.2) / 1.2) ** 2))
    mask[distance < radius] = 2


def _stain(grey: np.ndarray, mask: np.ndarray, random: np.random.Generator) -> None:
    """A larger, faint patch with an irregular outline and a stronger rim, as a dried drop leaves it."""
    size = grey.shape[0]
    radius = random.uniform(0.05, 0.085) * size
    centre = random.uniform(0.15, 0.85, 2) * size
    y, x = np.mgrid[:size, :size].astype(float)
    ripple = ndimage.gaussian_filter(random.normal(0, 1, (size, size)), radius / 2.5)
    ripple *= 0.32 / ripple.std()
    stretch = random.uniform(0.7, 1.4)
    inside = 1 + ripple - np.hypot((y - centre[0]) * stretch, (x - centre[1]) / stretch) / radius
    near = np.hypot(y - centre[0], x - centre[1]) < 2.2 * radius
    soft = near / (1 + np.exp(np.clip(-inside * 12, -50, 50)))
    rim = near * np.exp(-((inside / 0.12) ** 2))
    grey += float(random.choice((-1.0, 1.0))) * (random.uniform(12, 20) * soft + random.uniform(8, 14) * rim)
    mask[soft > 0.5] = 3
