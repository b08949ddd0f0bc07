"""The U-Net decoder: up, meet the skip, convolve; stage by stage."""

from __future__ import annotations

from torch import Tensor, nn

from unetkit.lookup import pick
from unetkit.networks.blocks import conv_blocks
from unetkit.networks.encoders import Encoder
from unetkit.networks.fusions import FUSIONS
from unetkit.records.plan import NetworkPlan
from unetkit.spatial.layers import Upsampling, cropped


class UnetDecoder(nn.Module):
    """Per stage: a transposed convolution cut to the skip, the fusion, ``decoder_blocks[i]`` ConvBlocks.

    Args:
        network: The plan.
        rank: Spatial axes.
        encoder: Whose features come in.

    Reference:
        Ronneberger, Fischer and Brox, U-Net, MICCAI 2015; Isensee et al., nnU-Net, Nature Methods 2021.
    """

    def __init__(self, network: NetworkPlan, rank: int, encoder: Encoder) -> None:
        super().__init__()
        self.channels = encoder.channels[:-1]
        fusion = pick("fusion", FUSIONS, network.fusion)
        ups, fusions, blocks = [], [], []
        for i, width in enumerate(self.channels):
            ups.append(Upsampling(encoder.channels[i + 1], width, stride=encoder.strides[i + 1]))
            fusions.append(fusion(width, width, rank))
            blocks.append(
                conv_blocks(
                    fusions[-1].channels,
                    width,
                    network.decoder_blocks[i],
                    kernel=network.kernels[i],
                    stride=(1,) * rank,
                    norm=network.norm,
                    drop=network.dropout,
                )
            )
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
