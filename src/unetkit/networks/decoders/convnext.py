"""The MedNeXt decoder: steps up and blocks of the same kind as its encoder's."""

from __future__ import annotations

from torch import Tensor, nn

from unetkit.lookup import pick
from unetkit.networks.convnext import ConvNextUp, convnext_blocks, expansions
from unetkit.networks.encoders import Encoder
from unetkit.networks.fusions import FUSIONS
from unetkit.records.plan import NetworkPlan
from unetkit.spatial.layers import Pointwise, cropped


class ConvNextDecoder(nn.Module):
    """Per stage: a ConvNextUp cut to the skip, the fusion, ``decoder_blocks[i]`` ConvNextBlocks.

    The published fusion is ``add``; one wider than the stage is narrowed by a convolution of kernel 1. Steps
    up and blocks widen by ``expansion[i]`` of the stage they lead to. ``upsampling`` is without effect.

    Args:
        network: The plan.
        rank: Spatial axes.
        encoder: Whose features come in.

    Raises:
        UsageError: ``network.expansion`` does not fit ``network.widths``.

    Reference:
        Roy et al., MedNeXt, MICCAI 2023 (arXiv:2303.09975).
    """

    def __init__(self, network: NetworkPlan, rank: int, encoder: Encoder) -> None:
        super().__init__()
        *skips, deepest = encoder.channels
        self.channels = network.decoder_widths or tuple(skips)
        below, expansion = (*self.channels[1:], deepest), expansions(network)
        fusion = pick("fusion", FUSIONS, network.fusion)
        ups, fusions, narrows, blocks = [], [], [], []
        for i, width in enumerate(self.channels):
            stride = encoder.strides[i + 1]
            up = ConvNextUp(
                below[i],
                width,
                kernel=network.kernels[i],
                stride=stride,
                expansion=expansion[i],
                norm=network.norm,
                drop=network.dropout,
            )
            ups.append(up)
            fusions.append(fusion(width, skips[i], stride))
            wide = fusions[-1].channels
            narrows.append(nn.Identity() if wide == width else Pointwise(wide, width))
            blocks.append(convnext_blocks(network, i, width, network.decoder_blocks[i]))
        self.ups, self.fusions, self.narrows, self.blocks = (
            nn.ModuleList(parts) for parts in (ups, fusions, narrows, blocks)
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Features fine to coarse → outputs fine to coarse, the first at the first feature's size."""
        *skips, x = features
        outputs = []
        for i in reversed(range(len(self.channels))):
            up = cropped(self.ups[i](x), skips[i].shape[2:])
            x = self.blocks[i](self.narrows[i](self.fusions[i](up, skips[i])))
            outputs.append(x)
        return outputs[::-1]
