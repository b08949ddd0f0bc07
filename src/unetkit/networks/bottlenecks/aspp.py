"""Atrous spatial pyramid pooling: the coarsest features seen at several distances at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unetkit.records.plan import NetworkPlan
from unetkit.spatial.layers import LAYERS, SLOPE, Pointwise, dropout, normalization

RATES = (1, 2, 4)
"""Distances between the taps. They reach 3, 5 and 9 of the about 8 places that a U-Net's coarsest features
have along an axis: the same shares as the published 6, 12 and 18 do of 33 places."""


class AsppBottleneck(nn.Module):
    """A convolution of kernel 1, one per rate, and the mean of all places, each a quarter as wide, joined.

    The mean enters behind the last normalisation: instance normalisation would take away what is the same
    everywhere. It is not normalised itself, so that one sample of one place is enough.

    Args:
        network: The plan.
        rank: Spatial axes.
        channels: Width of the features.

    Reference:
        Chen et al., Rethinking Atrous Convolution, arXiv:1706.05587.
    """

    def __init__(self, network: NetworkPlan, rank: int, channels: int) -> None:
        super().__init__()
        width, norm = max(1, channels // 4), network.norm

        def branch(convolution: nn.Module) -> nn.Sequential:
            return nn.Sequential(convolution, *normalization(norm, width, rank=rank, slope=SLOPE))

        kernel = network.kernels[-1]
        self.branches = nn.ModuleList(
            [
                branch(Pointwise(channels, width, bias=False)),
                *(branch(_dilated(channels, width, kernel=kernel, rate=rate)) for rate in RATES),
            ]
        )
        self.pool = Pointwise(channels, width)
        self.project = Pointwise(len(self.branches) * width, channels, bias=False)
        self.project_pool = Pointwise(width, channels, bias=False)
        self.norm, _ = normalization(norm, channels, rank=rank)
        self.dropout = dropout(network.dropout, rank=rank)

    def forward(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b c *s"]:
        """``(B, C, *S)`` → the same shape, for any size."""
        places = self.norm(self.project(torch.cat([branch(x) for branch in self.branches], dim=1)))
        mean = x.mean(tuple(range(2, x.ndim)), keepdim=True)
        whole = self.project_pool(F.leaky_relu(self.pool(mean), SLOPE))
        return self.dropout(F.leaky_relu(places + whole, SLOPE))


def _dilated(in_channels: int, out_channels: int, *, kernel: Sequence[int], rate: int) -> nn.Module:
    padding = [rate * (size // 2) for size in kernel]
    layer = LAYERS[len(kernel)].conv
    return layer(in_channels, out_channels, tuple(kernel), padding=padding, dilation=rate, bias=False)
