"""Which configurations answer together: every one, every pair and all, judged on cases they had not seen."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from unetkit.data.labels import read_label
from unetkit.errors import DataError
from unetkit.inference.stream import largest
from unetkit.metrics.paired import difference
from unetkit.metrics.score import mean_interval, score_case
from unetkit.records.case import Case
from unetkit.records.plan import DataPlan
from unetkit.records.progress import Progress
from unetkit.workflows.comparison import Against, Mean
from unetkit.workflows.configurations import Fold
from unetkit.workflows.cross_validation import Candidate
from unetkit.workflows.model import Model, load

Option = tuple[int, ...]
"""Configurations that answer together, by their places."""
_TIE = 1e-9


def options(count: int) -> tuple[Option, ...]:
    """Every configuration, every pair, and all of them, the smaller first.

    Args:
        count: How many configurations there are.

    Example:
        >>> options(3)
        ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))
    """
    places = range(count)
    pairs = itertools.combinations(places, 2)
    return tuple(dict.fromkeys((*((place,) for place in places), *pairs, tuple(places))))


def choose(
    folds: Sequence[Fold], names: Sequence[str], *, device: str, progress: Progress
) -> tuple[Option, tuple[Candidate, ...]]:
    """Decide which configurations answer together, by the mean Dice of cases they had not seen.

    Each case is predicted by the models of its fold, one after the other; the mean of their probabilities is
    judged as it comes, before any object is taken out. Of equals the one with fewer networks wins. Memory
    holds the models of one fold and the probabilities of one case from each of them.

    Args:
        folds: Cases, and the models that have not seen them.
        names: Of the configurations.
        device: Where to compute.
        progress: Who watches.

    Returns:
        What was chosen, and how good each option is.

    Raises:
        DataError: No case has a foreground pixel, in its label or predicted.

    Reference:
        Isensee et al., nnU-Net, Nature Methods 18 (2021): the best configuration or pair of them is chosen
        by cross-validation.
    """
    dice: dict[Option, dict[str, float]] = {option: {} for option in options(len(names))}
    groups: dict[str, str] = {}
    progress.begin("Comparing configurations", sum(len(fold.cases) for fold in folds))
    for fold in folds:
        models = [load(model, device=device) for model in fold.models]
        for case in fold.cases:
            groups[case.id] = case.group
            for option, value in _dice(models, case, tuple(dice)).items():
                if value is not None:
                    dice[option][case.id] = value
            progress.advance(1, case=case.id)
        del models
    progress.end()
    if not all(dice.values()):
        raise DataError("no case has a pixel of a class", cure="label some objects in the data set")
    chosen = best(dice)
    return chosen, _rows(dice, groups, names, chosen)


def best(dice: Mapping[Option, Mapping[str, float]]) -> Option:
    """The option with the highest mean over cases; of equals the one with fewer networks, then the first.

    Args:
        dice: Option to case id to Dice.

    Example:
        >>> best({(0,): {"a": 0.5}, (1,): {"a": 0.75}, (0, 1): {"a": 0.75}})
        (1,)
    """
    means = {option: float(np.mean(list(row.values()))) for option, row in dice.items()}
    highest = max(means.values())
    level = [option for option, mean in means.items() if mean >= highest - _TIE]
    return min(level, key=lambda option: (len(option), option))


def _dice(models: Sequence[Model], case: Case, asked: Sequence[Option]) -> dict[Option, float | None]:
    """The mean Dice over classes of every option on one case.

    A class that only some of them find where there is none counts as the best value for the others.
    """
    data = models[0].plan.data
    reference, known, grid = read_label(case, data)
    shares: list[np.ndarray] = []
    for model in models:
        found = model.predictor.case(case, probabilities=True).probabilities
        assert found is not None  # they were asked for
        shares.append(found)
    rows = {
        option: _score(case, data, reference, known, largest(_sum(shares, option))[0], grid.spacing_mm)
        for option in asked
    }
    names = [name for name in data.classes[1:] if any(row[name] is not None for row in rows.values())]
    if not names:
        return dict.fromkeys(asked)
    return {
        option: statistics.fmean(1.0 if (dice := row[name]) is None else dice for name in names)
        for option, row in rows.items()
    }


def _sum(shares: Sequence[np.ndarray], option: Option) -> np.ndarray:
    """The sum has its largest class where the mean has it."""
    if len(option) == 1:
        return shares[option[0]]
    total = shares[option[0]].copy()
    for place in option[1:]:
        total += shares[place]
    return total


def _score(
    case: Case,
    data: DataPlan,
    reference: np.ndarray,
    known: np.ndarray | None,
    labels: np.ndarray,
    spacing_mm: Sequence[float],
) -> dict[str, float | None]:
    """Class → Dice, None where it is in neither mask."""
    found = score_case(
        case.id,
        case.group,
        reference,
        labels,
        classes=data.classes[1:],
        known=known,
        spacing_mm=spacing_mm,
        metrics=("dice",),
    )
    return {name: row["dice"] for name, row in found.values.items()}


def _rows(
    dice: Mapping[Option, Mapping[str, float]],
    groups: Mapping[str, str],
    names: Sequence[str],
    chosen: Option,
) -> tuple[Candidate, ...]:
    """How good each option is, and how far it is above the best configuration alone."""
    alone = best({option: row for option, row in dice.items() if len(option) == 1})
    rows = []
    for option, row in dice.items():
        ends = mean_interval(list(row.values()), [groups[id] for id in row]) or (None, None)
        apart = difference(row, dice[alone], groups)
        rows.append(
            Candidate(
                names=tuple(names[place] for place in option),
                dice=Mean(mean=float(np.mean(list(row.values()))), low=ends[0], high=ends[1], cases=len(row)),
                against_best_alone=None
                if option == alone
                else Against(
                    mean=apart.mean,
                    low=apart.low,
                    high=apart.high,
                    cases=apart.cases,
                    p_value=apart.p_value,
                ),
                chosen=option == chosen,
            )
        )
    return tuple(rows)
