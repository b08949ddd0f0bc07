"""What of a batch of images is done, so that a batch that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unetkit.data.formats import files_of
from unetkit.errors import DataError
from unetkit.records.files import disk_error, sha256
from unetkit.records.journal import Journal
from unetkit.records.plan import Plan
from unetkit.records.sealed import SEAL

JOURNAL = ".unet-predict.jsonl"
_DONE = "predicted"

Facts = list[list[str | int]]
"""Name, bytes and time of change of each file."""


def work_of(place: Path, plan: Plan, settings: Mapping[str, object], *, device: str) -> str:
    """A digest of everything but the images that labels follow from.

    Args:
        place: The model folder.
        plan: Its plan, with what was changed by hand.
        settings: What else was asked for, such as mirrored images or maps beside the labels.
        device: As it was asked for.
    """
    seal = place / SEAL
    model = sha256(seal) if seal.is_file() else str(place)
    asked = sorted(key for key, value in settings.items() if value is True)
    parts = [model, plan.to_json(), asked, device]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class Batch:
    """The images of an output folder that are done.

    An image counts as done while its files and its label file are, by name, size and time, those of then. The
    label file had its name only when everything was in it, so one that is there is whole.

    Args:
        out: The output folder; a hidden journal lies in it.
        work: What ``work_of`` says.
    """

    def __init__(self, out: Path, work: str) -> None:
        self._journal, self._work = Journal(out / JOURNAL), work
        self._done: dict[str, dict[str, Any]] | None = None

    def forget(self) -> None:
        """Begin anew.

        Raises:
            ResourceError: The journal cannot be removed.
        """
        try:
            self._journal.path.unlink(missing_ok=True)
        except OSError as wrong:
            raise disk_error(wrong, self._journal.path) from wrong
        self._done = {}

    def find(self, sources: Sequence[Path], target: Path) -> dict[str, Any] | None:
        """What was noted of an image; None where it is not done, or something changed since.

        Args:
            sources: Its files.
            target: Its label file.
        """
        if self._done is None:
            events = self._journal.events(_DONE)
            self._done = {str(row.get("target")): row for row in events if row.get("work") == self._work}
        row = self._done.get(target.name)
        if row is None or row.get("facts") != _facts([*sources, target]):
            return None
        found = row.get("row")
        return found if isinstance(found, dict) else None

    def note(self, sources: Sequence[Path], target: Path, row: dict[str, Any]) -> None:
        """An image is done.

        Args:
            sources: Its files.
            target: Its label file.
            row: JSON values to be found again.

        Raises:
            ResourceError: The disk is full.
        """
        facts = _facts([*sources, target])
        self._journal.note(_DONE, work=self._work, target=target.name, facts=facts, row=row)


def _facts(paths: Sequence[Path]) -> Facts | None:
    try:
        files = [file for path in paths for file in files_of(path)]
        stats = [(file, file.stat()) for file in files]
    except (OSError, DataError):
        return None
    return [[file.name, each.st_size, each.st_mtime_ns] for file, each in stats]
