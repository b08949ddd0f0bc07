"""The light gate."""

import torch
from torch import nn

from unetkit.networks.blocks import initialize
from unetkit.networks.fusions.light import LightGate


def test_a_new_gate_adds():
    up, skip = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    fusion = LightGate(3, 3, (2, 2))
    initialize(fusion)
    torch.testing.assert_close(fusion(up, skip), up + skip)


def test_the_gate_pixel_by_pixel():
    up, skip = torch.randn(1, 3, 2, 2), torch.randn(1, 5, 2, 2)
    fusion = LightGate(3, 5, (2, 2))
    got = fusion(up, skip)
    for y, x in ((0, 0), (1, 0), (1, 1)):
        shown = fusion.project.weight @ skip[0, :, y, x]
        signal = nn.functional.leaky_relu(up[0, :, y, x] + shown, 0.01)
        gate = 2 / (1 + torch.exp(-fusion.coefficient.weight[0] @ signal))
        torch.testing.assert_close(got[0, :, y, x], up[0, :, y, x] + gate * shown)


def test_it_costs_less_than_the_concatenation_and_its_wider_convolution():
    width, pixels = 16, 1
    gate = sum(weight.numel() for weight in LightGate(width, width, (2, 2)).parameters() if weight.ndim > 1)
    light = pixels * (gate + 9 * width * width)
    concat = pixels * 9 * 2 * width * width
    assert light < 0.51 * concat
