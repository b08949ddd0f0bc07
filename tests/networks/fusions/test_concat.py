"""Concatenation."""

import torch

from unetkit.networks.fusions.concat import Concat
from unetkit.spatial.memory_format import arranged, memory_format


def test_the_way_up_comes_first_and_the_format_stays():
    up, skip = torch.randn(2, 2, 3, 4), torch.randn(2, 3, 3, 4)
    fused = Concat(2, 3, (2, 2))(arranged(up, "channels_last"), arranged(skip, "channels_last"))
    assert fused.shape[1] == Concat(2, 3, (2, 2)).channels == 5
    assert torch.equal(fused[:, :2], up)
    assert torch.equal(fused[:, 2:], skip)
    assert memory_format(fused) == torch.channels_last
