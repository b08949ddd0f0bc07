"""Budgets: enough steps, never a smaller network for more time, no tiny batches, no endless depth."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unetkit.networks.unet import build
from unetkit.planning.budget import (
    ENOUGH_STEPS,
    SMALLEST_BATCH,
    TRAINING_SHARE,
    Budget,
    Terms,
    candidate,
    choose,
    ladder,
    most_patches,
)
from unetkit.planning.cost import Cost

COST = Cost(gflops=275.0)
HIPPOCAMPUS = Terms((1.0, 1.0, 1.0), (36.0, 50.0, 35.0), cases=157, channels=1, classes=3)
ISBI = Terms((1.0, 1.0), (512.0, 512.0), cases=30, channels=1, classes=2)
STEEL = Terms((1.0, 1.0), (200.0, 200.0), cases=470, channels=1, classes=4)


def budget(minutes, gb=16.0, cost: Cost | None = COST):
    return Budget(seconds=60 * minutes, gb=gb, patch_gb=min(8.0, gb), cost=cost)


@st.composite
def data_sets(draw):
    rank = draw(st.sampled_from([2, 3]))
    spacing = (
        draw(st.tuples(*[st.sampled_from([0.5, 1.0, 1.3, 3.0, 6.0])] * rank)) if rank == 3 else (1.0, 1.0)
    )
    longest = 600 if rank == 2 else 200
    median = draw(st.tuples(*[st.integers(1, longest)] * rank))
    cases, channels = draw(st.integers(1, 300)), draw(st.integers(1, 4))
    return Terms(spacing, tuple(map(float, median)), cases, channels, draw(st.integers(2, 6)))


def test_hippocampus_in_half_an_hour():
    choice = choose(HIPPOCAMPUS, budget(30))
    shape = choice.candidate.shape
    assert (shape.patch, shape.stages) == ((32, 48, 32), 4)
    assert choice.candidate.network.widths[0] in (16, 24, 32)
    assert choice.batch in (2, 4)
    assert choice.steps >= 3000


def test_thirty_pictures_of_512_in_ten_minutes():
    choice = choose(ISBI, budget(10))
    assert choice.candidate.shape.patch == (256, 256)
    assert choice.candidate.network.widths[0] == 16
    assert choice.candidate.shape.stages <= 6
    assert choice.batch >= 4
    assert choice.steps >= 1500


@pytest.mark.parametrize("minutes", [0, 5, 60, 600])
def test_thirty_pictures_of_512_never_get_batch_2_or_8_stages(minutes):
    choice = choose(ISBI, budget(minutes))
    assert choice.batch >= 4
    assert choice.candidate.shape.stages <= 7


def test_a_small_picture_is_seen_nearly_whole():
    choice = choose(STEEL, budget(10))
    assert choice.candidate.shape.patch == (192, 192)
    assert choice.candidate.shape.stages == 5


def test_without_a_time_budget_it_is_nnunets_patch_and_width():
    choice = choose(HIPPOCAMPUS, budget(0, gb=64.0))
    assert choice.candidate.shape.patch == (40, 56, 40)
    assert choice.candidate.network.widths == (32, 64, 128, 256)
    assert choice.batch == 6  # 9 for the memory, 6 for 5 % of 157 cases
    assert choice.steps == 0
    assert choice.step_seconds > 0
    assert choose(HIPPOCAMPUS, budget(0, cost=None)).step_seconds == 0


def test_the_bottleneck_of_a_picture_keeps_8_pixels():
    for patch in ((512, 512), (256, 256), (200, 200), (96, 1024)):
        shape = candidate(ISBI, patch, 16).shape
        assert min(p // d for p, d in zip(shape.patch, shape.divisors, strict=True)) >= 8
        assert shape.stages <= 7


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 5), (9, 9), (15, 17)])
def test_a_tiny_picture_still_gets_two_stages(size):
    rung = candidate(ISBI, size, 8)
    assert rung.shape.stages >= 2
    assert all(p >= s for p, s in zip(rung.shape.patch, size, strict=True))
    build(rung.network, rank=2, in_channels=1, classes=2)


def test_little_memory_means_less():
    rich, poor = choose(HIPPOCAMPUS, budget(600)), choose(HIPPOCAMPUS, budget(600, gb=0.4))
    assert poor.candidate.weights < rich.candidate.weights
    assert poor.stopped_by == "memory"
    assert choose(HIPPOCAMPUS, budget(0, gb=0.01)).batch == 1


def test_the_cap_of_five_percent():
    assert most_patches(ISBI, (512, 512)) == 4  # 5 % would be 2
    assert most_patches(ISBI, (128, 128)) == 24
    assert most_patches(HIPPOCAMPUS, (40, 56, 40)) == round(0.05 * 36 * 50 * 35 * 157 / (40 * 56 * 40))


@settings(deadline=None, max_examples=25)
@given(terms=data_sets(), minutes=st.floats(0.5, 300), more=st.floats(1.0, 20))
def test_more_minutes_never_give_a_smaller_network(terms, minutes, more):
    short, long = choose(terms, budget(minutes)), choose(terms, budget(minutes * more))
    assert long.candidate.weights >= short.candidate.weights
    assert long.candidate.network.widths[0] >= short.candidate.network.widths[0]
    assert all(b >= a for a, b in zip(short.candidate.shape.patch, long.candidate.shape.patch, strict=True))


@settings(deadline=None, max_examples=25)
@given(terms=data_sets(), minutes=st.floats(0, 300), gb=st.floats(0.05, 64))
def test_every_choice_is_one_that_can_be_trained(terms, minutes, gb):
    choice = choose(terms, budget(minutes, gb=gb))
    shape, network = choice.candidate.shape, choice.candidate.network
    assert choice.batch >= 1
    assert 2 <= shape.stages <= 7
    assert all(p % d == 0 for p, d in zip(shape.patch, shape.divisors, strict=True))
    assert 1 <= network.deep_supervision <= shape.stages - 1
    if minutes and choice.steps > 1:
        assert choice.steps * choice.step_seconds <= 60 * minutes * TRAINING_SHARE + choice.step_seconds
    rungs = ladder(terms, patch_gb=min(8.0, gb), trimmed=True)
    if minutes and choice.candidate != rungs[0]:
        least = SMALLEST_BATCH[terms.rank]
        seen = choice.candidate.seconds(COST, least) * ENOUGH_STEPS[terms.rank]
        assert seen <= 60 * minutes * TRAINING_SHARE * (1 + 1e-9)


@settings(deadline=None, max_examples=25)
@given(terms=data_sets())
def test_each_rung_is_above_the_last(terms):
    rungs = ladder(terms, patch_gb=8.0)
    for below, above in itertools.pairwise(rungs):
        assert above.weights >= below.weights
        assert above.seconds(COST, 2) >= below.seconds(COST, 2)
        assert math.prod(above.shape.patch) >= math.prod(below.shape.patch)
