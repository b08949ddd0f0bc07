"""The MedNeXt encoder."""

import pytest
import torch
from torch import nn

from unetkit.networks.blocks import initialize
from unetkit.networks.convnext import ConvNextBlock, ConvNextDown
from unetkit.networks.encoders.convnext import ConvNextEncoder
from unetkit.records.plan import NetworkPlan
from unetkit.spatial.layers import Pointwise


def plan(rank: int, **changes) -> NetworkPlan:
    values = {
        "encoder": "convnext",
        "widths": (4, 6, 8),
        "blocks": (1, 2, 1),
        "decoder_blocks": (1, 1),
        "kernels": ((3,) * rank, (5,) * rank, (3,) * rank),
        "strides": ((1,) * rank, (2,) * rank, (2,) * rank),
        "expansion": (2, 3, 4),
    }
    return NetworkPlan(**{**values, **changes})


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_stem_of_one_pixel_then_steps_down_and_blocks(rank, channels):
    encoder = ConvNextEncoder(plan(rank), rank, channels)
    size = (7, 10, 5)[:rank]
    features = encoder(torch.randn(1, channels, *size))
    assert [feature.shape[1] for feature in features] == [4, 6, 8]
    assert [feature.shape[2:] for feature in features] == [size, (4, 5, 3)[:rank], (2, 3, 2)[:rank]]
    assert isinstance(encoder.stem, Pointwise)
    kinds = [[type(block) for block in stage] for stage in encoder.stages]
    assert kinds == [
        [ConvNextBlock],
        [ConvNextDown, ConvNextBlock, ConvNextBlock],
        [ConvNextDown, ConvNextBlock],
    ]
    assert encoder.stages[1][0].branch.widen.weight.shape == (12, 4)  # the expansion of where it leads to
    assert encoder.stages[1][1].branch.spatial.weight.shape == (6, 1, *(5,) * rank)


def test_a_stem_may_stride():
    encoder = ConvNextEncoder(plan(2, strides=((2, 2),) * 3), 2, 1)
    assert [tuple(f.shape[2:]) for f in encoder(torch.randn(1, 1, 9, 8))] == [(5, 4), (3, 2), (2, 1)]


def test_a_new_one_is_its_steps_alone():
    encoder = ConvNextEncoder(plan(2), 2, 1)
    initialize(encoder)
    x = torch.randn(1, 1, 8, 8)
    *_, coarsest = encoder(x)
    for step in (encoder.stem, encoder.stages[1][0], encoder.stages[2][0]):
        x = step(x)
    assert torch.equal(coarsest, x)


def test_all_of_it_is_in_one_of_its_stages():
    encoder = ConvNextEncoder(plan(2), 2, 1)
    stages = encoder.blocks_by_stage()
    assert stages[0][0] is encoder.stem
    counted = sum(value.numel() for stage in stages for value in nn.ModuleList(stage).parameters())
    assert counted == sum(value.numel() for value in encoder.parameters())
