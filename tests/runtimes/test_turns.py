"""Who does what when, and when it is over."""

from __future__ import annotations

from unetkit.runtimes import turns
from unetkit.runtimes.turns import in_turns, repeat


def works(log: list[str], **each: float):
    return [lambda name=name, spent=spent: log.append(name) or [spent] for name, spent in each.items()]


def test_each_has_one_turn_in_every_round_in_the_same_order():
    log: list[str] = []
    spent = in_turns(works(log, a=0.1, b=0.3), seconds=9, most=3)
    assert log == ["a", "b"] * 3
    assert spent == [[0.1] * 3, [0.3] * 3]


def test_no_round_is_begun_once_the_time_is_up_on_average_but_the_least_are_done():
    log: list[str] = []
    in_turns(works(log, slow=1.0, fast=0.0), seconds=1.0, most=9)  # two seconds for both
    assert log == ["slow", "fast"] * 2
    log.clear()
    in_turns(works(log, slow=5.0, fast=0.0), seconds=1.0, most=9, least=3)
    assert log == ["slow", "fast"] * 3


def test_a_turn_is_one_unit_at_least_and_goes_on_until_its_time_is_up(monkeypatch):
    now = [7.0]
    monkeypatch.setattr(turns.time, "perf_counter", lambda: now[0])

    def work():
        now[0] += 0.25

    assert repeat(work) == [0.25]
    assert repeat(work, seconds=1.0) == [0.25] * 4
    assert repeat(work, seconds=1.1) == [0.25] * 5
