"""Asked to stop: the handler sets a flag, the loop looks at it between two steps."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType

from unetkit.errors import InterruptedRunError, PreemptedError
from unetkit.records.run import Run

_HEARD = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Hears SIGTERM and SIGINT while the block runs; outside the main thread it hears nothing.

    Handlers do no work: saving inside one, in the middle of anything, is how other loops crash. A second
    signal changes nothing, so that an impatient one cannot spoil the resume point being written.

    Args:
        run: Whose journal is told.

    Example:
        >>> from pathlib import Path
        >>> with Signals(Run(Path("run"))) as signals:
        ...     signals.asked is None
        True
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self.asked: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in _HEARD:
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, wrong: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)  # pyright: ignore[reportArgumentType]
        before = self._before.get(self.asked) if self.asked else None
        self._before.clear()
        outer = getattr(before, "__self__", None)
        if kind is None and isinstance(outer, Preemptible):
            outer.hear(signal.SIGTERM, None)  # it came after the last check

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.asked = self.asked or signal.Signals(number)

    def check(self, step: int) -> None:
        """End the run if it was asked to stop; to be called when its state is saved.

        Args:
            step: Steps done.

        Raises:
            PreemptedError: Exit code 75; as ``InterruptedRunError``, for Ctrl-C, 130.
        """
        if self.asked is None:
            return
        self._run.note("stopped", signal=self.asked.name, step=step)
        kind = InterruptedRunError if self.asked == signal.SIGINT else PreemptedError
        raise kind(
            f"the run was asked to stop ({self.asked.name}) and saved its state at step {step}",
            cure="run the same command with --resume to go on from there",
            where=self._run.folder,
        )


class Preemptible:
    """A SIGTERM inside the block ends it with ``PreemptedError`` there and then; for the main thread only.

    For work that has nothing to save: every file is whole or not there, so it may stop anywhere. Around the
    loop ``Signals`` takes over, and hands back what came too late for it.

    Args:
        where: The run's folder, for the error.
        cure: How to go on.

    Example:
        >>> with Preemptible(Path("run"), cure="run it again with --resume") as preemptible:
        ...     preemptible.check()
    """

    def __init__(self, where: Path, *, cure: str) -> None:
        self._where = where
        self._cure = cure
        self._asked = False
        self._heard = False
        self._before: object = None

    def __enter__(self) -> Preemptible:
        if threading.current_thread() is threading.main_thread():
            self._heard = True
            self._before = signal.signal(signal.SIGTERM, self.hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, wrong: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._heard:
            before = self._before if self._before is not None else signal.SIG_DFL
            signal.signal(signal.SIGTERM, before)  # pyright: ignore[reportArgumentType]

    def hear(self, number: int, frame: FrameType | None) -> None:
        """Stop here; a second signal does not disturb what is being put in order after the first."""
        if not self._asked:
            self._asked = True
            self.check()

    def check(self) -> None:
        """Stop here if a signal came that somebody swallowed.

        Raises:
            PreemptedError: Exit code 75.
        """
        if self._asked:
            raise PreemptedError(
                "the run was asked to stop (SIGTERM); what it had saved is intact",
                cure=self._cure,
                where=self._where,
            )
