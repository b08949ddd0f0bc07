"""What the pages of all claims share: numbers as text, tables, and when and where a row was made."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
"""The facts of a row, as ``worklist.run`` keeps them."""

MADE = ("job", "date", "commit", "machine", "seconds", "cpu_share")
"""Facts of every row that say when and where it was made."""


def rows_of(folder: Path) -> dict[str, Row]:
    """Name → facts of every row that is there, by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def number(value: float | None, *, scale: float = 1.0, sign: bool = False) -> str:
    """A number with one digit behind the point, a dash without one."""
    return "–" if value is None else f"{scale * value:{'+' if sign else ''}.1f}"


def mean(found: Mapping[str, Any] | None, *, scale: float = 1.0, sign: bool = False) -> str:
    """A mean and its interval; the mean alone without an interval (one group), a dash without a mean.

    Args:
        found: ``mean``, ``low`` and ``high``, each a number or None.
        scale: 100 for shares that are shown in points.
        sign: Whether a mean above 0 is shown with its sign, as for a difference.
    """
    if not found or found["mean"] is None:
        return "–"
    low, high = found["low"], found["high"]
    ends = "" if low is None or high is None else f" ({number(low, scale=scale)}–{number(high, scale=scale)})"
    return number(found["mean"], scale=scale, sign=sign) + ends


def chance(value: float | None) -> str:
    """A p value with two digits, a dash without one."""
    return "–" if value is None else f"{value:.2g}"


def table(head: Sequence[str], lines: Iterable[Sequence[object]]) -> list[str]:
    """A table of Markdown."""
    first, *rows = [f"| {' | '.join(map(str, line))} |" for line in (head, *lines)]
    return [first, f"|{'---|' * len(head)}", *rows]


def listed(rows: Mapping[str, Row]) -> list[str]:
    """One line per row with its facts, whatever they are, as they are."""
    facts = {name: {key: row[key] for key in row if key not in MADE} for name, row in rows.items()}
    return [
        f"* **{name}** — {'; '.join(f'{key}: {value}' for key, value in row.items()) or 'done'}"
        for name, row in facts.items()
    ]


def made(rows: Mapping[str, Row]) -> list[str]:
    """The table of when and where each row was made."""
    head = ("row", "date", "commit", "machine", "seconds", "CPU share")
    return table(
        head,
        ((name, *(row.get(key, "–") for key in MADE[1:])) for name, row in rows.items()),
    )


def save(page: Path, lines: Iterable[str]) -> None:
    """Write a page."""
    page.write_text("\n".join(lines) + "\n")


def quality(rows: Mapping[str, Row]) -> list[str]:
    """Dice, IoU and HD95 per class of every row that was scored; its name is its set and its tool."""
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
    return table(head, lines) if lines else []


def unscored(rows: Mapping[str, Row]) -> dict[str, Row]:
    """The rows that ``quality`` leaves out."""
    return {name: row for name, row in rows.items() if "scores" not in row}
