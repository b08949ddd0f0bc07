"""The two blocks everything is made of."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unetkit.spatial.layers import SLOPE, Pointwise, average_pool, convolution, dropout, normalization


class ConvBlock(nn.Module):
    """Convolution → normalisation → LeakyReLU → channel dropout.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        kernel: Pixels per axis, odd; its length is the rank.
        stride: Pixels per axis.
        norm: ``instance``, ``batch`` or ``group``.
        drop: Probability of dropping a channel.
        activated: Whether there is a LeakyReLU at all.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: Sequence[int],
        stride: Sequence[int],
        norm: str,
        drop: float = 0.0,
        activated: bool = True,
    ) -> None:
        super().__init__()
        rank = len(kernel)
        self.conv = convolution(in_channels, out_channels, kernel=kernel, stride=stride)
        slope = SLOPE if activated else 1.0
        self.norm, self.activation = normalization(norm, out_channels, rank=rank, slope=slope)
        self.dropout = dropout(drop, rank=rank)

    def forward(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b k *t"]:
        """``(B, C, *S)`` → ``(B, out_channels, *S / stride)``."""
        return self.dropout(self.activation(self.norm(self.conv(x))))


class ResidualBlock(nn.Module):
    """Two convolutions beside a skip: conv-norm-act-conv-norm, plus the input, then LeakyReLU.

    Where the block strides, the input is averaged over each window; where the width changes it is
    projected (convolution of kernel 1 without bias, then normalisation). The last normalisation starts at
    zero, so that a new network starts as a shallow one.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        kernel: Pixels per axis, odd; its length is the rank.
        stride: Pixels per axis, of the first convolution.
        norm: ``instance``, ``batch`` or ``group``.
        drop: Probability of dropping a channel.

    Reference:
        He et al., Deep Residual Learning, CVPR 2016; Isensee et al., nnU-Net Revisited, MICCAI 2024.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: Sequence[int],
        stride: Sequence[int],
        norm: str,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        flat = (1,) * len(kernel)
        self.first = ConvBlock(in_channels, out_channels, kernel=kernel, stride=stride, norm=norm, drop=drop)
        self.second = ConvBlock(
            out_channels, out_channels, kernel=kernel, stride=flat, norm=norm, activated=False
        )
        skip: list[nn.Module] = []
        if tuple(stride) != flat:
            skip.append(average_pool(stride))
        if in_channels != out_channels:
            projection_norm, _ = normalization(norm, out_channels, rank=len(kernel))
            skip += [Pointwise(in_channels, out_channels, bias=False), projection_norm]
        self.skip = nn.Sequential(*skip)

    def become_neutral(self) -> None:
        """Start as the skip alone: the last normalisation scales by zero."""
        nn.init.zeros_(self.second.norm.weight)  # pyright: ignore[reportArgumentType] - every norm has one

    def forward(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b k *t"]:
        """``(B, C, *S)`` → ``(B, out_channels, *S / stride)``."""
        return F.leaky_relu(self.second(self.first(x)) + self.skip(x), SLOPE)


def conv_blocks(
    in_channels: int,
    out_channels: int,
    count: int,
    *,
    kernel: Sequence[int],
    stride: Sequence[int],
    norm: str,
    drop: float,
) -> nn.Sequential:
    """``count`` ConvBlocks in a row, the first of which strides and changes the width."""
    flat = (1,) * len(kernel)
    return nn.Sequential(
        *(
            ConvBlock(
                out_channels if i else in_channels,
                out_channels,
                kernel=kernel,
                stride=flat if i else stride,
                norm=norm,
                drop=drop,
            )
            for i in range(count)
        )
    )


def initialize(network: nn.Module) -> None:
    """He initialisation for LeakyReLU of every kernel, zero for every bias, in place.

    Then every part that has a ``become_neutral`` is asked to: a residual block to be its skip, a gate to be
    open, so that a new network starts as the simpler one without it.

    Reference:
        He et al., Delving Deep into Rectifiers, ICCV 2015.
    """
    for module in network.modules():
        weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
        if isinstance(weight, nn.Parameter) and weight.ndim > 1:
            nn.init.kaiming_normal_(weight, a=SLOPE)
            if isinstance(bias, nn.Parameter):
                nn.init.zeros_(bias)
    for module in network.modules():
        neutral = getattr(module, "become_neutral", None)
        if neutral is not None:
            neutral()
