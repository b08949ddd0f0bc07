"""How a long piece of work tells whoever watches how far it is; nothing below the doors prints."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A watcher of long work."""

    def begin(self, task: str, total: float | None = None, *, done: float = 0.0) -> None:
        """A task starts, inside the current one if there is one.

        Args:
            task: What it is.
            total: Its amount of work; None when unknown, 1 for a share.
            done: How much of it an earlier session has done.
        """
        ...

    def advance(self, amount: float = 1.0, /, **shown: str) -> None:
        """``amount`` more of the current task is done; ``shown`` are words to show beside it."""
        ...

    def end(self) -> None:
        """The current task is over."""
        ...

    def say(self, text: str) -> None:
        """One line for a person."""
        ...


class Quiet:
    """The watcher that does not care."""

    def begin(self, task: str, total: float | None = None, *, done: float = 0.0) -> None:
        """Ignore it."""

    def advance(self, amount: float = 1.0, /, **shown: str) -> None:
        """Ignore it."""

    def end(self) -> None:
        """Ignore it."""

    def say(self, text: str) -> None:
        """Ignore it."""
