"""A gate: what scores must reach before anything goes on, such as ``dice=0.8``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from unetkit.errors import GateError, UsageError, nearest
from unetkit.metrics import LOWER_IS_BETTER, METRICS
from unetkit.metrics.score import MEAN
from unetkit.records.scores import Scores


@dataclass(frozen=True)
class Gate:
    """One demand on the mean over foreground classes.

    Args:
        metric: A name of ``METRICS``.
        value: The least that passes; the most for a metric whose best value is 0.
    """

    metric: str
    value: float

    @property
    def bound(self) -> str:
        """``at least``, or ``at most`` for a metric whose best value is 0."""
        return "at most" if self.metric in LOWER_IS_BETTER else "at least"

    def passed(self, got: float | None) -> bool:
        """Whether a mean meets the demand; an undefined one does not."""
        if got is None:
            return False
        return got <= self.value if self.metric in LOWER_IS_BETTER else got >= self.value


def read_gates(words: Iterable[str]) -> tuple[Gate, ...]:
    """Gates from the words of a command.

    Args:
        words: Each a ``metric=value``.

    Raises:
        UsageError: A word is of another form, the metric is unknown, or no score can be as demanded.

    Example:
        >>> read_gates(["dice=0.8"])
        (Gate(metric='dice', value=0.8),)
    """
    return tuple(_gate(word) for word in words)


def raise_unmet(scores: Scores, gates: Iterable[Gate]) -> None:
    """Raise what the scores do not reach.

    Args:
        scores: What was measured.
        gates: What was demanded.

    Raises:
        GateError: At least one gate is not met.
    """
    unmet = []
    for gate in gates:
        got = scores.summary[MEAN][gate.metric].mean
        if not gate.passed(got):
            shown = "none (no class is in any mask)" if got is None else f"{got:.4g}"
            named = scores.heading(gate.metric)
            unmet.append(f"expected a mean {named} of {gate.bound} {gate.value:g}, got {shown}")
    if unmet:
        raise GateError(
            "; ".join(unmet),
            cure="look at the worst cases first, then train longer or with more labelled cases",
        )


def _gate(word: str) -> Gate:
    metric, sign, text = (part.strip() for part in word.partition("="))
    if not (sign and metric and text):
        raise UsageError(
            f"'--at-least {word}' is no gate", cure="write --at-least metric=value, such as dice=0.8"
        )
    if metric not in METRICS:
        raise UsageError(f"there is no metric '{metric}' to demand", cure=nearest(metric, METRICS))
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    share = metric not in LOWER_IS_BETTER
    if not (math.isfinite(value) and value >= 0 and (value <= 1 or not share)):
        wanted = "a share from 0 to 1" if share else "a number of 0 or more"
        raise UsageError(
            f"'--at-least {word}': expected {wanted}, got '{text}'",
            cure=f"write --at-least {metric}={'0.8' if share else '2.5'}, for example",
        )
    return Gate(metric, value)
