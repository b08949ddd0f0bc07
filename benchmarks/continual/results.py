"""RESULTS.md from the rows that are there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PAGE = """\
# Going on learning, measured

Mean Dice over test cases, points (95 % bootstrap interval over groups). R[i,j]: after stage i on domain j.
Forgetting: how far the last stage is below the best one before it. Every stage has the same minutes; joint
training has those of all stages together. Test cases were never trained on, and no method saw them.
"""


GATE = ("worse_promoted", "margin_promoted", "better_promoted")
GATE += ("better_refused_for_its_interval", "better_refused_for_missed_objects")


def points(one: list[float | None] | None, *, sign: bool = False) -> str:
    """A value with its interval in points."""
    if one is None or one[0] is None:
        return "–"
    value, low, high = one
    ends = "" if low is None or high is None else f" ({100 * low:.1f}–{100 * high:.1f})"
    return f"{100 * value:{'+' if sign else ''}.1f}{ends}"


def sequence_table(name: str, rows: list[dict[str, Any]], of: str = "mean") -> list[str]:
    """The last row of every matrix and its sums."""
    domains = rows[0]["domains"]
    lines = [
        f"### {name}, {of}",
        "",
        f"| method | seed | {' | '.join(f'at last on {domain}' for domain in domains)} "
        "| ACC | BWT | FWT | forgetting |",
        f"|---|---|{'---|' * len(domains)}---|---|---|---|",
    ]
    for row in rows:
        one = row["classes"].get(of)
        if one is None:
            continue
        cells = [row["method"], str(row["seed"]), *(points(cell) for cell in one["matrix"][-1])]
        cells += [points(one["acc"]), points(one["bwt"], sign=True), points(one["fwt"], sign=True)]
        lines.append(f"| {' | '.join([*cells, points(one['forgetting'], sign=True)])} |")
    return [*lines, ""]


def matrices(rows: list[dict[str, Any]]) -> list[str]:
    """Every matrix of the mean over classes, in full."""
    lines = ["<details><summary>Every matrix</summary>", ""]
    for row in rows:
        lines += [f"{row['method']}, seed {row['seed']}", "", f"| after | {' | '.join(row['domains'])} |"]
        lines.append(f"|---|{'---|' * len(row['domains'])}")
        matrix = row["classes"]["mean"]["matrix"]
        names = row["domains"] if len(matrix) > 1 else ["all"]
        for stage, values in zip(names, matrix, strict=True):
            lines.append(f"| {stage} | {' | '.join(points(cell) for cell in values)} |")
        lines.append("")
    return [*lines, "</details>", ""]


def drift_lines(rows: dict[str, dict[str, Any]]) -> list[str]:
    """False alarms, and images that a shift takes."""
    lines = ["## Drift", ""]
    for row in rows.values():
        shifts = ", ".join(
            f"{name}: {'not found' if one['images'] is None else one['images']} (d {one['effect']:g})"
            for name, one in row["shifts"].items()
        )
        lines.append(
            f"- {row['set']}: {row['false_alarms']} false alarms in {row['batches']} clean batches of "
            f"{row['batch']} ({row['reference']} reference images, {row['statistics']} statistics); images "
            f"until it is found, and the largest shift of a statistic in standard deviations: {shifts}"
        )
    return [*lines, ""]


def gate_lines(row: dict[str, Any]) -> list[str]:
    """How often a worse and a better model pass."""
    lower = ", ".join(
        f"{100 * mean:.1f} (spread over cases {100 * spread:.1f})"
        for mean, spread in zip(row["worse_by"], row["spread"], strict=True)
    )
    lines = [
        "## Gate",
        "",
        f"Five worse models, points lower: {lower}. Golden sets are drawn from {row['population']} images of "
        f"as many groups; margin {100 * row['margin']:g} points. Promoted, of so many tries:",
        "",
        "| golden cases | tries | the worse model | one worse by the margin | the better model | refused: "
        "interval | refused: missed |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in row["gate"]:
        cells = (one[name] for name in ("golden_cases", "tries", *GATE))
        lines.append(f"| {' | '.join(map(str, cells))} |")
    asked = row["as_many_as_needed"]
    low, middle, high = asked["needed"]
    return [
        *lines,
        "",
        f"{asked['undecided']} of {asked['tries']} sets of {asked['pilot']} cases asked for more "
        f"({middle}; 10 to 90 %: {low} to {high}). On other sets of as many, the better model was promoted "
        f"{asked['better_promoted']} times.",
        "",
    ]


def soak_lines(row: dict[str, Any]) -> list[str]:
    """What survived."""
    kills = ", ".join(f"{count} of {verb}" for verb, count in row["kills"].items())
    broken = "; ".join(row["broken"]) or "nothing"
    return ["## kill -9", "", f"Kills: {kills}. Broken: {broken}. Updates that ended as if never killed: "
            f"{row['updates_finished']}.", ""]  # fmt: skip


def write(folder: Path, page: Path) -> None:
    """Write the page."""
    rows = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    lines = [PAGE]
    sequences: dict[str, list[dict[str, Any]]] = {}
    for row in rows.values():
        if "sequence" in row:
            sequences.setdefault(row["sequence"], []).append(row)
    if sequences:
        lines += ["## Sequences", ""]
    for name, found in sequences.items():
        found.sort(key=lambda row: (row["method"], row["seed"]))
        for of in dict.fromkeys(["mean", *found[0]["classes"]]):
            lines += sequence_table(name, found, of)
        lines += matrices(found)
    if drift := {name: row for name, row in rows.items() if "false_alarms" in row}:
        lines += drift_lines(drift)
    lines += gate_lines(rows["gate"]) if "gate" in rows else []
    lines += soak_lines(rows["soak"]) if "soak" in rows else []
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
