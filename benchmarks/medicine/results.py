"""RESULTS.md from the rows that are there."""

from __future__ import annotations

import json
from pathlib import Path

ABOUT = {"job", "date", "commit", "machine", "seconds", "cpu_share"}


def write(folder: Path, page: Path) -> None:
    """Write the page."""
    rows = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    lines = [
        "# Scans, measured",
        "",
        "A ratio says how many times faster than the first of its row a side is; the sides take turns in one",
        "run, the others stopped meanwhile.",
        "",
    ]
    for name, row in rows.items():
        facts = "; ".join(f"{key}: {value}" for key, value in row.items() if key not in ABOUT)
        lines.append(f"* **{name}** — {facts or 'done'}")
    lines += ["", "| row | date | commit | machine | seconds | CPU share |", "|---|---|---|---|---|---|"]
    for name, row in rows.items():
        cells = (row["date"], row["commit"], row["machine"], row["seconds"], row.get("cpu_share", "–"))
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    page.write_text("\n".join(lines) + "\n")
