"""The U-Net 3+ decoder: every stage sees every scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unetkit.lookup import pick
from unetkit.networks.blocks import ConvBlock
from unetkit.networks.decoders.unet import decoder_blocks
from unetkit.networks.encoders import Encoder
from unetkit.networks.fusions import FUSIONS
from unetkit.records.plan import NetworkPlan
from unetkit.spatial.scale import enlarged, max_pooled


class Unet3pDecoder(nn.Module):
    """Stage ``i`` joins one ConvBlock per scale: finer features pooled, its own, coarser outputs enlarged.

    Empty ``network.decoder_widths`` are the published ones: as many channels per scale as the first encoder
    stage has, and their sum for every output; else each scale gets its share of the output's width.

    Args:
        network: The plan.
        rank: Spatial axes.
        encoder: Whose features come in.

    Reference:
        Huang et al., UNet 3+, ICASSP 2020 (arXiv:2004.08790).
    """

    def __init__(self, network: NetworkPlan, rank: int, encoder: Encoder) -> None:
        super().__init__()
        scales = len(encoder.channels)
        self.between = _between(encoder.strides)
        self.channels = network.decoder_widths or (scales * encoder.channels[0],) * (scales - 1)
        fusion = pick("fusion", FUSIONS, network.fusion)
        branches, fusions, blocks = [], [], []
        for i, width in enumerate(self.channels):
            share = max(1, width // scales)
            sources = (*encoder.channels[: i + 1], *self.channels[i + 1 :], encoder.channels[-1])
            branches.append(nn.ModuleList(_branch(network, i, source, share) for source in sources))
            joined = fusion((scales - i - 1) * share, (i + 1) * share, encoder.strides[i + 1])
            fusions.append(joined)
            blocks.append(decoder_blocks(network, i, joined.channels, width))
        self.branches, self.fusions, self.blocks = map(nn.ModuleList, (branches, fusions, blocks))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Features fine to coarse → outputs fine to coarse, the first at the first feature's size."""
        sources = list(features)
        for i in reversed(range(len(self.channels))):
            size = features[i].shape[2:]
            skips, ups = [], []
            for k, branch in enumerate(self.branches[i]):  # pyright: ignore[reportArgumentType] - a ModuleList
                if k <= i:
                    skips.append(branch(max_pooled(features[k], self.between[k][i])))
                else:
                    ups.append(branch(enlarged(sources[k], self.between[i][k], size)))
            sources[i] = self.blocks[i](self.fusions[i](torch.cat(ups, 1), torch.cat(skips, 1)))
        return sources[:-1]


def _between(strides: Sequence[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    """Pixels per axis of scale ``[fine]`` for one of scale ``[coarse]``."""
    axes = list(zip(*strides, strict=True))
    scales = range(len(strides))
    return [
        [tuple(math.prod(steps[fine + 1 : coarse + 1]) for steps in axes) for coarse in scales]
        for fine in scales
    ]


def _branch(network: NetworkPlan, stage: int, in_channels: int, width: int) -> ConvBlock:
    kernel = network.kernels[stage]
    flat = (1,) * len(kernel)
    return ConvBlock(in_channels, width, kernel=kernel, stride=flat, norm=network.norm, drop=network.dropout)
