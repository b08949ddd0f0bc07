"""Whether a smaller model answers as well as the one it was made from: the same cases through both."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from unetkit.errors import DataError, GateError
from unetkit.metrics.paired import difference, paired_values
from unetkit.metrics.score import MEAN
from unetkit.records.saved import Saved
from unetkit.records.scores import Scores
from unetkit.runtimes.turns import in_turns, repeat
from unetkit.spatial.intensity import stored_pixels

METRICS = ("dice", "hd95")
"""What is compared."""
_TILES, _SECONDS = 9, 2.0
_ROUNDING = 1e-9  # points: the last digit of a mean is no loss


class Change(Saved):
    """One metric of one class, before and after, over the cases in which either defines it.

    Args:
        before: Mean before.
        after: Mean after.
        mean: Mean of the differences, after less before; None where no case has a value.
        low: Lower end of its 95 % bootstrap interval (groups resampled), None with fewer than two groups.
        high: Upper end, None likewise.
        p_value: Of the two-sided Wilcoxon signed-rank test.
        cases: Cases that count.
    """

    before: float | None
    after: float | None
    mean: float | None
    low: float | None
    high: float | None
    p_value: float | None
    cases: int


class CaseChange(Saved):
    """One case.

    Args:
        id: The case's id.
        before: Mean Dice over classes before.
        after: Likewise after.
    """

    id: str
    before: float
    after: float


Changes = dict[str, dict[str, Change]]
"""Class name, or ``mean`` for the mean over foreground classes → metric → change."""


def changes(before: Scores, after: Scores) -> Changes:
    """Compare the scores of two models on the same cases, case by case.

    A class that only one of the two finds where there is none counts as the best value for the other, see
    ``metrics.paired.paired_values``.

    Args:
        before: Of the model that was there.
        after: Of the model made from it.

    Raises:
        DataError: They are not of the same cases.

    Reference:
        The interval and the test are those of ``unetkit.metrics.paired``.
    """
    groups = {case.id: case.group for case in before.cases}
    if groups.keys() != {case.id for case in after.cases}:
        odd = sorted(groups.keys() ^ {case.id for case in after.cases})
        raise DataError(
            f"the same cases were expected before and after, '{odd[0]}' is in one of them alone",
            cure="measure both models on one set of cases",
        )
    found: Changes = {}
    for metric in METRICS:
        for name in (*before.classes, MEAN):
            among = before.classes if name == MEAN else (name,)
            found.setdefault(name, {})[metric] = _change(_pairs(before, after, among, metric), groups)
    return found


def worst_changed(before: Scores, after: Scores, count: int = 9) -> tuple[CaseChange, ...]:
    """The cases that lost most Dice, the worst first; none that lost nothing.

    Args:
        before: Of the model that was there.
        after: Of the model made from it.
        count: At most this many.
    """
    pairs = _pairs(before, after, before.classes, "dice")
    lost = sorted((new - old, id) for id, (old, new) in pairs.items() if new < old)
    return tuple(CaseChange(id=id, before=pairs[id][0], after=pairs[id][1]) for _, id in lost[:count])


def lost(found: Changes, max_loss: float) -> str:
    """What speaks against the gate, in words; empty where no class lost more Dice than is allowed.

    Args:
        found: What changed.
        max_loss: Points of Dice (hundredths) that the mean of a class may fall.

    Example:
        >>> less = Change(before=0.9, after=0.8, mean=-0.1, low=None, high=None, p_value=1.0, cases=3)
        >>> lost({"hole": {"dice": less}}, 0.5)
        "expected a loss of at most 0.5 points of Dice, got 'hole' 10.00"
        >>> lost({"hole": {"dice": less}}, 12)
        ''
    """
    classes = {name: row["dice"].mean for name, row in found.items() if name != MEAN}
    losses = {name: -100 * mean for name, mean in classes.items() if mean is not None}
    if not losses:
        return "expected Dice on held-out cases before and after, got none (no class is in any mask)"
    more = [f"'{name}' {loss:.2f}" for name, loss in losses.items() if loss > max_loss + _ROUNDING]
    return f"expected a loss of at most {max_loss:g} points of Dice, got {', '.join(more)}" if more else ""


def worst_loss(found: Changes) -> float | None:
    """Points of Dice that the class lost which lost most; None where no class has a value.

    Args:
        found: What changed.
    """
    means = [row["dice"].mean for name, row in found.items() if name != MEAN]
    return max((-100 * mean for mean in means if mean is not None), default=None)


def raise_if_lost(found: Changes, max_loss: float, *, where: Path | None = None, kept: str = "") -> None:
    """The gate: no class may lose more Dice than is allowed.

    Args:
        found: What changed.
        max_loss: Points of Dice (hundredths) that the mean of a class may fall.
        where: What was refused, for the error.
        kept: What was reached without losing more, in words; empty where nothing was.

    Raises:
        GateError: A class lost more, or none was measured.
    """
    if problem := lost(found, max_loss):
        raise GateError(
            f"{problem}; {f'{kept}; ' if kept else ''}nothing was published",
            cure="cut less (--prune, --target), train longer (--minutes), cut in more rounds (--rounds), or "
            "allow more (--max-loss)",
            where=where,
        )


class Runs(Protocol):
    """Whatever turns tiles into logits."""

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Logits of a batch ``(B, C, *S)``."""
        ...


def seconds_per_tile(
    runtimes: Sequence[Runs], shape: Sequence[int], *, stored: bool = False
) -> tuple[float, ...]:
    """How long each takes for one tile: medians, in turns, so that a busy machine slows all of them.

    Args:
        runtimes: What to time.
        shape: ``(C, *S)`` of the tile.
        stored: Whether they take pixels of one byte, not normalised ones.
    """
    tile = np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float32)
    if stored:
        tile = stored_pixels(tile)
    for each in runtimes:  # the first call of each pays for what later ones find ready
        each.run(tile)
    works = [partial(repeat, partial(each.run, tile)) for each in runtimes]
    return tuple(map(statistics.median, in_turns(works, seconds=_SECONDS, most=_TILES)))


def _pairs(
    before: Scores, after: Scores, names: Sequence[str], metric: str
) -> dict[str, tuple[float, float]]:
    """Case → value before and after, left out where neither is defined."""
    old, new = paired_values((before, after), names, metric)
    return {id: (value, new[id]) for id, value in old.items()}


def _change(of_case: Mapping[str, tuple[float, float]], groups: Mapping[str, str]) -> Change:
    old = {id: pair[0] for id, pair in of_case.items()}
    new = {id: pair[1] for id, pair in of_case.items()}
    apart = difference(new, old, groups)
    return Change(
        before=statistics.fmean(old.values()) if old else None,
        after=statistics.fmean(new.values()) if new else None,
        mean=apart.mean,
        low=apart.low,
        high=apart.high,
        p_value=apart.p_value,
        cases=apart.cases,
    )
