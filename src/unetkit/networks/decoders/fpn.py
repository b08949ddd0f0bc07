"""A light feature pyramid: projections, interpolation and depthwise-separable convolutions."""

from __future__ import annotations

from torch import Tensor, nn

from unetkit.lookup import pick
from unetkit.networks.encoders import Encoder
from unetkit.networks.fusions import FUSIONS
from unetkit.networks.separable import separable_blocks
from unetkit.records.plan import NetworkPlan
from unetkit.spatial.layers import Pointwise
from unetkit.spatial.scale import enlarged


class FpnDecoder(nn.Module):
    """Per stage: both ways projected to its width, the upper one interpolated, fused, then SeparableBlocks.

    The projection of the way up comes before the interpolation, where there are fewer pixels.
    ``network.upsampling`` is without effect: nothing here is transposed.

    Args:
        network: The plan.
        rank: Spatial axes.
        encoder: Whose features come in.

    Reference:
        Lin et al., Feature Pyramid Networks, CVPR 2017; Tan et al., EfficientDet, CVPR 2020 (separable).
    """

    def __init__(self, network: NetworkPlan, rank: int, encoder: Encoder) -> None:
        super().__init__()
        *skips, deepest = encoder.channels
        self.strides = tuple(encoder.strides)
        self.channels = network.decoder_widths or tuple(skips)
        below = (*self.channels[1:], deepest)
        fusion = pick("fusion", FUSIONS, network.fusion)
        self.ups = nn.ModuleList(Pointwise(*pair) for pair in zip(below, self.channels, strict=True))
        self.laterals = nn.ModuleList(Pointwise(*pair) for pair in zip(skips, self.channels, strict=True))
        self.fusions = nn.ModuleList(
            fusion(width, width, encoder.strides[i + 1]) for i, width in enumerate(self.channels)
        )
        self.blocks = nn.ModuleList(
            separable_blocks(
                self.fusions[i].channels,  # pyright: ignore[reportArgumentType] - a Fusion
                width,
                network.decoder_blocks[i],
                kernel=network.kernels[i],
                norm=network.norm,
                drop=network.dropout,
            )
            for i, width in enumerate(self.channels)
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Features fine to coarse → outputs fine to coarse, the first at the first feature's size."""
        *skips, x = features
        outputs = []
        for i in reversed(range(len(self.channels))):
            up = enlarged(self.ups[i](x), self.strides[i + 1], skips[i].shape[2:])
            x = self.blocks[i](self.fusions[i](up, self.laterals[i](skips[i])))
            outputs.append(x)
        return outputs[::-1]
