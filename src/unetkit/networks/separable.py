"""Depthwise-separable convolutions: pixels first, then channels, at a fraction of the multiply-adds."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from unetkit.spatial.layers import SLOPE, Pointwise, convolution, dropout, normalization


class SeparableBlock(nn.Module):
    """Depthwise convolution → 1×1 convolution → normalisation → LeakyReLU → channel dropout.

    A kernel of ``k`` pixels costs ``k + out_channels`` multiply-adds per value where a ConvBlock takes
    ``k · out_channels``.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        kernel: Pixels per axis, odd; its length is the rank.
        norm: ``instance``, ``batch`` or ``group``.
        drop: Probability of dropping a channel.

    Reference:
        Howard et al., MobileNets, arXiv:1704.04861.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel: Sequence[int], norm: str, drop: float = 0.0
    ) -> None:
        super().__init__()
        flat = (1,) * len(kernel)
        self.depthwise = convolution(
            in_channels, in_channels, kernel=kernel, stride=flat, bias=False, groups=in_channels
        )
        self.pointwise = Pointwise(in_channels, out_channels, bias=False)
        self.norm, self.activation = normalization(norm, out_channels, rank=len(kernel), slope=SLOPE)
        self.dropout = dropout(drop, rank=len(kernel))

    def forward(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b k *s"]:
        """``(B, C, *S)`` → ``(B, out_channels, *S)``."""
        return self.dropout(self.activation(self.norm(self.pointwise(self.depthwise(x)))))


def separable_blocks(
    in_channels: int, out_channels: int, count: int, *, kernel: Sequence[int], norm: str, drop: float
) -> nn.Sequential:
    """``count`` SeparableBlocks in a row, the first of which changes the width."""
    widths = (in_channels, *(out_channels,) * count)
    return nn.Sequential(
        *(
            SeparableBlock(before, out_channels, kernel=kernel, norm=norm, drop=drop)
            for before in widths[:count]
        )
    )
