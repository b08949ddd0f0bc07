import time

import pytest
import torch
from torch import nn

from unetkit.compression.parity import (
    Change,
    changes,
    raise_if_lost,
    seconds_per_tile,
    worst_changed,
    worst_loss,
)
from unetkit.errors import DataError, GateError
from unetkit.metrics.score import summarise
from unetkit.records.scores import CaseScores, Scores
from unetkit.runtimes.devices import Layout
from unetkit.runtimes.pytorch import PytorchRuntime

NAMES = ("scratch", "hole")


def scores(rows: dict[str, dict[str, tuple[float | None, float | None]]]) -> Scores:
    """Case → class → Dice and HD95."""
    cases = [
        CaseScores(
            id=id,
            group=id[0],
            values={name: {"dice": dice, "hd95": far} for name, (dice, far) in row.items()},
        )
        for id, row in rows.items()
    ]
    return summarise(
        cases, classes=NAMES, metrics=("dice", "hd95"), tolerance_mm=1.0, split="held-out", calibration=()
    )


BEFORE = scores(
    {
        "a1": {"scratch": (0.9, 2.0), "hole": (0.8, 1.0)},
        "b1": {"scratch": (0.7, 4.0), "hole": (None, None)},
        "b2": {"scratch": (None, None), "hole": (None, None)},
    }
)
AFTER = scores(
    {
        "a1": {"scratch": (0.8, 3.0), "hole": (0.9, 1.0)},
        "b1": {"scratch": (0.8, 4.0), "hole": (0.0, 9.0)},
        "b2": {"scratch": (None, None), "hole": (None, None)},
    }
)


def test_changes_are_those_worked_out_by_hand():
    found = changes(BEFORE, AFTER)
    scratch = found["scratch"]["dice"]
    assert (scratch.before, scratch.after, scratch.cases) == (pytest.approx(0.8), pytest.approx(0.8), 2)
    assert scratch.mean == pytest.approx(0.0)
    assert scratch.low == pytest.approx(-0.1)
    assert scratch.high == pytest.approx(0.1)
    hole = found["hole"]["dice"]  # what is found where nothing is counts as a loss from 1
    assert (hole.before, hole.after) == (pytest.approx(0.9), pytest.approx(0.45))
    assert found["hole"]["hd95"].mean == pytest.approx((0.0 + 9.0) / 2)
    assert found["mean"]["dice"].mean == pytest.approx(((0.85 - 0.85) + (0.4 - 0.85)) / 2)


def test_the_cases_that_lost_most_come_first():
    (one,) = worst_changed(BEFORE, AFTER)
    assert (one.id, one.before, one.after) == ("b1", pytest.approx(0.85), pytest.approx(0.4))
    assert worst_changed(BEFORE, AFTER, count=0) == ()
    assert worst_changed(AFTER, AFTER) == ()


def test_the_gate_names_each_class_that_lost_too_much():
    found = changes(BEFORE, AFTER)
    with pytest.raises(GateError, match=r"at most 0.5 points of Dice, got 'hole' 45.00; nothing") as caught:
        raise_if_lost(found, 0.5)
    assert caught.value.exit_code == 4
    assert "--max-loss" in caught.value.cure
    with pytest.raises(GateError, match=r"45.00; 'round 1' lost 0.30; nothing was published"):
        raise_if_lost(found, 0.5, kept="'round 1' lost 0.30")
    assert worst_loss(found) == pytest.approx(45.0)
    raise_if_lost(found, 45.0)
    raise_if_lost(changes(BEFORE, BEFORE), 0.0)


def test_nothing_measured_is_no_pass():
    nothing = {
        "hole": {
            "dice": Change(before=None, after=None, mean=None, low=None, high=None, p_value=None, cases=0)
        }
    }
    assert worst_loss(nothing) is None
    with pytest.raises(GateError, match="got none"):
        raise_if_lost(nothing, 100.0)


def test_other_cases_are_refused():
    fewer = scores({"a1": {"scratch": (0.9, 2.0), "hole": (0.8, 1.0)}})
    with pytest.raises(DataError, match="'b1' is in one of them alone"):
        changes(BEFORE, fewer)


class Waiting(nn.Module):
    def __init__(self, seconds: float):
        super().__init__()
        self.seconds = seconds

    def forward(self, x):
        time.sleep(self.seconds)
        return x


def test_times_are_those_of_each():
    runtimes = [PytorchRuntime(Waiting(each), torch.device("cpu"), Layout()) for each in (0.02, 0.002)]
    slow, fast = seconds_per_tile(runtimes, (1, 4, 4))
    assert slow >= 0.02
    assert 0.002 <= fast < slow
