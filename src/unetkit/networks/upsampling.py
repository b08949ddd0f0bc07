"""The step up: from the pixels of one stage to those of the next finer one."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from unetkit.spatial.layers import Upsampling
from unetkit.spatial.scale import enlarged


class LinearUpsampling(nn.Module):
    """Linear interpolation in which pixel ``i`` comes to lie at ``i · stride``; nothing is learned.

    Args:
        stride: Pixels per axis of the result for one of the input; its length is the rank.
    """

    def __init__(self, stride: Sequence[int]) -> None:
        super().__init__()
        self.stride = tuple(stride)

    def forward(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b c *t"]:
        """``(B, C, *S)`` → ``(B, C, *S · stride)``."""
        size = [length * step for length, step in zip(x.shape[2:], self.stride, strict=True)]
        return enlarged(x, self.stride, size)


def step_up(
    kind: str, in_channels: int, width: int, *, stride: Sequence[int]
) -> tuple[Upsampling | LinearUpsampling, int]:
    """What takes a decoder one stage up, and the width it answers with.

    Args:
        kind: ``transposed`` (to ``width``), ``transposed_wide`` (keeps the width it comes with) or
            ``linear`` (likewise).
        in_channels: Width of the coarser stage.
        width: Width of the finer stage.
        stride: Pixels per axis of the finer stage for one of the coarser.

    Reference:
        ``transposed``: Ronneberger et al., MICCAI 2015. ``transposed_wide``: Çiçek et al., MICCAI 2016.
        ``linear``: Oktay et al., MIDL 2018.

    Example:
        >>> [step_up(kind, 8, 4, stride=(2, 2))[1] for kind in ("transposed", "transposed_wide", "linear")]
        [4, 8, 8]
    """
    if kind == "linear":
        return LinearUpsampling(stride), in_channels
    out_channels = width if kind == "transposed" else in_channels
    return Upsampling(in_channels, out_channels, stride=stride), out_channels
