"""RESULTS.md from the rows that are there."""

from __future__ import annotations

from pathlib import Path

from tables import Row, chance, made, mean, number, rows_of, save, table

PROMISES = {
    "unetpp": ("UNet++ (Zhou et al. 2018)", "+3.9 points of IoU over U-Net", "iou"),
    "attention": ("Attention U-Net (Oktay et al. 2018)", "+2.6 points of Dice over U-Net, CT-150", "dice"),
    "transformer": ("TransUNet (Chen et al. 2021)", "a mean Dice of 77.48 on Synapse", "dice"),
}
"""Network → paper, what it reports, and in which metric."""
GOAL = 8.7
"""Points over the vanilla U-Net that the best recipe is to gain."""


def compared(name: str, row: Row) -> list[str]:
    """The table of a comparison."""
    head = (
        *("network", "Dice", "HD95", "Dice against the first", "p", "parameters", "multiply-adds"),
        *("patch × batch", "steps", "patches/s trained", "tiles/s predicted", "memory of a step, GB"),
    )
    lines = []
    for one in row["networks"]:
        against = one["against_first"].get("dice", {})
        lines.append(
            (
                one["name"],
                mean(one["scores"]["dice"], scale=100),
                mean(one["scores"]["hd95"]),
                mean(against, scale=100, sign=True),
                chance(against.get("p_value")),
                f"{one['parameters'] / 1e6:.2f} M",
                f"{one['multiply_adds'] / 1e9:.2f} G",
                f"{'×'.join(map(str, one['patch']))} × {one['batch']}",
                f"{one['steps']:.0f}",
                number(one["patches_per_second"]),
                number(one["predicted_per_second"]),
                f"{one['memory_gb']:.2f}",
            )
        )
    seeds = ", ".join(map(str, row["seeds"]))
    first = row["networks"][0]["scores"]["dice"]["cases"]
    return [f"## {name}", "", f"{first} held-out cases, seeds {seeds}.", "", *table(head, lines), ""]


def ablated(name: str, row: Row) -> list[str]:
    """The table of an ablation, and which variant is best."""
    variants = row["variants"]
    asked = {key for one in variants for key in one["against"]}
    baselines = [one["name"] for one in variants if one["name"] in asked]
    head = ("variant", "cases", "Dice", "IoU", "HD95")
    head += tuple(column for baseline in baselines for column in (f"Dice over {baseline}", "p"))
    lines = []
    for one in variants:
        scores, against = one["scores"], [one["against"].get(baseline, {}) for baseline in baselines]
        shares = (mean(scores[metric], scale=100) for metric in ("dice", "iou"))
        gains = (
            cell
            for found in against
            for cell in (mean(found, scale=100, sign=True), chance(found.get("p_value")))
        )
        lines.append((one["name"], scores["dice"]["cases"], *shares, mean(scores["hd95"]), *gains))
    minutes = f"{row['minutes']:g} minutes each, seeds {', '.join(map(str, row['seeds']))}."
    return [f"## {name}", "", minutes, "", *table(head, lines), "", *best(variants, baselines[0]), ""]


def best(variants: list[Row], baseline: str) -> list[str]:
    """One line: the variant with the highest Dice and what it gains over the baseline."""
    known = [one for one in variants if one["scores"]["dice"]["mean"] is not None]
    if not known:
        return []
    first = max(known, key=lambda one: one["scores"]["dice"]["mean"])
    if first["name"] == baseline:
        return [f"Nothing is better than {baseline}."]
    gain = mean(first["against"].get(baseline), scale=100, sign=True)
    return [f"Best: {first['name']}, {gain} points of Dice over {baseline}."]


def promised(rows: dict[str, Row]) -> list[str]:
    """What papers report beside what was measured here, comparison by comparison."""
    comparisons = {name: row for name, row in rows.items() if "networks" in row}
    lines = []
    for network, (paper, promise, metric) in PROMISES.items():
        cells = []
        for row in comparisons.values():
            one = next((one for one in row["networks"] if one["name"] == network), None)
            cells.append("–" if one is None else _gained(one, metric))
        lines.append((paper, promise, {"iou": "IoU", "dice": "Dice"}[metric], *cells))
    return table(("paper", "reports", "here in", *comparisons), lines)


def _gained(one: Row, metric: str) -> str:
    """How far a network is above the first one, and where that is."""
    gain = mean(one["against_first"].get(metric), scale=100, sign=True)
    return f"{gain}, at {number(one['scores'][metric]['mean'], scale=100)}"


def write(folder: Path, page: Path) -> None:
    """Write the page."""
    rows = rows_of(folder)
    lines = [
        "# The family, measured",
        "",
        "Means over held-out cases (95 % bootstrap interval over groups), Dice and IoU in points; a case's",
        "value is the mean over classes and the seeds that held it out. HD95 in mm, in pixels for pictures.",
        "p: two-sided Wilcoxon signed-rank test over the same cases, not corrected for the number.",
        "Minutes: each network is fitted to one budget by the planner. Steps: the same steps, patch and",
        "batch for all. Recipes change one value of the plan; the vanilla U-Net is the planned network with",
        "Dice + cross-entropy and patches cut anywhere.",
        "",
        "## What papers report, and what was measured",
        "",
        "Papers: other data, GPUs, days. Here: the gain over the plain U-Net of the same row, and what it",
        "reached; a short budget on two processor cores may well order networks otherwise. The goal for the",
        f"best recipe on small objects is +{GOAL} points of Dice over the vanilla U-Net.",
        "",
        *promised(rows),
        "",
    ]
    for name, row in rows.items():
        if "networks" in row:
            lines += compared(name, row)
        elif "variants" in row:
            lines += ablated(name, row)
    save(page, [*lines, "## When and where", "", *made(rows)])
