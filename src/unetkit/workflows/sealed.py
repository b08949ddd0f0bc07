"""Records in a model folder that are true of one model: written with its hash, refused beside any other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from unetkit.errors import DataError, UsageError
from unetkit.records.files import sha256
from unetkit.records.registered import NOTE
from unetkit.records.sealed import SEAL, Sealed

R = TypeVar("R", bound=Sealed)


@dataclass(frozen=True)
class Wording:
    """How a record is spoken of.

    Args:
        name: Such as ``reference``.
        missing: What to say where there is none.
        first: What to do then.
        again: What to do where it is damaged.
        other: What to do where it is another model's.
        elsewhere: What to do where the folder never changes.
    """

    name: str
    missing: str
    first: str
    again: str
    other: str
    elsewhere: str


def seal_of(folder: Path) -> str:
    """The hash that stands for the model of a folder.

    Args:
        folder: The model folder.
    """
    return sha256(folder / SEAL)


def read_sealed(kind: type[R], path: Path, words: Wording, *, whole: Callable[[R], bool]) -> R:
    """Read a record of a model folder.

    Args:
        kind: Its class.
        path: The file; the model is that of its folder.
        words: How it is spoken of.
        whole: Whether its parts fit one another.

    Raises:
        UsageError: There is none.
        DataError: It is damaged, or that of another model.
    """
    if not path.is_file():
        raise UsageError(words.missing, cure=words.first, where=path.parent)
    try:
        record = kind.from_json(path.read_bytes(), where=path)
    except UsageError as wrong:
        raise DataError(wrong.problem, cure=words.again, where=path) from wrong
    if not whole(record):
        raise DataError(f"this {words.name} is not whole", cure=words.again, where=path)
    if record.model_sha256 != seal_of(path.parent):
        raise DataError(
            f"this {words.name} is that of another model (SHA-256 differs)", cure=words.other, where=path
        )
    return record


def refuse_registered(folder: Path, words: Wording) -> None:
    """Refuse to write such a record into a folder that never changes.

    Args:
        folder: The model folder.
        words: How what would be written is spoken of.

    Raises:
        UsageError: It is a version of a registry.
    """
    if (folder / NOTE).is_file():
        raise UsageError(
            f"a version of a registry never changes, and its {words.name} is a part of it",
            cure=words.elsewhere,
            where=folder,
        )
