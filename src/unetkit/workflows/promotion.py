"""Whether a candidate may take the place of the live model: paired, case by case, on every golden set."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from unetkit.errors import UsageError
from unetkit.metrics.paired import difference
from unetkit.metrics.score import MEAN
from unetkit.records.registered import Decision, SetResult
from unetkit.records.scores import Scores
from unetkit.workflows.forgetting import class_values

MARGIN = 0.01
"""Dice that the interval of a difference may reach below 0 and still count as not worse."""


def compare_set(name: str, candidate: Scores, live: Scores | None, *, margin: float = MARGIN) -> SetResult:
    """A candidate against the live model on one golden set.

    It passes where the whole 95 % interval of the mean difference lies above ``-margin`` (groups resampled)
    and no more objects are missed than before. What cannot be shown does not pass.

    Args:
        name: The set.
        candidate: Its scores.
        live: Those of the live model on the same cases, None where nothing is live.
        margin: Dice, 0 or more.
    """
    mine = class_values(candidate, MEAN)
    missed = sum(len(case.missed) for case in candidate.cases)
    mean = round(statistics.fmean(mine.values()), 6) if mine else None
    if live is None:
        return SetResult(name=name, cases=len(mine), live=None, candidate=mean, missed_candidate=missed)
    theirs = class_values(live, MEAN)
    groups = {case.id: case.group for case in candidate.cases}
    found = difference(mine, theirs, groups)
    before = sum(len(case.missed) for case in live.cases)
    refused = []
    if found.mean is None:
        refused.append("no case has an object of any class")
    elif found.low is None:
        refused.append("its cases are of one group, so that no interval can be given")
    elif found.low < -margin:
        refused.append(f"Dice may be {-found.low:.4f} lower (95 % interval), {margin:g} is allowed")
    if missed > before:
        refused.append(f"{missed} objects are missed entirely, the live model misses {before}")
    return SetResult(
        name=name,
        cases=found.cases,
        live=round(statistics.fmean(theirs.values()), 6) if theirs else None,
        candidate=mean,
        difference=found.mean,
        low=found.low,
        high=found.high,
        p_value=found.p_value,
        missed_live=before,
        missed_candidate=missed,
        refused="; ".join(refused),
    )


def decide(number: int, live: int | None, sets: Sequence[SetResult], *, margin: float = MARGIN) -> Decision:
    """Whether a candidate passes: worse on no golden set, better on at least one.

    Args:
        number: The candidate.
        live: What it would replace, None where nothing is live: then there is nothing to be worse than.
        sets: One per golden set.
        margin: As given to ``compare_set``.

    Raises:
        UsageError: There is no golden set.
    """
    if not sets:
        raise UsageError(
            "nothing says how good a model must be: this registry has no golden set",
            cure="name labelled cases that no model is trained on with --golden; they are remembered",
        )
    refused = [f"{each.name}: {each.refused}" for each in sets if each.refused]
    if live is not None and not refused and not any((each.difference or 0) > 0 for each in sets):
        refused.append("it is better on no golden set")
    return Decision(number=number, live=live, margin=margin, sets=tuple(sets), refused=tuple(refused))
