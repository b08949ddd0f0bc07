"""RESULTS.md from the rows that are there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def cell(summary: dict[str, Any], metric: str) -> str:
    """Mean and interval of one metric; the mean alone without an interval (one group), or a dash."""
    found = summary.get(metric)
    if not found or found["mean"] is None:
        return "–"
    scale = 1 if metric == "hd95" else 100
    low, high = found["low"], found["high"]
    interval = "" if low is None or high is None else f" ({low * scale:.1f}–{high * scale:.1f})"
    return f"{found['mean'] * scale:.1f}{interval}"


def quality(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Dice, IoU and HD95 per class of every trained row."""
    lines = [
        "| set | tool | class | n | missed | undefined | Dice | IoU | HD95 | steps |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        if "scores" not in row:
            continue
        data, _, tool = name.rpartition("-")
        for label, summary in row["scores"].items():
            dice = summary["dice"]
            cells = " | ".join(cell(summary, metric) for metric in ("dice", "iou", "hd95"))
            counts = f"{dice['n']} | {dice['missed']} | {dice['undefined']}"
            lines.append(f"| {data} | {tool} | {label} | {counts} | {cells} | {row.get('steps', '–')} |")
    return lines


def write(folder: Path, page: Path) -> None:
    """Write the page."""
    rows = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
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
    ]
    for name, row in rows.items():
        if "scores" not in row:
            skip = {"job", "date", "commit", "machine", "seconds", "cpu_share"}
            facts = "; ".join(f"{key}: {value}" for key, value in row.items() if key not in skip)
            lines.append(f"* **{name}** — {facts}")
    lines += [
        "",
        "## When and where",
        "",
        "CPU share: processor time of the row's longest command over what all cores had to give; a loop that",
        "prepares its batches beside the network stays below 1 even alone on the machine.",
        "",
        "| row | date | commit | machine | seconds | CPU share |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        cells = (row["date"], row["commit"], row["machine"], row["seconds"], row.get("cpu_share", "–"))
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    page.write_text("\n".join(lines) + "\n")
