"""Whether a random field over the predictions is worth it: measured on labelled cases, never assumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from unetkit.data.labels import read_label
from unetkit.data.prepare import prepare
from unetkit.errors import UsageError
from unetkit.inference.predict import Predictor
from unetkit.metrics.paired import difference
from unetkit.metrics.score import score_case
from unetkit.records.case import Case, Sample
from unetkit.records.progress import Progress, Quiet
from unetkit.records.saved import Saved
from unetkit.workflows.comparison import Against
from unetkit.workflows.model import Model

STEPS = 5
"""Mean-field steps where none are asked for."""
_ROUNDING = 1e-9


class Gain(Saved):
    """What a random field does to the Dice of some cases.

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


def crf_gain(
    model: Model,
    cases: Sequence[Case],
    *,
    changes: Mapping[str, str] | None = None,
    sample: Callable[[Case], Sample] | None = None,
    progress: Progress | None = None,
) -> Gain:
    """Measure what a dense conditional random field would bring.

    Args:
        model: What predicts; its own plan stays as it is.
        cases: Labelled cases; take validation or training cases, not those that the final scores are
            told on.
        changes: ``inference.crf_…`` values to try, as ``--set`` takes them; the plan's own without.
        sample: How a case is prepared; from its file when None.
        progress: Who watches.

    Raises:
        UsageError: A value is not one of the field's, or there is no case.
    """
    said = {"inference.crf_steps": str(model.plan.inference.crf_steps or STEPS), **(changes or {})}
    odd = [key for key in said if not key.startswith("inference.crf_")]
    if odd or not cases:
        raise UsageError(
            f"'{odd[0]}' is no value of the random field" if odd else "there is no case to measure on",
            cure="give values such as inference.crf_steps, and at least one labelled case",
        )
    watch = progress or Quiet()
    tables: tuple[dict[str, dict[str, float]], ...] = ({}, {})
    plans = [model.plan.with_values({"inference.crf_steps": "0"}), model.plan.with_values(said)]
    watch.begin("measuring the random field", len(cases))
    for case in cases:
        prepared = sample(case) if sample else prepare(case, model.plan.data, model.plan.preparation)
        for plan, table in zip(plans, tables, strict=True):
            predictor = Predictor(model.predictor.runtime, plan.data, plan.preparation, plan.inference)
            table[case.id] = _dice(case, predictor, prepared)
        watch.advance(1, case=case.id)
    watch.end()
    before, after = (_means(table, model.classes[1:]) for table in tables)
    groups = {case.id: case.group for case in cases}
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


def _dice(case: Case, predictor: Predictor, prepared: Sample) -> dict[str, float]:
    """Class → Dice, where it is in either mask."""
    reference, known, grid = read_label(case, predictor.data)
    names = predictor.data.classes[1:]
    row = score_case(
        case.id,
        case.group,
        reference,
        predictor.sample(prepared).labels,
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
