"""Everything that can go wrong, as one tree of exceptions: expected, got, do this.

Every error carries the exit code that the command line answers with, so that a script can tell a
refused data set (3) from a full disk (5) without reading text.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class UnetkitError(Exception):
    """A problem a person can act on.

    Args:
        problem: What was expected and what was found, in one sentence without a final full stop.
        cure: What to do about it, in one sentence without a final full stop.
        where: The file, folder or case the problem was found in.

    Example:
        >>> str(UnetkitError("expected 2 classes, got 3", cure="relabel it", where="a.png"))
        'a.png: expected 2 classes, got 3. Do this: relabel it.'
    """

    exit_code = 1

    def __init__(self, problem: str, *, cure: str, where: str | Path | None = None) -> None:
        self.problem = problem
        self.cure = cure
        self.where = None if where is None else str(where)
        super().__init__(problem)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.problem}. Do this: {self.cure}."


class UsageError(UnetkitError):
    """The words of a command, a key or a value are wrong (exit code 2)."""

    exit_code = 2


class MissingPackageError(UsageError):
    """An optional package is needed and not installed (exit code 2)."""


class DataError(UnetkitError):
    """A file or a data set is refused (exit code 3)."""

    exit_code = 3


class GateError(UnetkitError):
    """A quality gate is not met; nothing was published (exit code 4)."""

    exit_code = 4


class ResourceError(UnetkitError):
    """Disk, memory or a device does not suffice (exit code 5)."""

    exit_code = 5


class PreemptedError(UnetkitError):
    """The run was asked to stop, saved its state and can be resumed (exit code 75)."""

    exit_code = 75


class InterruptedRunError(PreemptedError):
    """Ctrl-C: the run saved its state and can be resumed (exit code 130)."""

    exit_code = 130


def nearest(name: str, options: Iterable[str]) -> str:
    """Say which of ``options`` comes nearest to ``name``, worded as a cure.

    Args:
        name: What somebody wrote.
        options: What is allowed.

    Returns:
        A cure such as ``use 'dice' (known: dice, focal)``.

    Example:
        >>> nearest("dise", ["dice", "focal"])
        "use 'dice' (known: dice, focal)"
    """
    known = sorted(options)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f"use '{close[0]}' (known: {', '.join(known)})" if close else f"use one of: {', '.join(known)}"
