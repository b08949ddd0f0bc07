"""The U-Net decoder: up, meet the skip, convolve; stage by stage."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from unetkit.lookup import pick
from unetkit.networks.blocks import conv_blocks
from unetkit.networks.encoders import Encoder
from unetkit.networks.fusions import FUSIONS
from unetkit.networks.upsampling import step_up
from unetkit.records.plan import NetworkPlan
from unetkit.spatial.layers import cropped


class UnetDecoder(nn.Module):
    """Per stage: the step up cut to the skip, the fusion, ``decoder_blocks[i]`` ConvBlocks.

    Args:
        network: The plan.
        rank: Spatial axes.
        encoder: Whose features come in.

    Reference:
        Ronneberger, Fischer and Brox, U-Net, MICCAI 2015; Isensee et al., nnU-Net, Nature Methods 2021.
    """

    def __init__(self, network: NetworkPlan, rank: int, encoder: Encoder) -> None:
        super().__init__()
        *skips, deepest = encoder.channels
        self.channels = network.decoder_widths or tuple(skips)
        below = (*self.channels[1:], deepest)
        fusion = pick("fusion", FUSIONS, network.fusion)
        ups, fusions, blocks = [], [], []
        for i, width in enumerate(self.channels):
            stride = encoder.strides[i + 1]
            up, wide = step_up(network.upsampling, below[i], width, stride=stride)
            ups.append(up)
            fusions.append(fusion(wide, skips[i], stride))
            blocks.append(decoder_blocks(network, i, fusions[-1].channels, width))
        self.ups, self.fusions, self.blocks = (nn.ModuleList(parts) for parts in (ups, fusions, blocks))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Features fine to coarse → outputs fine to coarse, the first at the first feature's size."""
        *skips, x = features
        outputs = []
        for i in reversed(range(len(self.channels))):
            up = cropped(self.ups[i](x), skips[i].shape[2:])
            x = self.blocks[i](self.fusions[i](up, skips[i]))
            outputs.append(x)
        return outputs[::-1]


class LastStage(nn.Module):
    """A decoder stage without a skip: the step up to the image's size, then ConvBlocks.

    Args:
        network: The plan.
        in_channels: Width of the finest output.
        width: Width of the result.
        stride: Of the finest feature against the image, per axis.
    """

    def __init__(self, network: NetworkPlan, in_channels: int, width: int, stride: Sequence[int]) -> None:
        super().__init__()
        self.up, wide = step_up(network.upsampling, in_channels, width, stride=stride)
        self.blocks = decoder_blocks(network, 0, wide, width)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """``(B, C, *S)`` → ``(B, width, *size)``."""
        return self.blocks(cropped(self.up(x), size))


def decoder_blocks(network: NetworkPlan, stage: int, in_channels: int, width: int) -> nn.Sequential:
    """The convolutions of a decoder stage, as the plan wants them."""
    return conv_blocks(
        in_channels,
        width,
        network.decoder_blocks[stage],
        kernel=network.kernels[stage],
        stride=(1,) * len(network.kernels[stage]),
        norm=network.norm,
        drop=network.dropout,
    )
