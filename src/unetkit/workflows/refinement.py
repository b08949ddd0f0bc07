"""Whether a random field or a guided filter is worth it: measured on labelled cases, never assumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from unetkit.data.labels import read_label
from unetkit.errors import UsageError
from unetkit.metrics.paired import difference
from unetkit.metrics.score import score_case
from unetkit.records.case import Case, Sample
from unetkit.records.plan import DataPlan, Plan
from unetkit.records.prediction import Prediction
from unetkit.records.progress import Progress, Quiet
from unetkit.records.saved import Saved
from unetkit.workflows.comparison import Against
from unetkit.workflows.model import Model, load_average

STEPS = 5
"""Mean-field steps where nothing is asked for."""

REFINEMENTS = ("inference.crf_", "inference.guided_")
"""How the values of a refinement begin."""

_ROUNDING = 1e-9

Table = dict[str, dict[str, float]]
"""Case id → class → Dice."""


class Gain(Saved):
    """What a refinement does to the Dice of some cases.

    Args:
        before: Class → mean Dice without it.
        after: Class → mean Dice with it.
        gain: Mean over cases of the difference, each case the mean over its classes, with interval and p.
        accepted: Whether the mean rises and no class falls.
        values: Plan values to set, as ``--set`` takes them, where it is accepted.
    """

    before: dict[str, float]
    after: dict[str, float]
    gain: Against
    accepted: bool
    values: dict[str, str]


def gain_on_cases(
    model: Model,
    cases: Sequence[Case],
    *,
    changes: Mapping[str, str] | None = None,
    sample: Callable[[Case], Sample] | None = None,
    progress: Progress | None = None,
) -> Gain:
    """Measure what a refinement would bring: a dense conditional random field, or a guided filter.

    Args:
        model: What predicts, a single network; its own plan stays as it is.
        cases: Labelled cases; take validation or training cases, not those that the final scores are
            told on.
        changes: ``inference.crf_…`` or ``inference.guided_…`` values to try, as ``--set`` takes them; a
            random field with the plan's own values without.
        sample: How a case is prepared; from its file when None.
        progress: Who watches.

    Raises:
        UsageError: A value is not one of a refinement's, there is no case, or the model is an ensemble.
    """
    said = tried(model.plan, changes)
    _refuse_none(cases)
    watch = progress or Quiet()
    tables: tuple[Table, ...] = ({}, {})
    predictors = [model.sole.with_inference(plan.inference) for plan in _plans(model.plan, said)]
    watch.begin("measuring the refinement", len(cases))
    for case in cases:
        prepared = sample(case) if sample else model.sole.inputs.case(case)
        for predictor, table in zip(predictors, tables, strict=True):
            table[case.id] = _dice(case, model.plan.data, predictor.sample(prepared))
        watch.advance(1, case=case.id)
    watch.end()
    return _gain(tables, {case.id: case.group for case in cases}, model.classes[1:], said)


def gain_over_folds(
    folds: Sequence[tuple[Sequence[Path], Sequence[Case]]],
    plan: Plan,
    *,
    changes: Mapping[str, str],
    device: str = "auto",
    progress: Progress | None = None,
) -> Gain:
    """Measure what a refinement would bring on cases that the models have not seen, fold by fold.

    Args:
        folds: Model folders whose mean answers, and the cases that none of them has seen.
        plan: Classes, which objects of the mean are believed, and the values that ``changes`` replaces.
        changes: ``inference.crf_…`` or ``inference.guided_…`` values to try, as ``--set`` takes them.
        device: Where to compute.
        progress: Who watches.

    Raises:
        UsageError: A value is not one of a refinement's, or there is no case.
    """
    said = tried(plan, changes)
    _refuse_none([case for _, cases in folds for case in cases])
    watch = progress or Quiet()
    tables: tuple[Table, ...] = ({}, {})
    watch.begin("measuring the refinement", 2 * sum(len(cases) for _, cases in folds))
    for members, cases in folds:
        for one, table in zip(_plans(plan, said), tables, strict=True):
            model = load_average(members, one, members[0], device=device)
            for case in cases:
                table[case.id] = _dice(case, plan.data, model.predictor.case(case))
                watch.advance(1, case=case.id)
    watch.end()
    groups = {case.id: case.group for _, cases in folds for case in cases}
    return _gain(tables, groups, plan.data.classes[1:], said)


def tried(plan: Plan, changes: Mapping[str, str] | None) -> dict[str, str]:
    """The values of a refinement that are to be tried.

    Args:
        plan: A plan whose own values count where nothing else is asked for.
        changes: ``inference.crf_…`` or ``inference.guided_…`` values, as ``--set`` takes them.

    Raises:
        UsageError: A value is not one of a refinement's.
    """
    said = dict(changes or {})
    if not any(key.startswith(REFINEMENTS[1]) for key in said):
        said = {"inference.crf_steps": str(plan.inference.crf_steps or STEPS), **said}
    odd = [key for key in said if not key.startswith(REFINEMENTS)]
    if odd:
        raise UsageError(
            f"'{odd[0]}' is no value of a refinement",
            cure="give values such as inference.crf_steps or inference.guided_radius",
        )
    plan.with_values(said)
    return said


def _refuse_none(cases: Sequence[Case]) -> None:
    if not cases:
        raise UsageError("there is no case to measure on", cure="give at least one labelled case")


def _plans(plan: Plan, said: Mapping[str, str]) -> tuple[Plan, Plan]:
    """Without a refinement, and with the one that is tried alone."""
    none = plan.with_values({"inference.crf_steps": "0", "inference.guided_radius": "0"})
    return none, none.with_values(said)


def _gain(
    tables: Sequence[Table], groups: Mapping[str, str], names: Sequence[str], said: dict[str, str]
) -> Gain:
    # what only one of both finds where nothing is counts as the best value for the other
    known = {id: [name for name in names if any(name in table[id] for table in tables)] for id in tables[0]}
    tables = [
        {id: {name: row.get(name, 1.0) for name in known[id]} for id, row in each.items()} for each in tables
    ]
    before, after = (_means(table, names) for table in tables)
    one, other = ({id: sum(row.values()) / len(row) for id, row in table.items() if row} for table in tables)
    found = difference(other, one, groups)
    rises = found.mean is not None and found.mean > 0
    accepted = rises and all(after.get(name, 0.0) >= value - _ROUNDING for name, value in before.items())
    return Gain(
        before=before,
        after=after,
        gain=Against(
            mean=found.mean, low=found.low, high=found.high, cases=found.cases, p_value=found.p_value
        ),
        accepted=accepted,
        values=said if accepted else {},
    )


def _dice(case: Case, data: DataPlan, prediction: Prediction) -> dict[str, float]:
    """Class → Dice, where it is in either mask."""
    reference, known, grid = read_label(case, data)
    names = data.classes[1:]
    row = score_case(
        case.id,
        case.group,
        reference,
        prediction.labels,
        classes=names,
        known=known,
        spacing_mm=grid.spacing_mm,
        metrics=("dice",),
    )
    return {name: value for name in names if (value := row.values[name]["dice"]) is not None}


def _means(table: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> dict[str, float]:
    """Class → mean over the cases that have a value."""
    columns = {name: [row[name] for row in table.values() if name in row] for name in names}
    return {name: sum(values) / len(values) for name, values in columns.items() if values}
