"""Strides change, values do not."""

import pytest
import torch
from torch import nn

from unetkit.spatial.memory_format import (
    arrange_weights,
    arranged,
    channels_last,
    meant_format,
    memory_format,
)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_values_stay_and_channels_come_last(rank):
    x = torch.randn(2, 3, *range(4, 4 + rank))
    y = arranged(x, "channels_last")
    assert torch.equal(x, y)
    assert y.is_contiguous(memory_format=channels_last(rank))
    if rank > 1:
        assert y.stride(1) == 1
    assert arranged(y, "contiguous").is_contiguous()
    assert arranged(y, "channels_last") is y


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.Conv3d])
def test_weights_are_arranged_in_place(kind):
    network = nn.Sequential(kind(3, 4, 3), nn.ReLU())
    weight, before = network[0].weight, network[0].weight.detach().clone()
    arrange_weights(network, "channels_last")
    assert network[0].weight is weight
    assert weight.stride(1) == 1
    assert torch.equal(weight, before)


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.Conv3d])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_kernel_says_which_format_is_meant_even_for_one_channel(kind, channels):
    layer = kind(channels, 4, 3)
    rank = layer.weight.dim() - 2
    assert meant_format(layer.weight) == torch.contiguous_format
    for name, wanted in (("channels_last", channels_last(rank)), ("contiguous", torch.contiguous_format)):
        arrange_weights(layer, name)
        assert meant_format(layer.weight) == wanted


def test_memory_format_is_contiguous_where_both_hold():
    assert memory_format(torch.zeros(2, 1, 4, 4)) == torch.contiguous_format
    assert memory_format(torch.zeros(2, 4)) == torch.contiguous_format
    for rank in (2, 3):
        x = torch.zeros(2, 3, *(4, 5, 6)[:rank])
        assert memory_format(arranged(x, "channels_last")) == channels_last(rank)
