"""Counts of any network against the analytic ones, against torch's own counter, and against arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from unetkit.errors import UsageError
from unetkit.networks.unet import build
from unetkit.planning import count as counting
from unetkit.planning.cost import LANES, multiply_adds, parameters
from unetkit.planning.count import count, count_tile, living_bytes
from unetkit.planning.memory import saved_bytes
from unetkit.planning.topology import feature_elements, network_for, topology
from unetkit.records.plan import EXAMPLE, NetworkPlan, Plan

SHAPES = [
    ((1.0, 1.0), (32, 48), "plain"),
    ((4.0, 1.0, 1.0), (8, 32, 32), "plain"),
    ((1.0, 1.0), (32, 32), "resenc-m"),
    ((1.0, 1.0, 1.0), (16, 16, 16), "resenc-m"),
]


@pytest.mark.parametrize(("spacing", "patch", "preset"), SHAPES)
def test_it_is_what_the_analytic_count_says(spacing, patch, preset):
    network = network_for(topology(spacing, patch), first_width=24, preset=preset)
    network = network.model_copy(update={"deep_supervision": 1})
    asked = {"rank": len(patch), "in_channels": 2, "classes": 3, "patch": patch}
    found = count(network, **asked)
    assert found.multiply_adds == multiply_adds(network, **asked)
    assert found.lane_multiply_adds == multiply_adds(network, **asked, lanes=LANES)
    assert found.parameters == pytest.approx(parameters(network, in_channels=2, classes=3), rel=0.02)
    assert found.outputs == (patch,)
    if preset == "plain":
        assert found.elements == feature_elements(network, patch, 3)


def test_at_odd_sizes_the_pixels_that_are_cut_off_count_too():
    network = network_for(topology((1.0, 1.0), (37, 41)), first_width=24)
    asked = {"rank": 2, "in_channels": 2, "classes": 3, "patch": (37, 41)}
    exact, rough = count(network, **asked).multiply_adds, multiply_adds(network, **asked)
    assert rough < exact < 1.01 * rough


@pytest.mark.parametrize(("spacing", "patch", "preset"), SHAPES[:2])
def test_it_is_what_torch_counts_on_a_real_network(spacing, patch, preset):
    network = network_for(topology(spacing, patch), first_width=8, preset=preset)
    real = build(network, rank=len(patch), in_channels=1, classes=2)
    with FlopCounterMode(display=False) as counter:
        outputs = real(torch.zeros(1, 1, *patch))
    found = count(network, rank=len(patch), in_channels=1, classes=2, patch=patch)
    assert found.multiply_adds == counter.get_total_flops() / 2
    assert found.parameters == sum(weight.numel() for weight in real.parameters())
    assert found.outputs == tuple(tuple(output.shape[2:]) for output in outputs)


@pytest.mark.parametrize(("spacing", "patch", "preset"), [SHAPES[0], *SHAPES[2:]])
def test_saved_bytes_are_near_those_of_a_real_pass(spacing, patch, preset):
    network = network_for(topology(spacing, patch), first_width=32, preset=preset)
    asked = {"rank": len(patch), "in_channels": 1, "classes": 2, "patch": patch}
    assert count(network, **asked).saved_bytes == pytest.approx(saved_bytes(network, **asked), rel=0.1)


def test_a_grouped_convolution_and_products_by_hand(monkeypatch):
    """Depthwise 3x3, pointwise, attention of 16 tokens: what the plain family does not have."""

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.depthwise = nn.Conv2d(20, 20, 3, padding=1, groups=20, bias=False)
            self.point = nn.Linear(20, 24)

        def forward(self, x):
            tokens = self.point(self.depthwise(x).flatten(2).transpose(1, 2))
            return (tokens @ tokens.transpose(1, 2) @ tokens).transpose(1, 2).unflatten(2, x.shape[2:])

    monkeypatch.setattr(counting, "build", lambda *_, **__: Odd())
    counting._counted.cache_clear()
    found = count(NetworkPlan(**EXAMPLE["network"]), rank=2, in_channels=20, classes=24, patch=(4, 4))
    counting._counted.cache_clear()
    assert found.multiply_adds == 16 * 9 * 20 + 16 * 20 * 24 + 2 * 16 * 16 * 24
    assert found.lane_multiply_adds == 16 * 9 * 32 + 16 * 32 * 32 + 2 * 16 * 16 * 32
    assert found.elements == 16 * 20 + 16 * 24 + 16 * 16 + 16 * 24
    assert found.parameters == 20 * 9 + 20 * 24 + 24


def test_a_batch_norm_over_a_single_pixel_is_counted():
    network = NetworkPlan(**{**EXAMPLE["network"], "norm": "batch"})
    assert count(network, rank=2, in_channels=1, classes=2, patch=(2, 2)).outputs == ((2, 2),)


def test_nothing_is_drawn_and_a_wrong_part_is_answered():
    before = torch.get_rng_state()
    network = NetworkPlan(**{**EXAMPLE["network"], "widths": (4, 12)})
    count(network, rank=2, in_channels=1, classes=2, patch=(16, 16))
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(UsageError, match="there is no fusion 'conkat'"):
        count(
            network.model_copy(update={"fusion": "conkat"}), rank=2, in_channels=1, classes=2, patch=(16, 16)
        )


def test_a_network_that_answers_computes_its_finest_output_alone():
    shape = topology((1.0, 1.0), (32, 32), smallest_edge=4)
    deep = network_for(shape, first_width=8).model_copy(update={"deep_supervision": 2})
    asked = {"rank": 2, "in_channels": 1, "classes": 3, "patch": (32, 32)}
    learning, answering = count(deep, **asked), count(deep, **asked, training=False)
    assert learning.outputs == ((32, 32), (16, 16))
    assert answering.outputs == ((32, 32),)
    second = 3 * deep.widths[1] * 16 * 16  # the head of the second finest stage
    assert learning.multiply_adds - answering.multiply_adds == second
    assert learning.elements - answering.elements == 3 * 16 * 16
    assert learning.parameters == answering.parameters


def test_a_tile_is_counted_as_the_plan_gives_it_to_the_network():
    plan = Plan.model_validate(EXAMPLE).with_values({"inference.tile_size": "[16,48]"})
    asked = {"rank": 2, "in_channels": 1, "classes": 2}
    assert count_tile(plan) == count(plan.network, **asked, patch=(16, 48), training=False)
    assert count_tile(plan).multiply_adds == multiply_adds(plan.network, **asked, patch=(16, 48))
    sliced = plan.model_copy(
        update={
            "data": plan.data.model_copy(update={"rank": 3, "slice_axis": 0, "context_slices": 1}),
        }
    )
    assert count_tile(sliced).outputs == ((16, 48),)
    assert count_tile(sliced).multiply_adds > count_tile(plan).multiply_adds  # three slices go in


def test_what_lives_at_once_by_hand(monkeypatch):
    """Two maps of 4 channels at a time, beside the image of 1 and the weights."""

    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(1, 4, 3, padding=1)
            self.rest = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))

        def forward(self, x):
            x = self.first(x)
            for layer in self.rest:
                x = layer(x).relu_()
            return x

    monkeypatch.setattr(counting, "build", lambda *_, **__: Chain())
    weights = sum(weight.numel() for weight in Chain().parameters())
    assert living_bytes(Plan.model_validate(EXAMPLE)) == 4 * (weights + 32 * 32 * (1 + 4 + 4))


def test_a_skip_lives_until_it_is_used(monkeypatch):
    class Skipping(nn.Module):
        def __init__(self, skip: bool):
            super().__init__()
            self.layers = nn.ModuleList(nn.Conv2d(1, 1, 1, bias=False) for _ in range(3))
            self.skip = skip

        def forward(self, x):
            first = self.layers[0](x)
            deep = self.layers[1](first)
            if not self.skip:
                del first
            deep = self.layers[2](deep)
            return deep + first if self.skip else deep

    needs = []
    for skip in (True, False):
        monkeypatch.setattr(counting, "build", lambda *_, skip=skip, **__: Skipping(skip))
        needs.append(living_bytes(Plan.model_validate(EXAMPLE)))
    assert needs[0] - needs[1] == 4 * 32 * 32
