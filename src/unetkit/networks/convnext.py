"""The blocks of MedNeXt: one wide depthwise convolution, then channels alone, beside a skip."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unetkit.errors import UsageError
from unetkit.records.plan import NetworkPlan
from unetkit.spatial.depthwise import Depthwise, DepthwiseUpsampling, PointUpsampling
from unetkit.spatial.layers import Pointwise, dropout, normalization
from unetkit.spatial.memory_format import memory_format
from unetkit.spatial.scale import subsampled

LEAST_EXPANSION = 2  # that of MedNeXt-S


class InvertedBranch(nn.Module):
    """What a MedNeXt block adds to its skip: resample → normalise → widen → GELU → narrow → channel dropout.

    Args:
        spatial: The depthwise convolution, which may stride either way.
        in_channels: Width of the input.
        out_channels: Width of the output.
        rank: Spatial axes.
        expansion: Width between the two convolutions of kernel 1, as a multiple of ``in_channels``.
        norm: ``instance`` (as published), ``batch`` or ``group``.
        drop: Probability of dropping a channel.
    """

    def __init__(
        self,
        spatial: nn.Module,
        in_channels: int,
        out_channels: int,
        *,
        rank: int,
        expansion: int,
        norm: str,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.spatial = spatial
        self.norm, _ = normalization(norm, in_channels, rank=rank)
        self.widen = Pointwise(in_channels, expansion * in_channels)
        self.narrow = Pointwise(expansion * in_channels, out_channels)
        self.dropout = dropout(drop, rank=rank)

    def forward(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b k *t"]:
        """``(B, C, *S)`` → ``(B, out_channels, *T)``, of the size that ``spatial`` gives."""
        return self.dropout(self.narrow(F.gelu(self.widen(self.norm(self.spatial(x))))))


class ConvNextBlock(nn.Module):
    """The input plus a branch that keeps width and size; it starts as the input alone.

    Args:
        channels: Width.
        kernel: Pixels per axis, odd; its length is the rank.
        expansion: Widening inside the branch.
        norm: ``instance``, ``batch`` or ``group``.
        drop: Probability of dropping a channel.

    Reference:
        Roy et al., MedNeXt, MICCAI 2023 (arXiv:2303.09975).
    """

    def __init__(
        self, channels: int, *, kernel: Sequence[int], expansion: int, norm: str, drop: float = 0.0
    ) -> None:
        super().__init__()
        rank = len(kernel)
        spatial = Depthwise(channels, kernel=kernel, stride=(1,) * rank)
        self.branch = InvertedBranch(
            spatial, channels, channels, rank=rank, expansion=expansion, norm=norm, drop=drop
        )

    def become_neutral(self) -> None:
        """Start as the skip alone: the branch's last convolution is zero."""
        nn.init.zeros_(self.branch.narrow.weight)

    def forward(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b c *s"]:
        """``(B, C, *S)`` → the same shape."""
        return x + self.branch(x)


class ConvNextDown(nn.Module):
    """A step down: the branch strides, the skip is a convolution of kernel 1 on every ``stride``-th pixel.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        kernel: Pixels per axis, odd; its length is the rank.
        stride: Pixels per axis.
        expansion: Widening inside the branch.
        norm: ``instance``, ``batch`` or ``group``.
        drop: Probability of dropping a channel.

    Reference:
        Roy et al., MedNeXt, MICCAI 2023 (arXiv:2303.09975).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: Sequence[int],
        stride: Sequence[int],
        expansion: int,
        norm: str,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.stride = tuple(stride)
        spatial = Depthwise(in_channels, kernel=kernel, stride=stride)
        self.branch = InvertedBranch(
            spatial, in_channels, out_channels, rank=len(kernel), expansion=expansion, norm=norm, drop=drop
        )
        self.skip = Pointwise(in_channels, out_channels)

    def forward(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b k *t"]:
        """``(B, C, *S)`` → ``(B, out_channels, *S / stride)``, rounded up."""
        some = subsampled(x, self.stride).contiguous(memory_format=memory_format(x))
        return self.skip(some) + self.branch(x)


class ConvNextUp(nn.Module):
    """A step up: branch and skip are transposed convolutions, the latter of kernel 1.

    Both end at the last pixel's place; as published, the zeros that make up the whole size come first.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        kernel: Pixels per axis, odd; its length is the rank.
        stride: Pixels per axis.
        expansion: Widening inside the branch.
        norm: ``instance``, ``batch`` or ``group``.
        drop: Probability of dropping a channel.

    Reference:
        Roy et al., MedNeXt, MICCAI 2023 (arXiv:2303.09975).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: Sequence[int],
        stride: Sequence[int],
        expansion: int,
        norm: str,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.missing = [number for step in reversed(stride) for number in (step - 1, 0)]
        spatial = DepthwiseUpsampling(in_channels, kernel=kernel, stride=stride)
        self.branch = InvertedBranch(
            spatial, in_channels, out_channels, rank=len(kernel), expansion=expansion, norm=norm, drop=drop
        )
        self.skip = PointUpsampling(in_channels, out_channels, stride=stride)

    def forward(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b k *t"]:
        """``(B, C, *S)`` → ``(B, out_channels, *S · stride)``."""
        y = F.pad(self.branch(x) + self.skip(x), self.missing)
        return y.contiguous(memory_format=memory_format(x))


def expansions(network: NetworkPlan) -> tuple[int, ...]:
    """The widening inside the blocks of each stage.

    Args:
        network: The plan; without ``expansion`` it is ``LEAST_EXPANSION`` everywhere.

    Raises:
        UsageError: There is not one positive entry per stage.

    Example:
        >>> from unetkit.records.plan import EXAMPLE
        >>> expansions(NetworkPlan(**EXAMPLE["network"]))
        (2, 2)
    """
    wanted = len(network.widths)
    given = network.expansion or (LEAST_EXPANSION,) * wanted
    if len(given) != wanted or min(given) < 1:
        raise UsageError(
            f"network.expansion is {list(given)}, {wanted} positive numbers were expected, one per width",
            cure=f"give network.expansion {wanted} entries, or none for {LEAST_EXPANSION} everywhere",
        )
    return given


def convnext_blocks(network: NetworkPlan, stage: int, channels: int, count: int) -> nn.Sequential:
    """``count`` ConvNextBlocks of one stage in a row."""
    return nn.Sequential(
        *(
            ConvNextBlock(
                channels,
                kernel=network.kernels[stage],
                expansion=expansions(network)[stage],
                norm=network.norm,
                drop=network.dropout,
            )
            for _ in range(count)
        )
    )
