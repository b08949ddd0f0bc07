"""The gate on made-up scores: a worse model never passes, a better one does, what must be found is found."""

from __future__ import annotations

import numpy as np
import pytest

from unetkit.errors import UsageError
from unetkit.metrics import noninferiority
from unetkit.metrics.score import summarise
from unetkit.records.chain import Link
from unetkit.records.registered import GOLDEN
from unetkit.records.scores import CaseObjects, CaseScores, Scores
from unetkit.workflows.promotion import Asked, asked_sets, compare_set, decide


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


def pair(random: np.random.Generator, better_by: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Two models on as many cases; one in twenty is lost by the one, and one in twenty by the other."""
    live = random.uniform(0.6, 0.9, count)
    candidate = live + better_by + random.normal(0, 0.02, count)
    fate = random.random(count)
    return np.where(fate < 0.05, live - 0.2, candidate), np.where(fate > 0.95, live - 0.2, live)


@pytest.fixture
def not_counted(monkeypatch):
    """How many groups would show it, on which the answer does not hang, takes longest: tests/metrics."""
    monkeypatch.setattr(noninferiority, "groups_needed", lambda values, *, margin: None)


@pytest.mark.usefixtures("not_counted")
def test_a_worse_model_is_never_promoted_in_100_tries_and_a_better_one_in_95():
    random = np.random.default_rng(0)
    worse = sum(passes(*pair(random, -0.03, 80)) for _ in range(100))
    better = sum(passes(*pair(random, 0.03, 80)) for _ in range(100))
    assert worse == 0
    assert better >= 95


@pytest.mark.usefixtures("not_counted")
def test_one_that_is_worse_by_the_margin_passes_in_one_of_twenty_at_most():
    random = np.random.default_rng(1)
    promoted = sum(passes(*pair(random, -0.01, 40)) for _ in range(100))
    assert promoted <= 0.05 * 100 + 2 * np.sqrt(100 * 0.05 * 0.95)


def test_what_cannot_be_shown_does_not_pass_and_how_much_it_takes_is_said():
    live = np.array([0.9, 0.5, 0.7, 0.3, 0.6, 0.4])
    wide = live + np.array([0.3, -0.2, 0.2, -0.1, 0.25, -0.15])  # better on average, and perhaps by luck
    found = compare_set("set", scores_of(wide), scores_of(live))
    assert found.difference == pytest.approx(0.05)
    assert "lower (one-sided 95 %), 0.01 is allowed; if the difference is the +0.0500" in found.refused
    assert f"about {found.needed} groups would show it, these are 6" in found.refused
    worse = compare_set("set", scores_of(live - 0.03 + 0.1 * (wide - live)), scores_of(live))
    assert worse.refused.endswith("0.01 is allowed, and it is 0.0250 lower here")
    assert worse.needed is None


def test_too_few_groups_tell_nothing():
    live = np.full(8, 0.5)
    one = compare_set("set", scores_of(live + 0.1, groups=1), scores_of(live, groups=1))
    assert one.refused == "too few groups to tell: 1, at least 5 are needed"
    assert (one.cases, one.groups, one.bound) == (8, 1, None)
    assert not compare_set("set", scores_of(live + 0.1, groups=5), scores_of(live, groups=5)).refused
    none = CaseScores(id="a", group="a", values={"defect": {"dice": None}})
    empty = scores_of(live).model_copy(update={"cases": (none,)})
    assert compare_set("set", empty, empty).refused == "no case has an object of any class"


def test_what_a_candidate_sees_where_nothing_is_counts():
    """An answer without objects has no Dice where there are none; one with objects must not go for free."""
    rows = scores_of(np.full(20, 0.7)).cases
    clean = [row.model_copy(update={"values": {"defect": {"dice": None}}}) for row in rows[:10]]
    alarms = [row.model_copy(update={"values": {"defect": {"dice": 0.0}}}) for row in rows[:10]]
    live, noisy = (
        summarise(
            [*few, *rows[10:]], classes=("defect",), metrics=("dice",), tolerance_mm=1.0, split="unknown"
        )
        for few in (clean, alarms)
    )
    found = compare_set("set", noisy, live)
    assert (found.cases, found.live, found.candidate) == (20, 0.85, 0.35)
    assert "Dice may be" in found.refused
    assert not compare_set("set", live, live).refused


def test_more_missed_objects_than_chance_explains_are_refused():
    live = np.full(20, 0.7)
    found = compare_set("set", scores_of(live + 0.1, missed=7), scores_of(live, missed=2))
    words = "7 objects are missed entirely, the live model misses 2, which chance does not explain (p 0.031)"
    assert found.refused == words
    assert not compare_set("set", scores_of(live + 0.1, missed=6), scores_of(live, missed=2)).refused


def test_an_object_that_must_be_found_and_was_is_found_again():
    """However good the rest is, and however few they are; nothing but the objects is asked."""
    live, good = np.array([0.7, 0.0]), np.array([0.0, 1.0])

    def with_objects(values, missed):
        rows = [
            case.model_copy(update={"objects": {"defect": CaseObjects(missed=(4.0,) * count)}})
            for case, count in zip(scores_of(values).cases, missed, strict=True)
        ]
        return scores_of(values).model_copy(update={"cases": tuple(rows)})

    lost = compare_set("hard", with_objects(good, (1, 0)), with_objects(live, (0, 1)), must_find=True)
    assert lost.refused == "objects are missed that the live model finds: case0 (defect)"
    assert (lost.missed_live, lost.missed_candidate) == (1, 1)
    kept = compare_set("hard", with_objects(live - 0.5, (0, 0)), with_objects(live, (0, 1)), must_find=True)
    assert kept.refused == ""
    many = compare_set("hard", scores_of(np.zeros(5), missed=5), scores_of(np.ones(5)), must_find=True)
    assert many.refused.endswith("case0 (defect), case1 (defect), case2 (defect) and 2 more")
    sample = compare_set("sample", scores_of(np.full(9, 0.8)), scores_of(np.full(9, 0.7)))
    assert decide(2, 1, [sample, kept]).refused == ()
    assert decide(2, 1, [sample, lost]).refused == (f"hard: {lost.refused}",)
    with pytest.raises(UsageError, match="this registry has no golden set"):
        decide(2, 1, [kept])


def test_every_set_has_its_say_and_one_must_be_better():
    live = np.full(20, 0.7)
    up, same, down = (
        compare_set(name, scores_of(live + step), scores_of(live))
        for name, step in (("up", 0.1), ("same", 0.0), ("down", -0.1))
    )
    assert decide(2, 1, [up, same]).refused == ()
    assert decide(2, 1, [up, down]).refused[0].startswith("down: Dice may be 0.1000 lower")
    assert decide(2, 1, [same]).refused == ("it is better on no golden set",)
    assert up.p_value is not None
    assert up.p_value < 1e-4
    assert (up.live, up.candidate, up.cases, up.groups) == (0.7, 0.8, 20, 20)
    assert up.bound == pytest.approx(0.1)


def test_the_first_one_has_nothing_to_be_worse_than_but_needs_a_set():
    first = compare_set("set", scores_of(np.full(3, 0.2), missed=1), None)
    assert decide(1, None, [first]).refused == ()
    assert (first.candidate, first.live, first.missed_candidate) == (0.2, None, 1)
    with pytest.raises(UsageError, match=r"this registry has no golden set.*--golden"):
        decide(1, None, [])


def test_sets_are_remembered_with_the_way_they_are_asked(tmp_path):
    old, hard, new = (tmp_path / name for name in ("old", "hard", "new"))
    for folder in (old, hard, new):
        folder.mkdir()
    facts = [
        {"source": str(old), "contents": "a"},  # as written before there were two ways
        {"source": str(hard), "contents": "b", "must_find": True},
    ]
    links = [Link(number=1, time="", event=GOLDEN, facts=each, before="", hash="") for each in facts]
    wanted = {str(old): Asked("a", False), str(hard): Asked("b", True), str(new): Asked("", False)}
    assert asked_sets([new, old], [hard], links) == wanted
    for words in (([hard], []), ([], [old]), ([new], [new])):
        with pytest.raises(UsageError, match="named both as a golden set and as one of objects"):
            asked_sets(*words, links)
    hard.rmdir()
    with pytest.raises(UsageError, match="this golden set is gone"):
        asked_sets([], [], links)
