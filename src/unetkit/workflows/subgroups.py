"""Scores by site, scanner, sex …: whatever column the ``index.csv`` of a data set has."""

from __future__ import annotations

import csv
from pathlib import Path

from unetkit.data.formats import stem_of
from unetkit.data.tables import read_rows, read_text
from unetkit.errors import DataError, UsageError
from unetkit.metrics.score import summarise
from unetkit.records.saved import Saved
from unetkit.records.scores import Scores, Summary

UNSTATED = "(not stated)"
_SAVE = "save it as comma-separated text (UTF-8) with a header line"


class Subgroup(Saved):
    """The cases that have one value in a column.

    Args:
        column: The column.
        value: The value; ``(not stated)`` for cases that the file leaves out or leaves empty.
        cases: How many.
        summary: As in ``Scores``.
    """

    column: str
    value: str
    cases: int
    summary: dict[str, dict[str, Summary]]


def subgroups(scores: Scores, source: str | Path, column: str) -> tuple[Subgroup, ...]:
    """Summarise scores apart for each value of a column.

    Intervals resample the groups of the subgroup; a subgroup of one patient has none.

    Args:
        scores: What was measured.
        source: The data set, the folder of its labels, or the CSV itself.
        column: A column of the CSV, whatever its name.

    Returns:
        One entry per value, sorted, unstated ones last.

    Raises:
        UsageError: There is no CSV.
        DataError: It has no such column, or names none of the cases.
    """
    path, values = _values(Path(source), column)
    members: dict[str, list] = {}
    for case in scores.cases:
        members.setdefault(values.get(case.id) or UNSTATED, []).append(case)
    if not any(case.id in values for case in scores.cases):
        raise DataError(
            f"none of the {len(scores.cases)} cases is named here, such as '{scores.cases[0].id}'",
            cure="write the names of the label files, without suffix, in a column 'id'",
            where=path,
        )
    return tuple(
        Subgroup(
            column=column,
            value=value,
            cases=len(members[value]),
            summary=summarise(
                members[value],
                classes=scores.classes,
                metrics=scores.metrics,
                tolerance_mm=scores.tolerance_mm,
                split=scores.split,
            ).summary,
        )
        for value in sorted(members, key=lambda value: (value == UNSTATED, value))
    )


def refuse_column(source: str | Path, column: str) -> None:
    """Refuse a column that is not there, before any time is spent.

    Args:
        source: See ``subgroups``.
        column: See ``subgroups``.

    Raises:
        UsageError: There is no CSV.
        DataError: It has no such column.
    """
    _values(Path(source), column)


def _values(source: Path, column: str) -> tuple[Path, dict[str, str]]:
    """The CSV, and the column's value by case."""
    path, name = _index(source), column.strip().lower()
    header = [word.strip() for word in next(csv.reader(read_text(path, "CSV", _SAVE).splitlines()), [])]
    if name not in map(str.lower, header):
        raise DataError(
            f"this CSV has no column '{column}'",
            cure=f"name one of its columns: {', '.join(header)[:200]}",
            where=path,
        )
    values: dict[str, str] = {}
    for row in read_rows(path, needed=(name,), kept=("id", "image", "label", name)):
        named = row.values.get("id") or row.values.get("image") or row.values.get("label")
        if named:
            first = named.split(";")[0].strip()  # of an image with a file per channel
            values[row.values.get("id") or stem_of(Path(first))] = row.values.get(name, "")
    return path, values


def _index(source: Path) -> Path:
    places = (
        [source] if source.suffix.lower() == ".csv" else [source / "index.csv", source.parent / "index.csv"]
    )
    for place in places:
        if place.is_file():
            return place
    raise UsageError(
        "there is no index.csv in this folder or beside it",
        cure="write one with a line per case and the columns id and the one you name",
        where=source,
    )
