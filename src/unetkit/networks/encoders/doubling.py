"""The encoder of the volumetric U-Net: every stage widens in two steps."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from unetkit.networks.blocks import ConvBlock
from unetkit.records.plan import NetworkPlan


class DoublingEncoder(nn.Module):
    """``blocks[i]`` ConvBlocks per stage, all but the last of half the stage's width.

    Widening before the step down, not after it, avoids a bottleneck where pixels are lost.

    Args:
        network: The plan.
        rank: Spatial axes.
        in_channels: Channels of the image.

    Reference:
        Çiçek et al., U-Net for volumes, MICCAI 2016 (arXiv:1606.06650), section 2.
    """

    def __init__(self, network: NetworkPlan, rank: int, in_channels: int) -> None:
        super().__init__()
        self.channels = network.widths
        self.strides = network.strides
        before = (in_channels, *network.widths)
        self.stages = nn.ModuleList(_stage(network, i, before[i]) for i in range(len(network.widths)))

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


def _stage(network: NetworkPlan, i: int, in_channels: int) -> nn.Sequential:
    flat, width, count = (1,) * len(network.kernels[i]), network.widths[i], network.blocks[i]
    widths = (in_channels, *(max(1, width // 2),) * (count - 1), width)
    return nn.Sequential(
        *(
            ConvBlock(
                widths[block],
                widths[block + 1],
                kernel=network.kernels[i],
                stride=flat if block else network.strides[i],
                norm=network.norm,
                drop=network.dropout,
            )
            for block in range(count)
        )
    )
