"""The additive attention gate, against the equations written out."""

import pytest
import torch
from torch.nn import functional as F

from unetkit.networks.blocks import initialize
from unetkit.networks.fusions.attention import AttentionGate


def test_a_new_gate_is_open_and_alike_for_every_pixel():
    up, skip = torch.randn(2, 3, 5, 4), torch.randn(2, 2, 5, 4)
    fusion = AttentionGate(3, 2, (2, 2))
    initialize(fusion)
    got = fusion(up, skip)
    assert torch.equal(got[:, :3], up)
    torch.testing.assert_close(got[:, 3:], skip * torch.sigmoid(torch.tensor(2.0)))


def test_coefficients_are_those_of_the_paper_at_the_coarser_pixels():
    up, skip = torch.randn(1, 3, 4, 6), torch.randn(1, 2, 4, 6)
    fusion = AttentionGate(3, 2, (2, 2))
    with torch.no_grad():
        fusion.of_up.bias.normal_()
        fusion.coefficient.bias.normal_()
    got = fusion(up, skip)[:, 3:] / skip
    for y, x in ((0, 0), (2, 4), (0, 2)):
        block = skip[0, :, y : y + 2, x : x + 2]
        signal = torch.einsum("kihw,ihw->k", fusion.of_skip.weight, block)
        signal = signal + fusion.of_up.weight @ up[0, :, y, x] + fusion.of_up.bias
        psi = fusion.coefficient.weight[0] @ F.leaky_relu(signal, 0.01) + fusion.coefficient.bias[0]
        torch.testing.assert_close(got[0, :, y, x], torch.sigmoid(psi).expand(2), rtol=1e-4, atol=1e-5)
    between = (got[0, :, 0, 0] + got[0, :, 0, 2]) / 2
    torch.testing.assert_close(got[0, :, 0, 1], between, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stride", [(1, 2, 2), (2, 2, 2), (1, 1, 1)])
def test_odd_sizes_and_unstrided_axes(stride):
    up, skip = torch.randn(1, 3, 3, 5, 7), torch.randn(1, 2, 3, 5, 7)
    fusion = AttentionGate(3, 2, stride)
    assert fusion(up, skip).shape == (1, 5, 3, 5, 7)
    assert fusion.of_skip.weight.shape == (2, 2, *stride)


@pytest.mark.parametrize("size", [(5, 7), (3, 5, 7)])
def test_a_constant_skip_has_one_coefficient_up_to_the_edge_of_an_odd_image(size):
    """A block that is cut off at the edge must not look like one that turns black there."""
    up, skip = torch.ones(1, 3, *size), torch.ones(1, 2, *size)
    got = AttentionGate(3, 2, (2,) * len(size))(up, skip)[:, 3:]
    torch.testing.assert_close(got, got.flatten()[0].expand_as(got), rtol=1e-5, atol=1e-6)
