"""When the schedule ends: a fixed number of steps, or as many as a time budget holds."""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from unetkit.errors import UsageError
from unetkit.records.plan import TrainingPlan

_WARM = 3
"""First steps of a session, slower than the rest; the end seen from them is at least ``_AT_LEAST`` away."""
_AT_LEAST = 8
_EARLY = (1, 2, _WARM, _WARM + 10)
"""Steps of a session after which a budget is counted out of turn."""
_SHARE = 0.1


@dataclass(frozen=True)
class Horizon:
    """The share of the schedule that is done at a step: a straight line, bent where the end was counted anew.

    Args:
        steps: The step at which the schedule is done.
        bend: The step at which the end was last counted.
        done: Progress at the bend, 0 to 1.

    Example:
        >>> Horizon(10).progress(5), Horizon(10).recounted(5, 25).progress(15)
        (0.5, 0.75)
    """

    steps: int
    bend: int = 0
    done: float = 0.0

    @staticmethod
    def planned(training: TrainingPlan) -> Horizon:
        """The horizon before the first step; with a time budget a placeholder until one step was timed."""
        return Horizon(training.steps or 1_000_000)

    def progress(self, step: int) -> float:
        """Progress at ``step``: 0 at the start, exactly 1 from ``steps`` on, never falling."""
        if step >= self.steps:
            return 1.0
        share = max(0, step - self.bend) / (self.steps - self.bend)
        return min(1.0, self.done + (1.0 - self.done) * share)

    def recounted(self, step: int, steps: int) -> Horizon:
        """The same progress at ``step``, another end; it lies at least one step ahead.

        Args:
            step: Where the line bends.
            steps: The new end.
        """
        return Horizon(max(steps, step + 1), step, self.progress(step))


class Clock:
    """Decides when training is over, and bends the horizon so that the schedule ends with the budget.

    With ``training.steps`` the clock on the wall has no say at all: such a run is the same run on a fast
    and on a slow machine.

    Args:
        training: The plan's slice.
        deadline: ``time.monotonic()`` seconds at which everything, the last validation included, is done.
        now: The clock, ``time.monotonic`` where none is given.

    Raises:
        UsageError: Neither steps nor a deadline.
    """

    def __init__(
        self, training: TrainingPlan, deadline: float | None, *, now: Callable[[], float] | None = None
    ) -> None:
        if not training.steps and deadline is None:
            raise UsageError(
                "neither a number of steps nor a time budget is set",
                cure="set training.steps or training.minutes",
            )
        self._steps = training.steps
        self.deadline = None if training.steps else deadline
        self._now = now or time.monotonic
        self._recent: deque[float] = deque(maxlen=10)
        self._session = 0
        self._last = self._window = self._now()
        self._window_steps = 0
        self._total = max(0.0, (deadline or 0.0) - self._last)
        self._due = self._last + _SHARE * self._total

    def begin(self, horizon: Horizon, step: int) -> Horizon:
        """The horizon to go on with at ``step``: the plan may have been given another number of steps."""
        if not self._steps or horizon.steps == self._steps:
            return horizon
        return horizon.recounted(step, self._steps) if step < self._steps else Horizon(self._steps)

    @property
    def left(self) -> float:
        """Seconds of the budget that are left; infinite without one."""
        return math.inf if self.deadline is None else max(0.0, self.deadline - self._now())

    def set_aside(self, seconds: float) -> None:
        """Leave time that was not spent on steps (a validation) out of the speed, and count anew."""
        self._last += seconds
        self._window += seconds
        self._due = min(self._due, self._now())

    def tick(self, horizon: Horizon, step: int, *, reserve: float = 0.0) -> Horizon | None:
        """One more step is done.

        Args:
            horizon: The horizon so far.
            step: Steps done.
            reserve: Seconds of the budget that validations and the last resume point will take.

        Returns:
            The horizon counted anew, where it was time to do so.
        """
        now = self._now()
        self._recent.append(now - self._last)
        self._last = now
        self._session += 1
        self._window_steps += 1
        if self.deadline is None or step >= horizon.steps:
            return None
        if self._session not in _EARLY and now < self._due:
            return None
        left = max(0.0, self.deadline - now - reserve)
        more = int(left / max(self._seconds_per_step(now), 1e-9))
        counted = horizon.recounted(step, step + max(more, _AT_LEAST if self._session < _WARM else 1))
        self._window, self._window_steps = now, 0
        # Smaller and smaller intervals: the last count is made a few steps before the end.
        self._due = now + max(min(_SHARE * self._total, left / 2), 2 * self._recent[-1])
        return counted

    def over(self, horizon: Horizon, step: int, *, reserve: float = 0.0) -> str | None:
        """Why training ends here: ``steps``, ``budget``, or None to go on."""
        if step >= horizon.steps:
            return "budget" if self.deadline is not None else "steps"
        if self.deadline is None:
            return None
        half = statistics.median(self._recent) / 2 if self._recent else 0.0
        return "budget" if self._now() + half + reserve >= self.deadline else None

    def _seconds_per_step(self, now: float) -> float:
        """The quickest of the first three, the median of the next ten, then the mean."""
        timed = list(self._recent)
        if self._session <= _WARM:
            return min(timed)
        if self._session <= max(_EARLY):
            return statistics.median(timed[_WARM - self._session :])
        if self._window_steps >= len(timed):
            return (now - self._window) / self._window_steps
        return statistics.fmean(timed)
