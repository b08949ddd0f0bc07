"""RESULTS.md from the rows that are there."""

from __future__ import annotations

from pathlib import Path

from tables import listed, made, quality, rows_of, save, unscored


def write(folder: Path, page: Path) -> None:
    """Write the page."""
    rows = rows_of(folder)
    lines = [
        "# Large pictures and fast runtimes, measured",
        "",
        "A ratio says how many times faster than the first of its row a side is; the sides take turns in one",
        "run, the others stopped meanwhile. The picture of 4096² is laid together from held-out pictures.",
        "",
        *quality(rows),
        "",
        *listed(unscored(rows)),
        "",
        *made(rows),
    ]
    save(page, lines)
