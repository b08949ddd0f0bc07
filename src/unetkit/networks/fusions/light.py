"""A gate that costs next to nothing, for small devices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unetkit.spatial.layers import SLOPE, Pointwise


class LightGate(nn.Module):
    """``up + 2 σ(ψ(LeakyReLU(up + skip))) · skip``: one coefficient per pixel, then an addition.

    This is the additive attention gate without its two projections, and the sum in place of the
    concatenation: ``C`` multiply-adds per pixel beside the projection of a skip of another width, and half
    the channels for the convolution that follows. The gate starts at 1, so that a new network adds.

    Args:
        up_channels: Width of the way up.
        skip_channels: Width of the skip connection.
        stride: Of the step up, per axis; without effect.

    Reference:
        Simplified from Oktay et al., Attention U-Net, MIDL 2018.

    Example:
        >>> LightGate(2, 2, (2, 2))(torch.ones(1, 2, 4, 4), torch.ones(1, 2, 4, 4)).shape
        torch.Size([1, 2, 4, 4])
    """

    def __init__(self, up_channels: int, skip_channels: int, stride: Sequence[int]) -> None:
        super().__init__()
        self.channels = up_channels
        same = up_channels == skip_channels
        self.project = nn.Identity() if same else Pointwise(skip_channels, up_channels)
        self.coefficient = Pointwise(up_channels, 1)

    def become_neutral(self) -> None:
        """Start fully open: twice the middle of the sigmoid everywhere."""
        nn.init.zeros_(self.coefficient.weight)

    def forward(self, up: Float[Tensor, "b u *s"], skip: Float[Tensor, "b k *s"]) -> Float[Tensor, "b u *s"]:
        """``(B, U, *S)`` and ``(B, K, *S)`` → ``(B, U, *S)``."""
        skip = self.project(skip)
        gate = 2 * torch.sigmoid(self.coefficient(F.leaky_relu(up + skip, SLOPE)))
        return torch.addcmul(up, gate, skip)
