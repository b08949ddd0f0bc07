"""The bottleneck of TransUNet: a Vision Transformer with learned positions on the coarsest features."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unetkit.networks.bottlenecks.transformer import layers_of
from unetkit.networks.transformer import TransformerLayer, features_of, tokens_of
from unetkit.records.plan import NetworkPlan
from unetkit.spatial.layers import LAYERS
from unetkit.spatial.memory_format import memory_format

GRID = 14
"""Places per axis that have a learned position of their own: those of 224 pixels at stride 16."""


class VitBottleneck(nn.Module):
    """Learned positions, then ``bottleneck_blocks`` TransformerLayers, then a normalisation.

    The positions are interpolated to the features' size, whatever it is. Unlike ``transformer`` this does not
    start as the identity. ``dropout`` drops single values here, those of
    the positioned features too.

    Args:
        network: The plan.
        rank: Spatial axes.
        channels: Width of the features.

    Raises:
        UsageError: ``network.bottleneck_blocks`` is 0.

    Reference:
        Dosovitskiy et al., ViT, ICLR 2021; Chen et al., TransUNet, arXiv:2102.04306.
    """

    def __init__(self, network: NetworkPlan, rank: int, channels: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(1, channels, *(GRID,) * rank))
        self.dropout = nn.Dropout(network.dropout)
        self.layers = nn.ModuleList(
            TransformerLayer(channels, drop=network.dropout, eps=1e-6) for _ in range(layers_of(network))
        )
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def become_neutral(self) -> None:
        """Start as published: every place alike."""
        for layer in self.layers:
            layer.start()  # pyright: ignore[reportCallIssue] - a TransformerLayer

    def forward(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b c *s"]:
        """``(B, C, *S)`` → the same shape, for any size."""
        mode = LAYERS[x.ndim - 2].interpolation
        positions = F.interpolate(self.positions, size=x.shape[2:], mode=mode)
        tokens = self.dropout(tokens_of(x + positions))
        for layer in self.layers:
            tokens = layer(tokens)
        features = features_of(self.norm(tokens), x.shape[2:])
        return features.contiguous(memory_format=memory_format(x))
