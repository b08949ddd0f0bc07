"""A run is a folder: its plan, an append-only journal, resume points, and at the end a model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unetkit.records.files import disk_error


@dataclass(frozen=True)
class Run:
    """The folder of one training.

    Layout: ``plan.json``, ``fingerprint.json``, ``split.json`` (case ids of train and held-out),
    ``start.json`` (what the weights started from, where not from chance),
    ``teachers.json`` (whose answers are a second target),
    ``memory/``, ``importance.safetensors`` and ``update.json`` (of an update),
    ``journal.jsonl``, ``checkpoints/{last,best}.json`` (each names its ``.safetensors``),
    ``model/`` (the model folder), ``report.html``, ``manifest.json``.

    Args:
        folder: Where it lies.
    """

    folder: Path

    @property
    def plan(self) -> Path:
        """``plan.json``."""
        return self.folder / "plan.json"

    @property
    def fingerprint(self) -> Path:
        """``fingerprint.json``."""
        return self.folder / "fingerprint.json"

    @property
    def split(self) -> Path:
        """``split.json``."""
        return self.folder / "split.json"

    @property
    def start(self) -> Path:
        """``start.json``."""
        return self.folder / "start.json"

    @property
    def teachers(self) -> Path:
        """``teachers.json``."""
        return self.folder / "teachers.json"

    @property
    def memory(self) -> Path:
        """Folder of the examples that an update kept (``learning.exemplars``)."""
        return self.folder / "memory"

    @property
    def importance(self) -> Path:
        """``importance.safetensors``: how much the weights it started from mattered."""
        return self.folder / "importance.safetensors"

    @property
    def update(self) -> Path:
        """``update.json``: what an update kept and gained."""
        return self.folder / "update.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of the resume points."""
        return self.folder / "checkpoints"

    @property
    def model(self) -> Path:
        """The model folder."""
        return self.folder / "model"

    @property
    def report(self) -> Path:
        """``report.html``."""
        return self.folder / "report.html"

    @property
    def manifest(self) -> Path:
        """``manifest.json``."""
        return self.folder / "manifest.json"

    @property
    def journal(self) -> Path:
        """``journal.jsonl``."""
        return self.folder / "journal.jsonl"

    def note(self, event: str, /, **facts: Any) -> None:  # noqa: ANN401 - JSON values
        """Append one event to the journal; a line is written whole or, after a crash, ignored.

        Args:
            event: What happened: ``step``, ``validation``, ``checkpoint``, ``resumed``, ``finished`` …
            facts: JSON values.
        """
        line = json.dumps({"event": event, **facts}, separators=(",", ":")) + "\n"
        if self._torn():
            line = "\n" + line
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(handle, line.encode())
            finally:
                os.close(handle)
        except OSError as wrong:
            raise disk_error(wrong, self.journal) from wrong

    def _torn(self) -> bool:
        """Whether the journal's last line was cut off by a kill or a full disk."""
        if not self.journal.exists() or self.journal.stat().st_size == 0:
            return False
        with self.journal.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"

    def events(self, *names: str) -> Iterator[dict[str, Any]]:
        """Read the journal, in order; a torn line (from a kill) is skipped.

        Args:
            names: Only these events; all when none is named.
        """
        if not self.journal.exists():
            return
        for line in self.journal.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(row, dict) and (not names or row.get("event") in names):
                yield row
