"""Concurrent spatial and channel squeeze-and-excitation of the joined features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unetkit.spatial.layers import SLOPE, Pointwise

_REDUCTION = 2  # the best of those the paper tried


class Recalibration(nn.Module):
    """Both side by side, every value scaled by the sum of a gate per channel and a gate per pixel.

    Both gates start at one half, so that a new network concatenates.

    Args:
        up_channels: Width of the way up.
        skip_channels: Width of the skip connection.
        stride: Of the step up, per axis; without effect.

    Reference:
        Roy, Navab and Wachinger, Concurrent Spatial and Channel Squeeze & Excitation in Fully Convolutional
        Networks, MICCAI 2018.

    Example:
        >>> Recalibration(2, 3, (2, 2))(torch.ones(1, 2, 4, 4), torch.ones(1, 3, 4, 4)).shape
        torch.Size([1, 5, 4, 4])
    """

    def __init__(self, up_channels: int, skip_channels: int, stride: Sequence[int]) -> None:
        super().__init__()
        self.channels = up_channels + skip_channels
        few = max(1, self.channels // _REDUCTION)
        self.squeeze = nn.Linear(self.channels, few)
        self.excite = nn.Linear(few, self.channels)
        self.pixelwise = Pointwise(self.channels, 1)

    def become_neutral(self) -> None:
        """Start with both gates at one half, their sum at 1."""
        for layer in (self.excite, self.pixelwise):
            nn.init.zeros_(layer.weight)

    def forward(self, up: Float[Tensor, "b u *s"], skip: Float[Tensor, "b k *s"]) -> Float[Tensor, "b c *s"]:
        """``(B, U, *S)`` and ``(B, K, *S)`` → ``(B, U + K, *S)``."""
        x = torch.cat((up, skip), dim=1)
        means = x.mean(tuple(range(2, x.ndim)))
        of_channel = torch.sigmoid(self.excite(F.leaky_relu(self.squeeze(means), SLOPE)))
        of_pixel = torch.sigmoid(self.pixelwise(x))
        return x * (of_channel[(..., *[None] * (x.ndim - 2))] + of_pixel)
