"""The gate on made-up scores: a worse model never passes, a better one does, a miss is never bought."""

from __future__ import annotations

import numpy as np
import pytest

from unetkit.errors import UsageError
from unetkit.metrics.score import summarise
from unetkit.records.scores import CaseScores, Scores
from unetkit.workflows.promotion import compare_set, decide


def scores_of(values: np.ndarray, *, missed: int = 0, groups: int | None = None) -> Scores:
    """One class; ``missed`` of the cases have an object that was not found."""
    rows = [
        CaseScores(
            id=f"case{n}",
            group=f"group{n % (groups or len(values))}",
            values={"defect": {"dice": float(value)}},
            missed=("defect",) if n < missed else (),
        )
        for n, value in enumerate(values)
    ]
    return summarise(rows, classes=("defect",), metrics=("dice",), tolerance_mm=1.0, split="unknown")


def passes(candidate: np.ndarray, live: np.ndarray) -> bool:
    found = compare_set("set", scores_of(candidate), scores_of(live))
    return not decide(2, 1, [found]).refused


def test_a_worse_model_is_never_promoted_in_100_tries_and_a_better_one_in_95():
    random = np.random.default_rng(0)
    worse = better = 0
    for _ in range(100):
        live = random.uniform(0.6, 0.9, 40)
        noise = random.normal(0, 0.03, 40)
        worse += passes((live - 0.03 + noise).clip(0, 1), live)
        better += passes((live + 0.03 + noise).clip(0, 1), live)
    assert worse == 0
    assert better >= 95


def test_what_cannot_be_shown_does_not_pass():
    live = np.array([0.9, 0.5, 0.7, 0.3])
    wide = live + np.array([0.3, -0.2, 0.2, -0.1])  # better on average, and perhaps by luck
    found = compare_set("set", scores_of(wide), scores_of(live))
    assert found.difference > 0
    assert "lower (95 % interval), 0.01 is allowed" in found.refused
    one = compare_set("set", scores_of(live + 0.05, groups=1), scores_of(live, groups=1))
    assert one.refused == "its cases are of one group, so that no interval can be given"


def test_an_object_that_was_found_must_be_found_again():
    live = np.full(20, 0.7)
    found = compare_set("set", scores_of(live + 0.1, missed=3), scores_of(live, missed=2))
    assert found.refused == "3 objects are missed entirely, the live model misses 2"
    assert not compare_set("set", scores_of(live + 0.1, missed=2), scores_of(live, missed=2)).refused


def test_every_set_has_its_say_and_one_must_be_better():
    live = np.full(20, 0.7)
    up, same, down = (
        compare_set(name, scores_of(live + step), scores_of(live))
        for name, step in (("up", 0.1), ("same", 0.0), ("down", -0.1))
    )
    assert decide(2, 1, [up, same]).refused == ()
    assert decide(2, 1, [up, down]).refused[0].startswith("down: Dice may be 0.1000 lower")
    assert decide(2, 1, [same]).refused == ("it is better on no golden set",)
    assert up.p_value < 1e-4
    assert (up.live, up.candidate, up.cases) == (0.7, 0.8, 20)


def test_the_first_one_has_nothing_to_be_worse_than_but_needs_a_set():
    first = compare_set("set", scores_of(np.full(3, 0.2), missed=1), None)
    assert decide(1, None, [first]).refused == ()
    assert (first.candidate, first.live, first.missed_candidate) == (0.2, None, 1)
    with pytest.raises(UsageError, match=r"this registry has no golden set.*--golden"):
        decide(1, None, [])
