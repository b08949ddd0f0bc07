"""Concurrent spatial and channel recalibration."""

import torch
from torch.nn import functional as F

from unetkit.networks.blocks import initialize
from unetkit.networks.fusions.scse import Recalibration


def test_a_new_one_concatenates():
    up, skip = torch.randn(2, 3, 4, 5), torch.randn(2, 2, 4, 5)
    fusion = Recalibration(3, 2, (2, 2))
    initialize(fusion)
    torch.testing.assert_close(fusion(up, skip), torch.cat((up, skip), 1))


def test_it_is_the_sum_of_the_two_published_gates():
    up, skip = torch.randn(2, 3, 4, 5, 3), torch.randn(2, 3, 4, 5, 3)
    fusion = Recalibration(3, 3, (2, 2, 2))
    x = torch.cat((up, skip), 1)
    hidden = F.leaky_relu(fusion.squeeze(x.mean((2, 3, 4))), 0.01)
    by_channel = x * torch.sigmoid(fusion.excite(hidden))[:, :, None, None, None]
    by_pixel = x * torch.sigmoid(torch.einsum("i,bidhw->bdhw", fusion.pixelwise.weight[0], x))[:, None]
    torch.testing.assert_close(fusion(up, skip), by_channel + by_pixel)
    assert fusion.squeeze.out_features == 3  # half of 6
