"""The plain encoder: convolutions, the first of each stage with a stride."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from unetkit.networks.blocks import conv_blocks
from unetkit.records.plan import NetworkPlan


class PlainEncoder(nn.Module):
    """``blocks[i]`` ConvBlocks per stage.

    Args:
        network: The plan.
        rank: Spatial axes.
        in_channels: Channels of the image.

    Reference:
        Isensee et al., nnU-Net, Nature Methods 2021.
    """

    def __init__(self, network: NetworkPlan, rank: int, in_channels: int) -> None:
        super().__init__()
        self.channels = network.widths
        self.strides = network.strides
        before = (in_channels, *network.widths)
        self.stages = nn.ModuleList(
            conv_blocks(
                before[i],
                width,
                network.blocks[i],
                kernel=network.kernels[i],
                stride=network.strides[i],
                norm=network.norm,
                drop=network.dropout,
            )
            for i, width in enumerate(network.widths)
        )

    def forward(self, x: Float[Tensor, "b c *s"]) -> list[Tensor]:
        """``(B, C, *S)`` → features fine to coarse."""
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features

    def blocks_by_stage(self) -> list[list[nn.Module]]:
        """The blocks of each stage, the image's side first."""
        return [[stage] for stage in self.stages]
