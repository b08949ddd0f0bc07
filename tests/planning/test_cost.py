"""The counted work against torch's own counter, the counted weights against the built network."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from unetkit.networks.unet import build
from unetkit.planning.cost import LANES, Cost, multiply_adds, parameters, step_bytes_guess
from unetkit.planning.topology import network_for, topology

SHAPES = [
    ("square", (1.0, 1.0), (32, 48), "plain"),
    ("flat volume", (4.0, 1.0, 1.0), (8, 32, 32), "plain"),
    ("cube", (1.0, 1.0, 1.0), (16, 16, 24), "plain"),
    ("residual", (1.0, 1.0), (32, 32), "resenc-m"),
    ("residual volume", (1.0, 1.0, 1.0), (16, 16, 16), "resenc-m"),
]


def planned(spacing, patch, preset, width=8, heads=2):
    shape = topology(spacing, patch)
    network = network_for(shape, first_width=width, preset=preset)
    return shape, network.model_copy(update={"deep_supervision": min(heads, shape.stages - 1)})


@pytest.mark.parametrize(
    ("spacing", "patch", "preset"), [row[1:] for row in SHAPES], ids=[r[0] for r in SHAPES]
)
def test_multiply_adds_are_those_torch_counts(spacing, patch, preset):
    shape, network = planned(spacing, patch, preset)
    net = build(network, rank=len(patch), in_channels=2, classes=3).train()
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(2, 2, *shape.patch))
    counted = multiply_adds(network, rank=len(patch), in_channels=2, classes=3, patch=shape.patch)
    assert counter.get_total_flops() == 2 * 2 * counted


@pytest.mark.parametrize(
    ("spacing", "patch", "preset"), [row[1:] for row in SHAPES], ids=[r[0] for r in SHAPES]
)
def test_parameters_are_those_of_the_built_network(spacing, patch, preset):
    _, network = planned(spacing, patch, preset)
    net = build(network, rank=len(patch), in_channels=2, classes=3)
    real = sum(weight.numel() for weight in net.parameters())
    assert parameters(network, in_channels=2, classes=3) == pytest.approx(real, rel=0.02)


def test_lanes_round_channels_up():
    _, network = planned((1.0, 1.0), (32, 32), "plain", width=24)
    _, wide = planned((1.0, 1.0), (32, 32), "plain", width=32)
    wanted = {"rank": 2, "in_channels": 1, "classes": 2, "patch": (32, 32)}
    exact, rounded = (multiply_adds(network, **wanted, lanes=lanes) for lanes in (1, LANES))
    assert exact < rounded < multiply_adds(wide, **wanted, lanes=LANES)
    first_stage = 9 * 32 * 32 * (1 * 32 + 32 * 32)
    assert first_stage > 9 * 32 * 32 * (1 * 24 + 24 * 24)


def test_seconds_by_hand():
    cost = Cost(gflops=100.0, gelements=0.5, step_seconds=0.25)
    assert cost.seconds(multiply_adds=10**9, elements=10**8, batch=2) == pytest.approx(
        0.25 + 2 * (0.06 + 0.2)
    )
    assert Cost(gflops=100.0).seconds(multiply_adds=0, elements=10**12, batch=1) == 0.0


def test_a_patch_of_another_rank_is_refused():
    _, network = planned((1.0, 1.0), (32, 32), "plain")
    with pytest.raises(ValueError, match="a patch of 2 axes was expected"):
        multiply_adds(network, rank=2, in_channels=1, classes=2, patch=(32, 32, 32))


def test_the_rule_of_thumb_grows_with_the_batch():
    one, two = (step_bytes_guess(1e6, 1e6, batch) for batch in (1, 2))
    assert math.isclose(two - one, 1.1 * 4 * 3 * 1e6)
