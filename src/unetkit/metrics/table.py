"""Scores as rows, for a csv file or a table on a page."""

from __future__ import annotations

from unetkit.records.scores import CaseScores, Scores


def rows(scores: Scores) -> list[dict[str, str | float | None]]:
    """List case × class × metric.

    Args:
        scores: Measured cases.

    Returns:
        Dictionaries with ``case``, ``group``, ``class``, ``metric``, ``value`` (None where undefined) and
        ``state``: ``found``, ``missed``, ``spurious``, ``undefined`` or ``absent``.
    """
    return [
        {
            "case": case.id,
            "group": case.group,
            "class": name,
            "metric": metric,
            "value": case.values[name][metric],
            "state": _state(case, name, case.values[name][metric]),
        }
        for case in scores.cases
        for name in scores.classes
        for metric in scores.metrics
    ]


def _state(case: CaseScores, name: str, value: float | None) -> str:
    if case.absent:
        return "absent"
    if name in case.missed:
        return "missed"
    if name in case.spurious:
        return "spurious"
    return "undefined" if value is None else "found"
