"""The MedNeXt encoder: residual blocks of depthwise convolutions, and steps down of the same kind."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from unetkit.networks.convnext import ConvNextDown, convnext_blocks, expansions
from unetkit.records.plan import NetworkPlan
from unetkit.spatial.layers import Pointwise, convolution
from unetkit.spatial.memory_format import meant_format


class ConvNextEncoder(nn.Module):
    """A convolution of kernel 1 as stem, then per stage a step down into it and ``blocks[i]`` ConvNextBlocks.

    A stem that strides (``strides[0]`` above 1) has the first stage's kernel instead.

    Args:
        network: The plan; ``expansion`` counts, a step down has that of the stage it leads to.
        rank: Spatial axes.
        in_channels: Channels of the image.

    Raises:
        UsageError: ``network.expansion`` does not fit ``network.widths``.

    Reference:
        Roy et al., MedNeXt, MICCAI 2023 (arXiv:2303.09975).
    """

    def __init__(self, network: NetworkPlan, rank: int, in_channels: int) -> None:
        super().__init__()
        self.channels = network.widths
        self.strides = network.strides
        first = network.widths[0]
        self.stem = (
            convolution(in_channels, first, kernel=network.kernels[0], stride=network.strides[0])
            if max(network.strides[0]) > 1
            else Pointwise(in_channels, first)
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*_step(network, i), *convnext_blocks(network, i, width, network.blocks[i]))
            for i, width in enumerate(network.widths)
        )

    def forward(self, x: Float[Tensor, "b c *s"]) -> list[Tensor]:
        """``(B, C, *S)`` → features fine to coarse."""
        # An image of one channel reads the same in both memory formats; the kernels know which one is meant.
        kernel = self.stages[0][0].branch.spatial.weight  # pyright: ignore[reportIndexIssue]
        x = self.stem(x).contiguous(memory_format=meant_format(kernel))
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features

    def blocks_by_stage(self) -> list[list[nn.Module]]:
        """The modules of each stage, the image's side first; the stem belongs to the first."""
        first, *others = self.stages
        return [[self.stem, first], *([stage] for stage in others)]


def _step(network: NetworkPlan, i: int) -> list[ConvNextDown]:
    """The step down into a stage; none into the first."""
    if i == 0:
        return []
    return [
        ConvNextDown(
            network.widths[i - 1],
            network.widths[i],
            kernel=network.kernels[i],
            stride=network.strides[i],
            expansion=expansions(network)[i],
            norm=network.norm,
            drop=network.dropout,
        )
    ]
