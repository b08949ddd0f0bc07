"""Validation while training: when, what came out, and an alarm when it collapses."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from torch import nn

from unetkit.records.plan import TrainingPlan
from unetkit.records.progress import Progress
from unetkit.records.run import Run
from unetkit.records.scores import MEAN, Scores
from unetkit.training.checkpoint import Checkpoints
from unetkit.training.state import State

Validate = Callable[[nn.Module], "dict[str, float] | Scores"]

_TIMES = 8
_BUDGET_SHARE = 0.15
_COLLAPSE = 0.5
_WORTH = 0.05
"""Best Dice below which nothing has been learnt yet that could collapse."""


class Judge:
    """Validates the averaged weights from time to time.

    Args:
        validate: Network (evaluation mode, averaged weights) → ``{"dice": …}`` or Scores; None: never.
        training: The plan's slice.
        run: Where results are written.
        progress: Told when the score collapses.
        timed: Whether the run has a time budget: then validating may take at most 15 % of the time so far.
    """

    def __init__(
        self, validate: Validate | None, training: TrainingPlan, run: Run, progress: Progress, *, timed: bool
    ) -> None:
        self._validate = validate
        self._every_steps = training.validate_steps
        self._run = run
        self._progress = progress
        self._timed = timed
        self._cost = 0.0
        self._spent = 0.0

    def due(self, state: State) -> bool:
        """Whether a validation is due: every ``validate_steps``, else 8 times over the schedule."""
        if self._validate is None or self._count(state) <= state.judged:
            return False
        if self._timed and not self._every_steps:
            return self._spent + self._cost <= _BUDGET_SHARE * state.seconds
        return True

    def to_come(self, state: State, left: float) -> float:
        """Seconds that validations will still take, the last one included.

        Args:
            state: Now.
            left: Seconds of the budget that are left.
        """
        if self._validate is None:
            return 0.0
        if self._every_steps:
            return max(1.0, (state.horizon.steps - state.step) / self._every_steps) * self._cost
        wanted = max(1, _TIMES - state.judged) * self._cost
        return min(wanted, self._cost + _BUDGET_SHARE * left)

    def last_cost(self, state: State) -> float:
        """Seconds the closing validation takes; 0 when this very step was validated."""
        return 0.0 if self._validate is None or state.judged_step == state.step else self._cost

    def judge(self, state: State, points: Checkpoints, *, interrupt: Callable[[int], None]) -> float:
        """Validate now; keep the weights if they are the best so far.

        Args:
            state: Its averaged weights are judged; best and counts are updated.
            points: Where the best weights are kept.
            interrupt: Called with the step before every forward pass; what it raises ends the validation.

        Returns:
            Seconds it took.
        """
        if self._validate is None:
            return 0.0
        started = time.monotonic()
        network = state.network.eval()
        hook = network.register_forward_pre_hook(lambda *_: interrupt(state.step))
        try:
            with state.average.in_place():
                facts = _facts(self._validate(network))
                dice = facts.get("dice")
                state.judged, state.judged_step = self._count(state), state.step
                self._run.note("validation", step=state.step, progress=round(state.progress, 6), **facts)
                self._compare(state, points, dice)
        finally:
            hook.remove()
            network.train()
        self._cost = time.monotonic() - started
        self._spent += self._cost
        return self._cost

    def _compare(self, state: State, points: Checkpoints, dice: float | None) -> None:
        if dice is None:
            return
        if state.best is None or dice > state.best:
            state.best, state.best_step = dice, state.step
            points.save_best(state)
        elif state.best >= _WORTH and dice < _COLLAPSE * state.best:
            self._run.note("collapse", step=state.step, dice=dice, best=state.best, best_step=state.best_step)
            self._progress.say(
                f"validation Dice fell to {dice:.3f} at step {state.step}, less than half of the best "
                f"({state.best:.3f} at step {state.best_step}); the best weights are kept"
            )

    def _count(self, state: State) -> int:
        """Validations that belong before this step."""
        return state.step // self._every_steps if self._every_steps else int(_TIMES * state.progress)


def _facts(result: dict[str, float] | Scores) -> dict[str, Any]:
    """What the journal keeps of a validation: ``dice`` and whatever else was measured."""
    if not isinstance(result, Scores):
        return dict(result)
    means = {
        name: {metric: row.mean for metric, row in rows.items()} for name, rows in result.summary.items()
    }
    return {"dice": means.get(MEAN, {}).get("dice"), "summary": means, "cases": len(result.cases)}
