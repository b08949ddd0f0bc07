"""The cascaded upsampler of TransUNet: from the tokens to fewer channels, then a U-Net decoder."""

from __future__ import annotations

from torch import Tensor, nn

from unetkit.networks.blocks import ConvBlock
from unetkit.networks.decoders.unet import UnetDecoder
from unetkit.networks.encoders import Encoder
from unetkit.records.plan import NetworkPlan


class CupDecoder(nn.Module):
    """A ConvBlock from the width of the tokens to twice the widest decoder stage, then the U-Net decoder.

    As published: ``decoder_widths`` 16, 64, 128 and 256, of which the first is a stage without a skip,
    2 ``decoder_blocks`` per stage, ``upsampling`` ``linear``, ``norm`` ``batch``.

    Args:
        network: The plan.
        rank: Spatial axes.
        encoder: Whose features come in.

    Reference:
        Chen et al., TransUNet, arXiv:2102.04306.
    """

    def __init__(self, network: NetworkPlan, rank: int, encoder: Encoder) -> None:
        super().__init__()
        *skips, tokens = encoder.channels
        width = 2 * max(network.decoder_widths or skips)
        self.stem = ConvBlock(
            tokens,
            width,
            kernel=network.kernels[-1],
            stride=(1,) * rank,
            norm=network.norm,
            drop=network.dropout,
        )
        self.decoder = UnetDecoder(network, rank, encoder, deepest=width)
        self.channels = self.decoder.channels

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Features fine to coarse → outputs fine to coarse, the first at the first feature's size."""
        *skips, tokens = features
        return self.decoder([*skips, self.stem(tokens)])
