"""A run is a folder: its plan, an append-only journal, resume points, and at the end a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unetkit.records.journal import Journal


@dataclass(frozen=True)
class Run:
    """The folder of one training.

    Layout: ``plan.json``, ``fingerprint.json``, ``split.json`` (case ids of train and held-out),
    ``start.json`` (what the weights started from, where not from chance),
    ``teachers.json`` (whose answers are a second target),
    ``previous.json`` (the first stage, of the second stage of a cascade),
    ``memory/``, ``importance.safetensors`` and ``update.json`` (of an update),
    ``journal.jsonl``, ``checkpoints/{last,best}.json`` (each names its ``.safetensors``),
    ``model/`` (the model folder), ``report.html``, ``manifest.json``. Where several runs were put together
    there is no ``plan.json`` but ``cross_validation.json``, and ``model/`` is an ensemble.

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
    def previous(self) -> Path:
        """``previous.json``."""
        return self.folder / "previous.json"

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
    def cross_validation(self) -> Path:
        """``cross_validation.json``: what was put together here, where that is no single training."""
        return self.folder / "cross_validation.json"

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
        Journal(self.journal).note(event, **facts)

    def events(self, *names: str) -> Iterator[dict[str, Any]]:
        """Read the journal, in order; a torn line (from a kill) is skipped.

        Args:
            names: Only these events; all when none is named.
        """
        return Journal(self.journal).events(*names)
