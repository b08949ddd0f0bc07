"""Scores as tables on stdout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from unetkit.cli.console import give_line, give_table
from unetkit.records.figures import counted, p_value, score, with_interval

if TYPE_CHECKING:
    from unetkit.records.scores import Scores, Summary
    from unetkit.workflows.comparison import Against
    from unetkit.workflows.subgroups import Subgroup

MEAN = "mean"


def show_scores(scores: Scores) -> None:
    """Means with intervals per class and metric, objects by size, and Dice case by case.

    Args:
        scores: What was measured.
    """
    rows = []
    for name, row in scores.summary.items():
        if name == MEAN and len(scores.classes) == 1:
            continue  # of a single class it says nothing more
        for metric, one in row.items():
            rows.append((name, scores.heading(metric), _mean(one, metric), one.n, one.missed, one.undefined))
    head = ("class", "metric", "mean [95 % interval]", "n", "missed", "undefined")
    give_table(f"{counted(len(scores.cases), 'case')}, split: {scores.split}", head, rows)
    for why, metrics in scores.explained.items():
        give_line(f"{', '.join(metrics)}: measured because of {why}")
    _show_objects(scores)
    _show_calibration(scores)
    _show_readers(scores)
    cases = []
    for case in scores.cases:
        values = (score(case.values[name].get("dice")) for name in scores.classes)
        remark = "no prediction" if case.absent else ", ".join(f"missed {name}" for name in case.missed)
        cases.append((case.id, *values, remark))
    give_table("Dice per case", ("case", *scores.classes, "remarks"), cases)
    give_line(scores.convention)


def show_subgroups(scores: Scores, parts: Sequence[Subgroup]) -> None:
    """One row per value of a column and class, one column per metric.

    Args:
        scores: What was measured, for the headings.
        parts: The subgroups.
    """
    if not parts:
        return
    rows = [
        (part.value, part.cases, name, *(_mean(row[metric], metric) for metric in scores.metrics))
        for part in parts
        for name, row in part.summary.items()
        if len(scores.classes) > 1 or name != MEAN
    ]
    head = (parts[0].column, "cases", "class", *map(scores.heading, scores.metrics))
    give_table(f"By {parts[0].column}: mean [95 % interval]", head, rows)


def show_against(scores: Scores, other: str, table: Mapping[str, Mapping[str, Against]]) -> None:
    """Differences case by case, with their interval and p value.

    Args:
        scores: What was measured, for the headings.
        other: What it was compared with.
        table: Class → metric → difference.
    """
    if not table:
        return
    rows = []
    for name, row in table.items():
        for metric, one in row.items():
            apart = with_interval(one.mean, one.low, one.high, metric=metric, apart=True)
            rows.append((name, scores.heading(metric), apart, p_value(one.p_value), one.cases))
    head = ("class", "metric", "difference [95 % interval]", "p (Wilcoxon)", "cases")
    give_table(f"The first minus {other}, case by case", head, rows)


def _show_objects(scores: Scores) -> None:
    rows = []
    for name, sizes in scores.objects.items():
        for one in sizes:
            counts = f"{one.found} of {one.reference}", f"{one.right} of {one.prediction}"
            shares = map(score, (one.recall, one.precision, one.f1))
            rows.append((name, one.sizes, *counts, *shares))
    if rows:
        rank = "mm³, of pictures mm²" if scores.unit == "mm" else "pixels"
        head = ("class", f"size ({rank})", "found", "right", "recall", "precision", "F1")
        give_table("Objects, all cases together", head, rows)
    curves = [(name, *(score(found) for _, found in curve)) for name, curve in scores.froc.items() if curve]
    if curves:
        rates = [f"{rate:g}" for rate, _ in next(curve for curve in scores.froc.values() if curve)]
        give_table("Objects found at so many false alarms per image", ("class", *rates), curves)


def _show_calibration(scores: Scores) -> None:
    from unetkit.metrics.calibration import calibration_error

    kinds = ("all pixels", scores.calibration), ("pixels it calls an object", scores.calibration_objects)
    gaps = [(name, gap) for name, rows in kinds if (gap := calibration_error(rows)) is not None]
    if gaps:
        listed = ", ".join(f"{score(gap)} over {name}" for name, gap in gaps)
        give_line(f"expected calibration error (ECE): {listed}")


def _show_readers(scores: Scores) -> None:
    found = scores.readers
    if found is not None:
        give_line(
            f"readers ({counted(found.cases, 'case')}), Dice: {score(found.among)} one against another, "
            f"{score(found.model)} the model against each, {score(found.consensus)} against their consensus"
        )


def _mean(one: Summary, metric: str) -> str:
    return with_interval(one.mean, one.low, one.high, metric=metric)
