from __future__ import annotations

import pytest
import torch

from unetkit.records.progress import Quiet
from unetkit.training import diary as rooms
from unetkit.training.diary import Diary
from unetkit.training.horizon import Horizon
from unetkit.training.state import State


@pytest.fixture
def clock(monkeypatch):
    now = [50.0]
    monkeypatch.setattr(rooms.time, "monotonic", lambda: now[0])
    return now


def test_rows_are_rare_and_hold_means_and_shares(small, run, clock):
    state = State.fresh(small.small_network(), small.training_plan(steps=1000))
    state.seconds = 7.0
    diary = Diary(run, Quiet(), state)

    def slow():
        while True:
            clock[0] += 0.1
            yield object()

    with diary.watch(slow()) as batches:
        for step in range(1, 42):
            next(batches)
            clock[0] += 0.4
            state.step = step
            diary.step(state, {"dice": torch.tensor(float(step))}, rate=0.5, norm=2.0)
    rows = list(run.events("step"))
    assert [row["step"] for row in rows] == [1, 5, 9, 13, 17, 21, 25, 29, 33, 37, 41]
    assert rows[1]["terms"] == {"dice": 3.5}  # mean of steps 2 to 5
    assert rows[1]["steps_per_second"] == pytest.approx(2.0)
    assert rows[1]["data_wait_share"] == pytest.approx(0.2)
    assert rows[1]["learning_rate"] == 0.5
    assert rows[-1]["seconds"] == pytest.approx(7.0 + 41 * 0.5)
    assert state.seconds == pytest.approx(27.5)
    assert all("borrowed" not in row for row in rows)


def test_a_row_says_how_much_of_the_patches_was_borrowed(small, run, clock):
    state = State.fresh(small.small_network(), small.training_plan(steps=5))
    diary = Diary(run, Quiet(), state)
    shares = [[0.0, 0.5], [0.1, 0.3], [0.0, 0.0], [0.4, 0.8], [1.0, 0.0]]
    for step, share in enumerate(shares, start=1):
        clock[0] += 1.0
        state.step = step
        diary.step(state, {"dice": torch.tensor(1.0)}, rate=0.5, norm=2.0, borrowed=torch.tensor(share))
    rows = [(row["step"], row["borrowed"]) for row in run.events("step")]
    assert rows == [(1, 0.25), (3, 0.1), (5, 0.55)]


def test_a_validation_does_not_count_as_slowness(small, run, clock):
    state = State.fresh(small.small_network(), small.training_plan(steps=3))
    diary = Diary(run, Quiet(), state)
    for step in (1, 2, 3):
        clock[0] += 0.5
        state.step = step
        diary.step(state, {"dice": torch.tensor(1.0)}, rate=0.5, norm=2.0)
        clock[0] += 30.0
        diary.set_aside(30.0)
    assert [row["steps_per_second"] for row in run.events("step")] == [2.0, 2.0]
    assert state.seconds == pytest.approx(61.5)  # but it is time spent


def test_a_stream_without_close_and_one_that_ends(small, run):
    state = State.fresh(small.small_network(), small.training_plan())
    with Diary(run, Quiet(), state).watch(iter([1, 2])) as batches:
        assert list(batches) == [1, 2]


def test_horizon_and_end_are_noted(small, run):
    state = State.fresh(small.small_network(), small.training_plan())
    diary = Diary(run, Quiet(), state)
    diary.counted(Horizon(40, 10, 0.25))
    state.step = 12
    diary.finished(state, "steps")
    assert next(run.events("horizon")) == {"event": "horizon", "steps": 40, "step": 10, "progress": 0.25}
    end = next(run.events("finished"))
    assert (end["step"], end["progress"], end["reason"]) == (12, 1.0, "steps")
