"""RESULTS.md from the rows that are there."""

from __future__ import annotations

from pathlib import Path

from tables import Row, listed, made, mean, rows_of, save, table


def quality(rows: dict[str, Row]) -> list[str]:
    """Dice, IoU and HD95 per class of every trained row."""
    head = ("set", "tool", "class", "n", "missed", "undefined", "Dice", "IoU", "HD95", "steps")
    lines = []
    for name, row in rows.items():
        data, _, tool = name.rpartition("-")
        for label, summary in row.get("scores", {}).items():
            dice = summary["dice"]
            shares = (mean(summary.get(metric), scale=100) for metric in ("dice", "iou"))
            counts = (dice["n"], dice["missed"], dice["undefined"])
            distance = mean(summary.get("hd95"))
            lines.append((data, tool, label, *counts, *shares, distance, row.get("steps", "–")))
    return table(head, lines)


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
        "Hippocampus at cb54a9c: the learning rate had been chosen by short runs scored on these same 40",
        "volumes, editors and linters ran beside it now and then, and the network has changed since.",
        "",
        "## Other claims",
        "",
        *listed({name: row for name, row in rows.items() if "scores" not in row}),
        "",
        "## When and where",
        "",
        "CPU share: processor time of the row's longest command over what all cores had to give; a loop that",
        "prepares its batches beside the network stays below 1 even alone on the machine.",
        "",
        *made(rows),
    ]
    save(page, lines)
