"""Concatenation: the way up and the skip side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Concat(nn.Module):
    """Channels of both, the way up first.

    Args:
        up_channels: Width of the way up.
        skip_channels: Width of the skip connection.
        stride: Of the step up, per axis; without effect.

    Reference:
        Ronneberger, Fischer and Brox, U-Net, MICCAI 2015.

    Example:
        >>> Concat(2, 3, (2, 2))(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4)).shape
        torch.Size([1, 5, 4, 4])
    """

    def __init__(self, up_channels: int, skip_channels: int, stride: Sequence[int]) -> None:
        super().__init__()
        self.channels = up_channels + skip_channels

    def forward(self, up: Float[Tensor, "b u *s"], skip: Float[Tensor, "b k *s"]) -> Float[Tensor, "b c *s"]:
        """``(B, U, *S)`` and ``(B, K, *S)`` → ``(B, U + K, *S)``."""
        return torch.cat((up, skip), dim=1)
