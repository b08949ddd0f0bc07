"""The additive attention gate: the way up says which pixels of the skip are worth passing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unetkit.spatial.layers import LAYERS, SLOPE, Pointwise, evened
from unetkit.spatial.scale import enlarged, subsampled

_OPEN = 2.0


class AttentionGate(nn.Module):
    """``skip · σ(ψ(LeakyReLU(W_x · skip + W_g · up)))``, then both side by side.

    As published the coefficients are made at the resolution of the coarser stage and interpolated: ``W_x`` is
    a convolution whose kernel is its stride, and the way up is read at every ``stride``-th pixel, where an
    interpolated one is the coarser stage itself. Coefficients start at 0.88 everywhere, so that a new
    network nearly concatenates.

    Args:
        up_channels: Width of the way up.
        skip_channels: Width of the skip connection.
        stride: Of the step up, per axis; its length is the rank.

    Reference:
        Oktay et al., Attention U-Net, MIDL 2018 (arXiv:1804.03999), equations 1 and 2.

    Example:
        >>> AttentionGate(2, 3, (2, 2))(torch.ones(1, 2, 5, 4), torch.ones(1, 3, 5, 4)).shape
        torch.Size([1, 5, 5, 4])
    """

    def __init__(self, up_channels: int, skip_channels: int, stride: Sequence[int]) -> None:
        super().__init__()
        self.channels, self.stride = up_channels + skip_channels, tuple(stride)
        convolution = LAYERS[len(self.stride)].conv
        self.of_skip = convolution(skip_channels, skip_channels, self.stride, self.stride, bias=False)
        self.of_up = Pointwise(up_channels, skip_channels)
        self.coefficient = Pointwise(skip_channels, 1)

    def become_neutral(self) -> None:
        """Start open, and alike for every pixel."""
        nn.init.zeros_(self.coefficient.weight)
        nn.init.constant_(self.coefficient.bias, _OPEN)  # pyright: ignore[reportArgumentType] - it has one

    def forward(self, up: Float[Tensor, "b u *s"], skip: Float[Tensor, "b k *s"]) -> Float[Tensor, "b c *s"]:
        """``(B, U, *S)`` and ``(B, K, *S)`` → ``(B, U + K, *S)``."""
        size = skip.shape[2:]
        signal = self.of_skip(evened(skip, self.stride)) + self.of_up(subsampled(up, self.stride))
        gate = torch.sigmoid(self.coefficient(F.leaky_relu(signal, SLOPE)))
        return torch.cat((up, skip * enlarged(gate, self.stride, size)), dim=1)
