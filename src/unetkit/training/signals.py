"""Asked to stop: the handler sets a flag, the loop looks at it between two steps."""

from __future__ import annotations

import signal
import threading
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
        self._before.clear()

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
