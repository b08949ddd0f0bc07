import json
import time

from unetkit.records.case import Case
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.records.progress import Quiet
from unetkit.records.run import Run
from unetkit.workflows.fitting import _deadline, spread


def test_cases_are_spread_evenly():
    cases = tuple(Case(id=str(n), images=(), label=None, group="g") for n in range(10))
    assert [case.id for case in spread(cases, 4)] == ["0", "3", "6", "9"]
    assert spread(cases, 20) == cases
    assert spread(cases, 0) == ()


def test_the_budget_counts_from_the_start_of_the_command(tmp_path):
    plan, run, now = Plan.model_validate(EXAMPLE), Run(tmp_path), time.monotonic()
    assert _deadline(plan, run, now, resume=False, progress=Quiet()) is None
    timed = plan.with_values({"training.minutes": "2"})
    assert _deadline(timed, run, now, resume=False, progress=Quiet()) == now + 120
    assert _deadline(timed, run, 100.0, resume=True, progress=Quiet()) == 220.0  # nothing was spent yet


def test_a_slow_start_still_leaves_a_quarter_of_the_budget_and_says_so(tmp_path):
    said: list[str] = []

    class Told(Quiet):
        def say(self, text):
            said.append(text)

    timed = Plan.model_validate(EXAMPLE).with_values({"training.minutes": "2"})
    now = time.monotonic()
    deadline = _deadline(timed, Run(tmp_path), now - 119, resume=False, progress=Told())
    assert deadline is not None
    assert 30 <= deadline - now < 40
    assert "25% of the 2 minutes are trained all the same" in said[0]


def test_the_layout_is_noted_and_validation_is_by_the_predictor(finished):
    events = [json.loads(line) for line in (finished / "journal.jsonl").read_text().splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[0] == "layout"
    assert kinds[-1] == "finished"
    judged = [event for event in events if event["event"] == "validation"]
    assert judged
    assert all(0 <= event["dice"] <= 1 for event in judged)
