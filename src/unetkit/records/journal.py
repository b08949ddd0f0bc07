"""An append-only file of events, one JSON object per line; a line is whole or does not count."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unetkit.records.files import disk_error


@dataclass(frozen=True)
class Journal:
    """The file.

    Args:
        path: Where it lies; made with its first event.
    """

    path: Path

    def note(self, event: str, /, **facts: Any) -> None:  # noqa: ANN401 - JSON values
        """Append one event; a line is written whole or, after a crash, ignored.

        Args:
            event: What happened.
            facts: JSON values.

        Raises:
            ResourceError: The disk is full or the file cannot be written.
        """
        line = json.dumps({"event": event, **facts}, separators=(",", ":")) + "\n"
        if self._torn():
            line = "\n" + line
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(handle, line.encode())
            finally:
                os.close(handle)
        except OSError as wrong:
            raise disk_error(wrong, self.path) from wrong

    def _torn(self) -> bool:
        """Whether the last line was cut off by a kill or a full disk."""
        if not self.path.exists() or self.path.stat().st_size == 0:
            return False
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"

    def events(self, *names: str) -> Iterator[dict[str, Any]]:
        """Read the events, in order; a torn line (from a kill) is skipped.

        Args:
            names: Only these events; all when none is named.
        """
        if not self.path.exists():
            return
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(row, dict) and (not names or row.get("event") in names):
                yield row
