"""Blocks: the order of their parts, and the initialisation."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unetkit.networks.blocks import ConvBlock, ResidualBlock, conv_blocks, initialize


def leaky(x):
    return F.leaky_relu(x, 0.01)


def pixels(channels: int, size: int = 8) -> torch.Tensor:
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0))


def test_a_conv_block_is_conv_norm_leaky_relu():
    block = ConvBlock(2, 4, kernel=(3, 3), stride=(2, 1), norm="instance")
    x = pixels(2)
    plain = F.conv2d(x, block.conv.weight, block.conv.bias, stride=(2, 1), padding=1)
    torch.testing.assert_close(block(x), leaky(F.instance_norm(plain)), rtol=1e-4, atol=1e-5)


def test_a_conv_block_can_leave_the_activation_out_and_drop_channels():
    quiet = ConvBlock(2, 4, kernel=(3, 3), stride=(1, 1), norm="batch", activated=False)
    assert quiet(pixels(2)).mean((0, 2, 3)).abs().max() < 1e-5
    dropping = ConvBlock(2, 64, kernel=(3, 3), stride=(1, 1), norm="instance", drop=0.5)
    silent = (dropping(pixels(2)) == 0).all(dim=(2, 3)).float().mean()
    assert 0.2 < silent < 0.8
    assert not (dropping.eval()(pixels(2)) == 0).any()


@pytest.mark.parametrize(("width", "stride"), [(2, 1), (2, 2), (6, 1), (6, 2)])
def test_a_residual_block_adds_pooled_and_projected_input(width, stride):
    block = ResidualBlock(2, width, kernel=(3, 3), stride=(stride,) * 2, norm="instance")
    x = pixels(2)
    first, second = block.first.conv, block.second.conv
    way = leaky(F.instance_norm(F.conv2d(x, first.weight, first.bias, stride=stride, padding=1)))
    way = F.instance_norm(F.conv2d(way, second.weight, second.bias, padding=1))
    skip = F.avg_pool2d(x, stride)
    if width != 2:
        skip = F.instance_norm(F.conv2d(skip, block.skip[-2].weight[..., None, None]))
    torch.testing.assert_close(block(x), leaky(way + skip), rtol=1e-4, atol=1e-4)


def test_conv_blocks_stride_once():
    row = conv_blocks(1, 4, 3, kernel=(3, 3), stride=(2, 2), norm="instance", drop=0.0)
    assert len(row) == 3
    assert row(pixels(1)).shape == (2, 4, 4, 4)


def test_initialisation_is_he_with_slope_one_hundredth():
    torch.manual_seed(0)
    block = ConvBlock(64, 64, kernel=(3, 3), stride=(1, 1), norm="instance")
    nn.init.ones_(block.conv.bias)
    initialize(block)
    wanted = math.sqrt(2 / (1 + 0.01**2) / (64 * 9))
    assert block.conv.weight.std().item() == pytest.approx(wanted, rel=0.02)
    assert block.conv.bias.abs().max() == 0
    assert (block.norm.weight == 1).all()


def test_a_new_residual_block_of_one_width_is_the_activation_of_its_input():
    block = ResidualBlock(4, 4, kernel=(3, 3), stride=(1, 1), norm="instance")
    initialize(block)
    torch.testing.assert_close(block(pixels(4)), leaky(pixels(4)))
