"""What every saved record shares: frozen, closed, and able to say which key was meant."""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from unetkit.errors import UsageError, nearest


class Saved(BaseModel):
    """A record that is written to and read from JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=True, ser_json_inf_nan="strings")

    @classmethod
    def from_json(cls, text: str | bytes, *, where: str | Path) -> Self:
        """Read the record.

        Args:
            text: JSON.
            where: The file it came from, for the error.

        Raises:
            UsageError: A key is unknown (with the nearest right one) or a value is of the wrong kind.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as wrong:
            raise explain(cls, wrong, where) from None

    def to_json(self) -> str:
        """The record as indented JSON with a final newline."""
        return self.model_dump_json(indent=2) + "\n"


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
