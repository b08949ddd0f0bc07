from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from unetkit.errors import UsageError
from unetkit.training.horizon import Clock, Horizon

COUNTS = st.lists(st.tuples(st.integers(1, 50), st.integers(-30, 300)), max_size=8)


@settings(deadline=None, max_examples=60)
@given(steps=st.integers(1, 500), counts=COUNTS)
def test_progress_never_falls_is_continuous_and_ends_at_exactly_one(steps, counts):
    horizon, step = Horizon(steps), 0
    assert horizon.progress(0) == 0.0
    last = 0.0
    for walk, change in counts:
        for now in range(step, min(step + walk, horizon.steps) + 1):
            assert last <= horizon.progress(now) <= 1.0
            last = horizon.progress(now)
        step = min(step + walk, horizon.steps)
        if step >= horizon.steps:
            break
        bent = horizon.recounted(step, horizon.steps + change)
        assert bent.progress(step) == horizon.progress(step)  # continuous: to the last bit
        assert bent.steps > step
        horizon = bent
    assert horizon.progress(horizon.steps) == 1.0
    assert horizon.progress(horizon.steps - 1) < 1.0


def test_a_bent_line_by_hand():
    # Half done at 50 of 100, then the end moves to 150: the other half takes 100 steps.
    bent = Horizon(100).recounted(50, 150)
    assert [bent.progress(step) for step in (50, 75, 100, 150)] == [0.5, 0.625, 0.75, 1.0]


class Machine:
    """A clock that moves by what a step takes."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def drive(clock, machine, horizon, seconds, *, reserve=0.0, limit=100_000):
    """Take steps until the clock says stop; returns steps, horizon and all progress values."""
    step, seen = 0, [0.0]
    while clock.over(horizon, step, reserve=reserve) is None and step < limit:
        machine.now += seconds(step)
        step += 1
        horizon = clock.tick(horizon, step, reserve=reserve) or horizon
        seen.append(horizon.progress(step))
    return step, horizon, seen


@settings(deadline=None, max_examples=25)
@given(
    pace=st.floats(0.05, 5.0),
    first=st.floats(1.0, 20.0),
    drift=st.floats(0.5, 2.0),
    reserve=st.floats(0.0, 10.0),
)
def test_the_schedule_ends_with_the_budget(small, pace, first, drift, reserve):
    assume(pace * first < 20)  # after a first step of most of the budget, stopping is the right answer
    machine = Machine()
    budget = 120.0
    clock = Clock(small.training_plan(steps=0), machine.now + budget, now=machine)
    horizon = Horizon.planned(small.training_plan(steps=0))

    def seconds(step):
        if step == 0:
            return pace * first  # the first step warms up
        return pace * (drift if machine.now > 160 else 1.0)  # and the machine changes its speed half-way

    step, horizon, seen = drive(clock, machine, horizon, seconds, reserve=reserve)
    assert machine.now - 100.0 <= budget - reserve + pace * max(first, drift)
    assert machine.now - 100.0 >= budget - reserve - 3 * pace * max(1.0, drift) - 0.02 * budget
    assert seen == sorted(seen)
    assert step < 10 or seen[-1] == 1.0 or horizon.steps - step <= max(2, 0.02 * step)


def test_validations_are_inside_the_budget_but_not_in_the_speed(small):
    machine = Machine()
    clock = Clock(small.training_plan(steps=0), machine.now + 100, now=machine)
    horizon = Horizon.planned(small.training_plan(steps=0))
    for step in range(1, 21):
        machine.now += 1.0
        horizon = clock.tick(horizon, step) or horizon
    machine.now += 30.0
    clock.set_aside(30.0)
    machine.now += 1.0
    horizon = clock.tick(horizon, 21)
    assert horizon is not None
    assert horizon.steps == 21 + 49  # 100 s - 21 steps - 30 s, one step a second
    assert clock.left == pytest.approx(49.0)


def test_a_number_of_steps_makes_the_clock_deaf(small):
    machine = Machine()
    clock = Clock(small.training_plan(steps=50), machine.now + 1, now=machine)
    step, horizon, _ = drive(clock, machine, Horizon(50), lambda step: 9.0)
    assert (step, horizon) == (50, Horizon(50))
    assert clock.over(horizon, 50) == "steps"
    assert clock.left == float("inf")


def test_the_plan_may_ask_for_other_steps_on_resume(small):
    clock = Clock(small.training_plan(steps=50), None)
    assert clock.begin(Horizon(50), 10) == Horizon(50)
    assert clock.begin(Horizon(20), 10) == Horizon(50, 10, 0.5)
    assert clock.over(clock.begin(Horizon(100), 60), 60) == "steps"


def test_nothing_to_end_the_run_is_refused(small):
    with pytest.raises(UsageError, match=r"set training.steps or training.minutes"):
        Clock(small.training_plan(steps=0), None)
