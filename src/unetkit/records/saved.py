"""What every saved record shares: frozen, closed, versioned, and able to say which key was meant."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import pydantic_core
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from unetkit.errors import UsageError, nearest

Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
"""The JSON tree of one version of a record → that of the next version."""

_WHOLE = TypeAdapter(int)


class Saved(BaseModel):
    """A record that is written to and read from JSON.

    A record with a ``version`` field refuses files of a newer version, and reads those of an older one
    through its ``upgrades``. A file that states no version is taken as written for this one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=True, ser_json_inf_nan="strings")

    upgrades: ClassVar[Mapping[int, Upgrade]] = {}
    """Old version → what turns its tree into the next version's; the number itself is set for it."""

    @classmethod
    def from_json(cls, text: str | bytes, *, where: str | Path) -> Self:
        """Read the record.

        Args:
            text: JSON.
            where: The file it came from, for the error.

        Raises:
            UsageError: A key is unknown (with the nearest right one), a value is of the wrong kind, or the
                file is of a version that this class cannot read.
        """
        try:
            return cls.model_validate_json(_upgraded(cls, text, where))
        except ValidationError as wrong:
            raise explain(cls, wrong, where) from None

    def to_json(self) -> str:
        """The record as indented JSON with a final newline."""
        return self.model_dump_json(indent=2) + "\n"


def _upgraded(model: type[Saved], text: str | bytes, where: str | Path) -> str | bytes:
    """The JSON of ``model``'s own version; what is no JSON object goes on to the validation as it is."""
    if "version" not in model.model_fields:
        return text
    try:
        tree = pydantic_core.from_json(text)
        version = _WHOLE.validate_python(tree["version"])
    except (ValueError, TypeError, LookupError):  # the validation words these better
        return text
    known = model.model_fields["version"].default
    if version == known:
        return text
    if version > known:
        raise UsageError(
            f"written by a newer unetkit (version {version}, this one knows {known})",
            cure="update unetkit, or use a file that this one wrote",
            where=where,
        )
    for old in range(version, known):
        if old not in model.upgrades:
            raise UsageError(
                f"written by an older unetkit (version {old}, this one knows {known} and cannot upgrade it)",
                cure="make the file anew with this unetkit",
                where=where,
            )
        tree = {**model.upgrades[old](tree), "version": old + 1}
    return pydantic_core.to_json(tree, inf_nan_mode="strings")


def explain(model: type[BaseModel], wrong: ValidationError, where: str | Path | None) -> UsageError:
    """Turn pydantic's answer into ours: the dotted key, what was expected, the nearest right key."""
    first = wrong.errors(include_url=False)[0]
    path = tuple(str(part) for part in first["loc"])
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        parent = _inner(model, path[:-1])
        options = parent.model_fields if parent else {}
        return UsageError(f"unknown key '{key}'", cure=nearest(path[-1], options), where=where)
    if first["type"] == "missing":
        return UsageError(f"the key '{key}' is missing", cure=f"add '{key}'", where=where)
    if not key:
        return UsageError(f"not a valid record ({first['msg']})", cure="write the file anew", where=where)
    got = repr(first.get("input"))
    return UsageError(f"'{key}': {first['msg']}, got {got[:80]}", cure=f"correct '{key}'", where=where)


def _inner(model: type[BaseModel], path: tuple[str, ...]) -> type[BaseModel] | None:
    """The model class that a path of keys (and list positions) leads to, None when it leads nowhere."""
    here: Any = model
    for part in path:
        if part.isdigit():
            continue
        if not (isinstance(here, type) and issubclass(here, BaseModel) and part in here.model_fields):
            return None
        here = _record_in(here.model_fields[part].annotation)
    return here if isinstance(here, type) and issubclass(here, BaseModel) else None


def _record_in(annotation: Any) -> Any:  # noqa: ANN401 - a type annotation can be anything
    """The record class inside ``tuple[X, ...]`` or ``X | None``; the annotation itself otherwise."""
    if typing.get_origin(annotation) in (tuple, list, dict, types.UnionType, typing.Union):
        for inner in typing.get_args(annotation):
            found = _record_in(inner)
            if isinstance(found, type) and issubclass(found, BaseModel):
                return found
    return annotation
