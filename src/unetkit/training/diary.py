"""What a training tells while it runs: rows of the journal, and a bar for whoever watches."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from unetkit.data.patches import Batch
from unetkit.records.progress import Progress
from unetkit.records.run import Run
from unetkit.training.horizon import Horizon
from unetkit.training.state import State

_SECONDS = 2.0


class Diary:
    """Writes at most one row per 2 s; reading a loss from a device waits for it, so this is done that rarely.

    Args:
        run: Whose journal.
        progress: The watcher; its unit is the share of the schedule, as the number of steps may change.
        state: The training.
    """

    def __init__(self, run: Run, progress: Progress, state: State) -> None:
        self._run = run
        self._progress = progress
        self._shown = state.progress
        self._before = state.seconds
        self._started = self._row = time.monotonic()
        self._row_step = state.step
        self._waited = 0.0
        self._sums: dict[str, Tensor] = {}
        self._borrowed: Tensor | float = 0.0

    @contextmanager
    def watch(self, stream: Iterator[Batch]) -> Iterator[Iterator[Batch]]:
        """Time the wait for each batch; at the end close the stream (it may own a thread) and the bar."""
        self._progress.begin("training", 1.0, done=self._shown)
        try:
            yield self._timed(stream)
        finally:
            close = getattr(stream, "close", None)
            if close is not None:
                close()
            self._progress.end()

    def _timed(self, stream: Iterator[Batch]) -> Iterator[Batch]:
        while True:
            asked = time.monotonic()
            batch = next(stream, None)
            if batch is None:
                return
            self._waited += time.monotonic() - asked
            yield batch

    def step(
        self,
        state: State,
        terms: dict[str, Tensor],
        *,
        rate: float,
        norm: float,
        borrowed: Tensor | None = None,
    ) -> None:
        """One more step is done; writes a row when the last one is old enough.

        Args:
            state: After the step.
            terms: Its losses.
            rate: Its learning rate.
            norm: Its gradient norm.
            borrowed: ``(B,)`` how much of each patch was another one's; None where none is mixed.
        """
        for name, term in terms.items():
            value = term.detach()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        if borrowed is not None:
            self._borrowed = self._borrowed + borrowed.mean()
        now = time.monotonic()
        state.seconds = self._before + now - self._started
        shown = state.progress
        words: dict[str, str] = {}
        if now - self._row >= _SECONDS or shown >= 1.0 or state.step == 1:
            shares = {} if borrowed is None else {"borrowed": self._borrowed}
            words = self._write(state, now, shares, rate=rate, norm=norm)
        self._progress.advance(max(0.0, shown - self._shown), **words)
        self._shown = max(shown, self._shown)

    def set_aside(self, seconds: float) -> None:
        """Leave time that was not spent on steps (a validation) out of the speed that is shown."""
        self._row += seconds

    def counted(self, horizon: Horizon) -> None:
        """The end of the schedule was counted anew."""
        self._run.note("horizon", steps=horizon.steps, step=horizon.bend, progress=round(horizon.done, 6))

    def finished(self, state: State, reason: str) -> None:
        """The schedule is done."""
        self._run.note(
            "finished",
            step=state.step,
            progress=round(state.progress, 6),
            seconds=round(state.seconds, 2),
            best=state.best,
            best_step=state.best_step,
            reason=reason,
        )

    def _write(
        self, state: State, now: float, shares: dict[str, Tensor | float], *, rate: float, norm: float
    ) -> dict[str, str]:
        steps, seconds = state.step - self._row_step, max(now - self._row, 1e-9)
        losses = {name: float(total) / steps for name, total in self._sums.items()}
        self._run.note(
            "step",
            step=state.step,
            progress=round(state.progress, 6),
            seconds=round(state.seconds, 3),
            loss=round(sum(losses.values()), 6),
            terms={name: round(loss, 6) for name, loss in losses.items()},
            learning_rate=rate,
            gradient_norm=round(norm, 4),
            steps_per_second=round(steps / seconds, 4),
            data_wait_share=round(self._waited / seconds, 4),
            **{name: round(float(share) / steps, 4) for name, share in shares.items()},
        )
        self._row, self._row_step, self._waited, self._sums = now, state.step, 0.0, {}
        self._borrowed = 0.0
        return {
            "step": f"{state.step}/{state.horizon.steps}",
            "loss": f"{sum(losses.values()):.4f}",
            "speed": f"{steps / seconds:.3g} steps/s",
        }
