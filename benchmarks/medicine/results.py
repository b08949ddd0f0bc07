"""RESULTS.md from the rows that are there."""

from __future__ import annotations

from pathlib import Path

from tables import Row, listed, made, quality, rows_of, save, table, unscored

DAMAGE = "corrupted"
SORTS = ("truncated", "header flip", "flip anywhere", "bomb")
OUTCOMES = ("refused", "same", "other", "unnamed", "crash")


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
        *listed({name: shown(row) for name, row in unscored(rows).items()}),
        "",
        *damaged(rows.get(DAMAGE, {})),
        "",
        *made(rows),
    ]
    save(page, lines)


def shown(row: Row) -> Row:
    """A row without what has a table of its own."""
    return {key: value for key, value in row.items() if key != "formats"}


def damaged(row: Row) -> list[str]:
    """What came of damaged files, by format and by what was done to them."""
    if "formats" not in row:
        return []
    head = ("format", *(f"{sort}: {'/'.join(OUTCOMES)}" for sort in SORTS))
    lines = [
        (kind, *("/".join(str(found.get(sort, {}).get(came, 0)) for came in OUTCOMES) for sort in SORTS))
        for kind, found in sorted(row["formats"].items())
    ]
    return [
        "Damaged files. refused: by an error that names the file; same: read as if it were whole; other:",
        "read with other pixels or another place; unnamed: refused without its name; crash: anything else.",
        "",
        *table(head, lines),
        "",
    ]
