"""The U-Net++ decoder: a node for every stage and every depth, each joined to all before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unetkit.lookup import pick
from unetkit.networks.decoders.unet import decoder_blocks
from unetkit.networks.encoders import Encoder
from unetkit.networks.fusions import FUSIONS
from unetkit.networks.upsampling import step_up
from unetkit.records.plan import NetworkPlan
from unetkit.spatial.layers import cropped


class UnetppDecoder(nn.Module):
    """Node ``(i, j)`` joins the nodes ``(i, 0…j-1)`` of its stage with ``(i+1, j-1)`` from below.

    Node ``(i, 0)`` is the encoder's feature; the outputs are ``(0, depth) … (0, 1)``, all of one size. As
    ``(0, j)`` needs no feature deeper than ``j``, the network can be cut there.

    Args:
        network: The plan.
        rank: Spatial axes.
        encoder: Whose features come in.

    Reference:
        Zhou et al., UNet++, DLMIA 2018 (arXiv:1807.10165) and IEEE TMI 2020.
    """

    nested = True

    def __init__(self, network: NetworkPlan, rank: int, encoder: Encoder) -> None:
        super().__init__()
        self.depth = len(encoder.channels) - 1
        widths = network.decoder_widths or encoder.channels[:-1]
        self.channels = (widths[0],) * self.depth
        self.nodes = nn.ModuleDict()
        for i in range(self.depth):
            for j in range(1, self.depth - i + 1):
                below = encoder.channels[i + 1] if j == 1 else widths[i + 1]
                self.nodes[f"{i}_{j}"] = _Node(
                    network,
                    i,
                    below=below,
                    skip=encoder.channels[i] + (j - 1) * widths[i],
                    width=widths[i],
                    stride=encoder.strides[i + 1],
                )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Features fine to coarse → outputs deep to shallow, all at the first feature's size."""
        rows = [[feature] for feature in features]
        for j in range(1, self.depth + 1):
            for i in range(self.depth - j + 1):
                rows[i].append(self.nodes[f"{i}_{j}"](rows[i + 1][j - 1], rows[i]))
        return rows[0][:0:-1]


class _Node(nn.Module):
    def __init__(
        self, network: NetworkPlan, stage: int, *, below: int, skip: int, width: int, stride: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.up, wide = step_up(network.upsampling, below, width, stride=stride)
        self.fusion = pick("fusion", FUSIONS, network.fusion)(wide, skip, stride)
        self.blocks = decoder_blocks(network, stage, self.fusion.channels, width)

    def forward(self, below: Tensor, before: list[Tensor]) -> Tensor:
        skip = before[0] if len(before) == 1 else torch.cat(before, dim=1)
        return self.blocks(self.fusion(cropped(self.up(below), skip.shape[2:]), skip))
