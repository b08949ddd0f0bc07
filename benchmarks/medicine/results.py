"""RESULTS.md from the rows that are there."""

from __future__ import annotations

from pathlib import Path

from tables import listed, made, quality, rows_of, save, unscored


def write(folder: Path, page: Path) -> None:
    """Write the page."""
    rows = rows_of(folder)
    lines = [
        "# Scans, measured",
        "",
        "Means over held-out cases (95 % bootstrap interval over groups); Dice and IoU in %, HD95 in mm or",
        "pixels. A ratio says how many times faster than the first of its row a side is.",
        "",
        *quality(rows),
        "",
        *listed(unscored(rows)),
        "",
        *made(rows),
    ]
    save(page, lines)
