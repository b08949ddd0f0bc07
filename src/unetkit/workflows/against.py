"""Two sets of predictions of the same cases: how far one is above the other, and could it be chance."""

from __future__ import annotations

from pathlib import Path

from unetkit.errors import UsageError
from unetkit.metrics.paired import difference, paired_values
from unetkit.metrics.score import MEAN
from unetkit.records.scores import Scores
from unetkit.workflows.comparison import Against
from unetkit.workflows.model_folder import is_model


def refuse_other(other: Path) -> None:
    """Refuse what cannot be measured against, before any time is spent.

    Args:
        other: As it was named.

    Raises:
        UsageError: It is neither a model nor a folder.
    """
    if not (is_model(other) or other.is_dir()):
        raise UsageError(
            "there is nothing to measure against",
            cure="name a folder of label files, or a model",
            where=other,
        )


def against(one: Scores, other: Scores) -> dict[str, dict[str, Against]]:
    """Compare two evaluations case by case.

    A class that only one of the two finds where there is none counts as the best value for the other.

    Args:
        one: The first.
        other: The second, of the same cases.

    Returns:
        Class name (or ``mean``) → metric → mean of ``one`` minus ``other``, its 95 % bootstrap interval
        (groups resampled) and the p value of the two-sided Wilcoxon signed-rank test, not corrected for
        the number of metrics. Only metrics and classes that both have.
    """
    groups = {case.id: case.group for case in one.cases}
    classes = [name for name in one.classes if name in other.classes]
    table: dict[str, dict[str, Against]] = {}
    for name in (*classes, MEAN):
        among = classes if name == MEAN else [name]
        table[name] = {}
        for metric in (metric for metric in one.metrics if metric in other.metrics):
            ours, theirs = paired_values((one, other), among, metric)
            found = difference(ours, theirs, groups)
            table[name][metric] = Against(
                mean=found.mean, low=found.low, high=found.high, cases=found.cases, p_value=found.p_value
            )
    return table
