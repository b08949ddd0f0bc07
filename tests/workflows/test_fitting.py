import json
import time

from unetkit.records.case import Case
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.records.run import Run
from unetkit.workflows.fitting import _deadline, spread


def test_cases_are_spread_evenly():
    cases = tuple(Case(id=str(n), images=(), label=None, group="g") for n in range(10))
    assert [case.id for case in spread(cases, 4)] == ["0", "3", "6", "9"]
    assert spread(cases, 20) == cases
    assert spread(cases, 0) == ()


def test_the_budget_counts_from_the_start_of_the_command(tmp_path):
    plan = Plan.model_validate(EXAMPLE)
    assert _deadline(plan, Run(tmp_path), 100.0, resume=False) is None
    timed = plan.with_values({"training.minutes": "2"})
    assert _deadline(timed, Run(tmp_path), 100.0, resume=False) == 220.0
    assert _deadline(timed, Run(tmp_path), 100.0, resume=True) == 220.0  # nothing was spent yet
    assert time.monotonic() > 0


def test_the_layout_is_noted_and_validation_is_by_the_predictor(finished):
    events = [json.loads(line) for line in (finished / "journal.jsonl").read_text().splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[0] == "layout"
    assert kinds[-1] == "finished"
    judged = [event for event in events if event["event"] == "validation"]
    assert judged
    assert all(0 <= event["dice"] <= 1 for event in judged)
