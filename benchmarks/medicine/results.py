"""RESULTS.md from the rows that are there."""

from __future__ import annotations

from pathlib import Path

from tables import listed, made, rows_of, save


def write(folder: Path, page: Path) -> None:
    """Write the page."""
    rows = rows_of(folder)
    lines = [
        "# Scans, measured",
        "",
        "A ratio says how many times faster than the first of its row a side is; the sides take turns in one",
        "run, the others stopped meanwhile.",
        "",
        *listed(rows),
        "",
        *made(rows),
    ]
    save(page, lines)
