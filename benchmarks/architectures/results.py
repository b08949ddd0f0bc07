"""RESULTS.md from the rows that are there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PAPERS = """\
What the papers report, on other data and with GPUs for days: UNet++ +3.9 points of IoU over U-Net (Zhou et
al., 2018), attention gates +2.6 points of Dice on CT-150 (Oktay et al., 2018), TransUNet a mean Dice of 77.48
on Synapse (Chen et al., 2021). A short budget on two processor cores may well order them otherwise.
"""


def points(value: float | None, *, sign: bool = False) -> str:
    """A share in points, a dash without one."""
    return "–" if value is None else f"{100 * value:{'+' if sign else ''}.1f}"


def interval(low: float | None, high: float | None) -> str:
    """An interval in points, nothing without one."""
    return "" if low is None or high is None else f" ({points(low)}–{points(high)})"


def compared(name: str, row: dict[str, Any]) -> list[str]:
    """The table of a comparison."""
    lines = [
        f"## {name}",
        "",
        "| network | Dice | HD95 | against the first | p | parameters | multiply-adds | patch × batch "
        "| steps | patches/s trained | tiles/s predicted | memory of a step, GB |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in row["networks"]:
        dice, hd95 = one["scores"]["dice"], one["scores"]["hd95"]
        against = one["against_first"].get("dice")
        gain = "–"
        p_value = "–"
        if against:
            gain = points(against["mean"], sign=True) + interval(against["low"], against["high"])
            p_value = "–" if against["p_value"] is None else f"{against['p_value']:.2g}"
        distance = "–" if hd95["mean"] is None else f"{hd95['mean']:.1f}"
        size = f"{'×'.join(map(str, one['patch']))} × {one['batch']}"
        cells = (
            one["name"],
            points(dice["mean"]) + interval(dice["low"], dice["high"]),
            distance,
            gain,
            p_value,
            f"{one['parameters'] / 1e6:.2f} M",
            f"{one['multiply_adds'] / 1e9:.2f} G",
            size,
            f"{one['steps']:.0f}",
            f"{one['patches_per_second']:.1f}",
            f"{one['predicted_per_second']:.1f}",
            f"{one['memory_gb']:.2f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def ablated(name: str, row: dict[str, Any]) -> list[str]:
    """The table of an ablation."""
    lines = [
        f"## {name}",
        "",
        "| variant | cases | Dice | gain over the first | p |",
        "|---|---|---|---|---|",
    ]
    for one in row["variants"]:
        dice = points(one["dice"]) + interval(*(one["interval"] or (None, None)))
        gain, p_value = "–", "–"
        if "gain" in one:
            gain = points(one["gain"], sign=True) + interval(*one["gain_interval"])
            p_value = "–" if one["p"] is None else f"{one['p']:.2g}"
        lines.append(f"| {one['name']} | {one['cases']} | {dice} | {gain} | {p_value} |")
    return [*lines, ""]


def write(folder: Path, page: Path) -> None:
    """Write the page."""
    rows = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    lines = [
        "# The family, measured",
        "",
        "Mean Dice over held-out cases, points (95 % bootstrap interval over groups); a case's value is the",
        "mean over classes and the seeds that held it out. HD95 in mm, in pixels for pictures.",
        "p: two-sided Wilcoxon signed-rank test over the same cases, not corrected for the number.",
        "Minutes: each network is fitted to one budget by the planner. Steps: the same steps, patch and",
        "batch for all.",
        "",
        PAPERS,
    ]
    for name, row in rows.items():
        lines += compared(name, row) if "networks" in row else ablated(name, row)
    lines += [
        "## When and where",
        "",
        "| row | date | commit | machine | seconds | CPU share |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        cells = (row["date"], row["commit"], row["machine"], row["seconds"], row.get("cpu_share", "–"))
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    page.write_text("\n".join(lines) + "\n")
