"""From a name in a plan to the part it names: late, from a fixed table, never from a code path in a file."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from unetkit.errors import MissingPackageError, UsageError, nearest


def names(family: str, table: Mapping[str, str]) -> tuple[str, ...]:
    """List every name of a family: the rows of its table and those that other packages add.

    Args:
        family: The family, such as ``"encoder"``.
        table: Name to ``"module:attribute"``.

    Returns:
        The names, sorted.
    """
    return tuple(sorted({*table, *(point.name for point in entry_points(group=f"unetkit.{family}"))}))


def pick(family: str, table: Mapping[str, str], name: str) -> Any:  # noqa: ANN401 - a table row can be any part
    """Import the part that ``name`` stands for.

    A package outside this one adds a row with an entry point in the group ``unetkit.<family>``.
    A row of the package's own table can never be replaced from outside.

    Args:
        family: The family, such as ``"encoder"``.
        table: Name to ``"module:attribute"``.
        name: The name a plan or a person wrote.

    Returns:
        The attribute: a class or a function.

    Raises:
        UsageError: The name is not in the family.
        MissingPackageError: The part needs a package that is not installed.

    Example:
        >>> pick("error", {"data": "unetkit.errors:DataError"}, "data").__name__
        'DataError'
    """
    if name in table:
        module, _, attribute = table[name].partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as missing:
            if missing.name is None or missing.name.split(".")[0] == "unetkit":
                raise
            raise MissingPackageError(
                f"{family} '{name}' needs the package '{missing.name}', which is not installed",
                cure=f"pip install {missing.name}",
            ) from missing
    for point in entry_points(group=f"unetkit.{family}"):
        if point.name == name:
            return _strangers(family, point)
    raise UsageError(f"there is no {family} '{name}'", cure=nearest(name, names(family, table)))


def _strangers(family: str, point: EntryPoint) -> Any:  # noqa: ANN401 - as in ``pick``
    """The part behind another package's row."""
    owner = point.dist.name if point.dist else point.module
    try:
        return point.load()
    except ModuleNotFoundError as missing:
        raise MissingPackageError(
            f"{family} '{point.name}' of '{owner}' needs '{missing.name}', which is not installed",
            cure=f"pip install {missing.name}",
        ) from missing
    except AttributeError as wrong:
        raise UsageError(
            f"the package '{owner}' offers the {family} '{point.name}' as {point.value}, which is not there",
            cure=f"install another version of '{owner}', or name another {family}",
        ) from wrong
