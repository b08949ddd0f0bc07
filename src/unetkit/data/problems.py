"""What is wrong, or worth saying, about a data set: collected, so that one look shows all of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unetkit.errors import DataError, UnetkitError

Severity = Literal["refused", "warning", "note"]


@dataclass(frozen=True)
class Problem:
    """One finding.

    Args:
        severity: ``refused``: nothing is trained on this; ``warning``: it is, but look; ``note``: a decision.
        code: Short name for machines, such as ``missing-mask``.
        where: The file, folder or case.
        problem: What was expected and what was found.
        cure: What to do about it; empty for a note.
    """

    severity: Severity
    code: str
    where: str
    problem: str
    cure: str = ""


def refused(code: str, where: Path | str, problem: str, cure: str) -> Problem:
    """A finding that stops the work."""
    return Problem("refused", code, str(where), problem, cure)


def warning(code: str, where: Path | str, problem: str, cure: str) -> Problem:
    """A finding to look at."""
    return Problem("warning", code, str(where), problem, cure)


def note(code: str, where: Path | str, problem: str) -> Problem:
    """A decision that was taken."""
    return Problem("note", code, str(where), problem)


def from_error(code: str, error: UnetkitError, where: Path | str) -> Problem:
    """A refusal that says what an error said."""
    return refused(code, error.where or where, error.problem, error.cure)


def raise_refusals(problems: Iterable[Problem], *, shown: int = 3) -> None:
    """Raise the refusals among ``problems`` as one error.

    Args:
        problems: Findings of any severity.
        shown: How many are worded in full.

    Raises:
        DataError: At least one finding is a refusal.

    Example:
        >>> raise_refusals([note("layout", "data", "found images/ + masks/")])
    """
    stops = [problem for problem in problems if problem.severity == "refused"]
    if not stops:
        return
    first, *others = stops
    text = first.problem
    if others:
        words = "; ".join(f"{other.where}: {other.problem}" for other in others[: shown - 1])
        more = len(others) - (shown - 1)
        text += f" — and {len(others)} more: {words}" + (f"; … {more} not shown" if more > 0 else "")
    raise DataError(text, cure=first.cure, where=first.where)
