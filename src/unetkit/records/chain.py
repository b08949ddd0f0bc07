"""A log in which every line carries the hash of the one before, so that no line can be changed unseen."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from unetkit.errors import DataError
from unetkit.records.files import write_bytes
from unetkit.records.saved import Saved

START = "0" * 64
"""What the first line carries."""


class Link(Saved):
    """One line.

    Args:
        number: Counted from 1.
        time: UTC, ISO 8601.
        event: What happened.
        facts: JSON values.
        before: Hash of the line before; zeros in the first.
        hash: SHA-256 of all the others.
    """

    number: int
    time: str
    event: str
    facts: dict[str, Any] = Field(default_factory=dict)
    before: str
    hash: str

    @property
    def expected(self) -> str:
        """The hash this line should have."""
        return _hash(self.model_dump(mode="json", exclude={"hash"}))


def read_chain(path: Path) -> tuple[Link, ...]:
    """Read a log and follow its hashes.

    Whoever can write the file can also write all of it anew, hashes included, or cut its end off. Against
    that, keep the last hash elsewhere, and ask for it.

    Args:
        path: The file; nothing when it does not exist.

    Raises:
        DataError: A line was changed, taken out, put in or moved.
    """
    if not path.is_file():
        return ()
    links: list[Link] = []
    before = START
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            link = Link.model_validate_json(line)
        except ValidationError:
            raise _broken(f"line {number} cannot be read", path) from None
        if link.hash != link.expected:
            raise _broken(f"line {number} ('{link.event}') was changed after it was written", path)
        if link.before != before or link.number != number:
            raise _broken(f"line {number} ('{link.event}') does not follow the one before it", path)
        links.append(link)
        before = link.hash
    return tuple(links)


def append_link(path: Path, event: str, facts: Mapping[str, Any]) -> Link:
    """Add a line; a reader, or a process that is killed, leaves or finds the old file or the new one.

    Args:
        path: The file; made when it does not exist.
        event: What happened.
        facts: JSON values.

    Raises:
        DataError: The log was tampered with; nothing is added to it.
        ResourceError: The disk is full or may not be written; the log is as it was.
    """
    links = read_chain(path)
    record = {
        "number": len(links) + 1,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "event": event,
        "facts": dict(facts),
        "before": links[-1].hash if links else START,
    }
    record = json.loads(json.dumps(record))
    link = Link(**record, hash=_hash(record))
    old = path.read_bytes() if path.is_file() else b""
    if old and not old.endswith(b"\n"):
        old += b"\n"
    write_bytes(path, old + json.dumps(link.model_dump(mode="json")).encode() + b"\n")
    return link


def _hash(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _broken(problem: str, path: Path) -> DataError:
    return DataError(
        f"this log was tampered with: {problem}",
        cure="restore the folder from a backup, and find out who changed it",
        where=path,
    )
