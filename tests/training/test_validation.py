from __future__ import annotations

import time

import pytest
import torch

from unetkit.records.progress import Quiet
from unetkit.records.scores import CaseScores, Scores, Summary
from unetkit.training.checkpoint import Checkpoints, read
from unetkit.training.state import State
from unetkit.training.validation import Judge


class Teller(Quiet):
    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def judge_of(small, run, results, *, timed=False, progress=None, **values):
    """A judge that reads its verdicts from a list."""
    training = small.training_plan(**values)
    rows = iter(results)
    judge = Judge(lambda network: next(rows), training, run, progress or Teller(), timed=timed)
    return judge, State.fresh(small.small_network(), training), Checkpoints(run, 0)


def verdicts(judge, state, points, steps):
    due = []
    for step in steps:
        state.step = step
        if judge.due(state):
            judge.judge(state, points, interrupt=lambda step: None)
            due.append(step)
    return due


def test_eight_times_over_the_schedule(small, run):
    parts = judge_of(small, run, [{"dice": 0.1}] * 20, steps=100)
    assert verdicts(*parts, range(1, 101)) == [13, 25, 38, 50, 63, 75, 88, 100]


def test_every_so_many_steps(small, run):
    parts = judge_of(small, run, [{"dice": 0.1}] * 20, steps=100, validate_steps=30)
    assert verdicts(*parts, range(1, 101)) == [30, 60, 90]


def test_never_without_a_way_to_validate(small, run):
    judge = Judge(None, small.training_plan(), run, Quiet(), timed=False)
    state = State.fresh(small.small_network(), small.training_plan())
    state.step = 12
    assert not judge.due(state)
    assert judge.judge(state, Checkpoints(run, 0), interrupt=lambda step: None) == 0.0
    assert (judge.to_come(state, 10.0), judge.last_cost(state)) == (0.0, 0.0)


def test_the_best_is_kept_with_the_averages_in_place(small, run):
    judge, state, points = judge_of(small, run, [{"dice": 0.5}, {"dice": 0.7}, {"dice": 0.6}])
    with torch.no_grad():
        state.network[0].weight.add_(1.0)
    judge.judge(state, points, interrupt=lambda step: None)
    saved = read(run.checkpoints, "best").tensors
    assert torch.equal(saved["0.weight"], state.average.tensors()["0.weight"])
    assert not torch.equal(saved["0.weight"], state.network[0].weight)
    assert state.network.training
    for step in (5, 9):
        state.step = step
        judge.judge(state, points, interrupt=lambda step: None)
    assert (state.best, state.best_step) == (0.7, 5)
    assert read(run.checkpoints, "best").numbers["step"] == 5


def test_a_collapse_is_told(small, run):
    teller = Teller()
    judge, state, points = judge_of(
        small, run, [{"dice": 0.8}, {"dice": 0.41}, {"dice": 0.39}], progress=teller
    )
    for step in (1, 2, 3):
        state.step = step
        judge.judge(state, points, interrupt=lambda step: None)
    assert len(teller.said) == 1
    assert "fell to 0.390 at step 3" in teller.said[0]
    assert next(run.events("collapse")) == {
        "event": "collapse", "step": 3, "dice": 0.39, "best": 0.8, "best_step": 1,
    }  # fmt: skip


def test_what_never_learnt_anything_does_not_collapse(small, run):
    judge, state, points = judge_of(small, run, [{"dice": 0.04}, {"dice": 0.01}], progress=Teller())
    for step in (1, 2):
        state.step = step
        judge.judge(state, points, interrupt=lambda step: None)
    assert judge._progress.said == []
    assert list(run.events("collapse")) == []


def test_scores_are_understood(small, run):
    row = Summary(mean=0.25, median=0.2, low=0.1, high=0.3, n=2, missed=0, undefined=0)
    scores = Scores(
        split="held-out",
        classes=("defect",),
        metrics=("dice",),
        tolerance_mm=1.0,
        cases=(CaseScores(id="a", group="a", values={"defect": {"dice": 0.25}}),),
        summary={"defect": {"dice": row}, "mean": {"dice": row}},
    )
    judge, state, points = judge_of(small, run, [scores, {"loss": 1.0}])
    judge.judge(state, points, interrupt=lambda step: None)
    assert state.best == 0.25
    event = next(run.events("validation"))
    assert (event["dice"], event["cases"], event["summary"]["defect"]["dice"]) == (0.25, 1, 0.25)
    judge.judge(state, points, interrupt=lambda step: None)  # no Dice: noted, never the best
    assert state.best == 0.25


def test_a_failing_validation_gives_the_network_back(small, run):
    judge, state, points = judge_of(small, run, [])
    before = state.network[0].weight.data_ptr()
    with pytest.raises(StopIteration):
        judge.judge(state, points, interrupt=lambda step: None)
    assert state.network[0].weight.data_ptr() == before
    assert state.network.training


def test_with_a_budget_validation_takes_a_bounded_share(small, run, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def validate(network):
        now[0] += 3.0
        return {"dice": 0.5}

    training = small.training_plan(steps=1000)
    judge = Judge(validate, training, run, Quiet(), timed=True)
    state, points = State.fresh(small.small_network(), training), Checkpoints(run, 0)
    state.step, state.seconds = 125, 0.01
    assert judge.due(state)  # the first one: nobody knows yet what it costs
    assert judge.judge(state, points, interrupt=lambda step: None) == 3.0
    state.step, state.seconds = 250, 39.9
    assert not judge.due(state)  # 3 s spent and 3 s more are over 15 % of 39.9 s
    state.seconds = 40.1
    assert judge.due(state)
    assert judge.to_come(state, 1000.0) == pytest.approx(7 * 3.0)  # one is behind us
    assert judge.to_come(state, 0.0) == pytest.approx(3.0)
    assert judge.last_cost(state) == 3.0
