"""RESULTS.md from the rows that are there."""

from __future__ import annotations

from pathlib import Path

from tables import listed, made, quality, rows_of, save, unscored


def write(folder: Path, page: Path) -> None:
    """Write the page."""
    rows = rows_of(folder)
    lines = [
        "# Smaller models, measured",
        "",
        "Each row starts from the model of its set and puts the same held-out cases through both.",
        "",
        *quality(rows),
        "",
        *listed(unscored(rows)),
        "",
        *made(rows),
    ]
    save(page, lines)
