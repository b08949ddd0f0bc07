"""Addition: the skip on top of the way up."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from unetkit.spatial.layers import Pointwise


class Add(nn.Module):
    """The sum of both, at the width of the way up; a skip of another width is projected first.

    The convolution that follows sees half the channels that it would after ``concat``.

    Args:
        up_channels: Width of the way up.
        skip_channels: Width of the skip connection.
        stride: Of the step up, per axis; without effect.

    Reference:
        Chaurasia and Culurciello, LinkNet, VCIP 2017.

    Example:
        >>> import torch
        >>> Add(2, 2, (2, 2))(torch.ones(1, 2, 4, 4), torch.ones(1, 2, 4, 4)).unique().tolist()
        [2.0]
    """

    def __init__(self, up_channels: int, skip_channels: int, stride: Sequence[int]) -> None:
        super().__init__()
        self.channels = up_channels
        same = up_channels == skip_channels
        self.project = nn.Identity() if same else Pointwise(skip_channels, up_channels)

    def forward(self, up: Float[Tensor, "b u *s"], skip: Float[Tensor, "b k *s"]) -> Float[Tensor, "b u *s"]:
        """``(B, U, *S)`` and ``(B, K, *S)`` → ``(B, U, *S)``."""
        return up + self.project(skip)
