"""RESULTS.md from the rows that are there."""

from __future__ import annotations

from pathlib import Path

from tables import listed, made, quality, rows_of, save, unscored


def write(folder: Path, page: Path) -> None:
    """Write the page."""
    rows = rows_of(folder)
    lines = [
        "# The main road, measured",
        "",
        "Means over held-out cases (95 % bootstrap interval over groups); Dice and IoU in %, HD95 in mm",
        "(pixels for pictures). A missed object carries the worst value; cases without the class in either",
        "mask are left out and counted as undefined. A peer's row has the same split and the same minutes,",
        "one after the other. smp: segmentation_models_pytorch U-Net with resnet34,",
        "randomly initialised (nothing is downloaded).",
        "",
        *quality(rows),
        "",
        "## Other claims",
        "",
        *listed(unscored(rows)),
        "",
        "## When and where",
        "",
        "CPU share: processor time of the row's longest command over what all cores had to give; a loop that",
        "prepares its batches beside the network stays below 1 even alone on the machine.",
        "",
        *made(rows),
    ]
    save(page, lines)
