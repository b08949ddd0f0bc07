"""Scores as a table for a spreadsheet."""

from __future__ import annotations

import csv
import io

from unetkit.records.scores import Scores


def to_csv(scores: Scores) -> str:
    """One row per case and class, numbers with six digits, an empty cell where a metric is undefined.

    Args:
        scores: Measured cases.

    Returns:
        CSV with the columns ``case``, ``group``, ``class``, one per metric, ``missed``, ``spurious`` and
        ``absent`` (0 or 1), and ``unit``, what the row's distances are in.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "group", "class", *scores.metrics, "missed", "spurious", "absent", "unit"])
    for case in scores.cases:
        for name in scores.classes:
            values = [case.values[name].get(metric) for metric in scores.metrics]
            shown = ["" if value is None else f"{value:.6g}" for value in values]
            flags = [int(name in case.missed), int(name in case.spurious), int(case.absent)]
            writer.writerow([case.id, case.group, name, *shown, *flags, case.unit])
    return text.getvalue()
