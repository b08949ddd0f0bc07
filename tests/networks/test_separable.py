"""Depthwise-separable blocks."""

import torch
from torch.nn import functional as F

from unetkit.networks.separable import SeparableBlock, separable_blocks


def test_a_separable_block_is_depthwise_then_pointwise_then_norm_and_leaky_relu():
    block = SeparableBlock(4, 6, kernel=(3, 3), norm="instance")
    x = torch.randn(2, 4, 7, 6)
    one_by_one = [F.conv2d(x[:, c : c + 1], block.depthwise.weight[c : c + 1], padding=1) for c in range(4)]
    mixed = F.conv2d(torch.cat(one_by_one, 1), block.pointwise.weight[..., None, None])
    torch.testing.assert_close(block(x), F.leaky_relu(F.instance_norm(mixed), 0.01), rtol=1e-4, atol=1e-5)


def test_it_has_a_fraction_of_the_weights():
    block = SeparableBlock(32, 32, kernel=(3, 3, 3), norm="batch")
    kernels = sum(weight.numel() for weight in block.parameters() if weight.ndim > 1)
    assert kernels == 27 * 32 + 32 * 32  # a ConvBlock: 27 · 32 · 32


def test_blocks_change_the_width_once():
    row = separable_blocks(5, 3, 2, kernel=(1, 3), norm="instance", drop=0.1)
    assert [block.pointwise.weight.shape for block in row] == [(3, 5), (3, 3)]
    assert row.eval()(torch.randn(1, 5, 4, 4)).shape == (1, 3, 4, 4)
