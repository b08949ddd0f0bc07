"""The residual encoder: a stem, then residual blocks, the first of each stage with a stride."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from unetkit.networks.blocks import ConvBlock, ResidualBlock
from unetkit.records.plan import NetworkPlan


class ResidualEncoder(nn.Module):
    """A ConvBlock as stem, then ``blocks[i]`` ResidualBlocks per stage.

    Args:
        network: The plan.
        rank: Spatial axes.
        in_channels: Channels of the image.

    Reference:
        Isensee et al., nnU-Net Revisited, MICCAI 2024 (arXiv:2404.09556).
    """

    def __init__(self, network: NetworkPlan, rank: int, in_channels: int) -> None:
        super().__init__()
        self.channels = network.widths
        self.strides = network.strides
        flat = (1,) * rank
        self.stem = ConvBlock(
            in_channels, network.widths[0], kernel=network.kernels[0], stride=flat, norm=network.norm
        )
        before = (network.widths[0], *network.widths)
        self.stages = nn.ModuleList(_stage(network, i, before[i]) for i in range(len(network.widths)))

    def forward(self, x: Float[Tensor, "b c *s"]) -> list[Tensor]:
        """``(B, C, *S)`` → features fine to coarse."""
        x = self.stem(x)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features

    def blocks_by_stage(self) -> list[list[nn.Module]]:
        """The blocks of each stage, the image's side first; the stem belongs to the first."""
        first, *others = self.stages
        return [[self.stem, first], *([stage] for stage in others)]


def _stage(network: NetworkPlan, i: int, in_channels: int) -> nn.Sequential:
    flat = (1,) * len(network.kernels[i])
    return nn.Sequential(
        *(
            ResidualBlock(
                network.widths[i] if block else in_channels,
                network.widths[i],
                kernel=network.kernels[i],
                stride=flat if block else network.strides[i],
                norm=network.norm,
                drop=network.dropout,
            )
            for block in range(network.blocks[i])
        )
    )
