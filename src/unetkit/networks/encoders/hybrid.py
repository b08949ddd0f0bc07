"""The convolutional half of R50-ViT: a ResNet of weight-standardised convolutions, then tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unetkit.records.plan import NetworkPlan
from unetkit.spatial.instance_norm import InstanceNorm
from unetkit.spatial.layers import LAYERS, SLOPE, GroupNorm, Pointwise, evened
from unetkit.spatial.scale import max_pooled_wide

_GROUPS = 32
_ROOT = 7
_EPS = 1e-5


class HybridEncoder(nn.Module):
    """A strided convolution as root, stages of bottleneck units, and a linear map of the last to tokens.

    The root is the first stage, its kernel 7 along every axis along which ``kernels[0]`` is above 1, and
    ``blocks[0]`` without effect; a max-pool makes the stride of the second stage. Units are a quarter as wide
    inside. The last stage of units is twice as wide as the one before, as in every ResNet, whatever the width
    of the tokens, ``widths[-1]``. ``norm`` and ``dropout`` are without effect: the groups that are normalised
    belong to the architecture. R50-ViT-B/16 has widths 64, 256, 512 and 768 at stride 2 each; 3, 4 and 9
    units; and the bottleneck ``vit`` of 12 layers.

    Args:
        network: The plan.
        rank: Spatial axes.
        in_channels: Channels of the image.

    Reference:
        Dosovitskiy et al., ViT, ICLR 2021; Chen et al., TransUNet, arXiv:2102.04306.
    """

    def __init__(self, network: NetworkPlan, rank: int, in_channels: int) -> None:
        super().__init__()
        self.channels = network.widths
        self.strides = network.strides
        *inner, tokens = network.widths
        widths = (*inner, 2 * inner[-1])
        kernel = tuple(_ROOT if size > 1 else 1 for size in network.kernels[0])
        root = nn.Sequential(
            StandardizedConv(in_channels, widths[0], kernel=kernel, stride=network.strides[0]),
            _group_norm(widths[0]),
            nn.ReLU(inplace=True),
        )
        stages = [_stage(network, i, widths[i - 1], widths[i]) for i in range(1, len(widths))]
        stages[0].insert(0, _WidePool(network.strides[1]))
        stages[-1].append(Pointwise(widths[-1], tokens))
        self.stages = nn.ModuleList([root, *stages])

    def forward(self, x: Float[Tensor, "b c *s"]) -> list[Tensor]:
        """``(B, C, *S)`` → features fine to coarse, the last as wide as a token."""
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features

    def blocks_by_stage(self) -> list[list[nn.Module]]:
        """The modules of each stage, the image's side first; the map to tokens belongs to the last."""
        return [[stage] for stage in self.stages]


class BottleneckUnit(nn.Module):
    """Convolutions of kernel 1, ``kernel`` and 1, the middle one narrow, beside a skip; starts as the skip.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output; the middle is a quarter of it.
        kernel: Pixels per axis of the middle one, odd; its length is the rank.
        stride: Pixels per axis of the middle one.

    Reference:
        He et al., Deep Residual Learning, CVPR 2016; Kolesnikov et al., Big Transfer, ECCV 2020.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel: Sequence[int], stride: Sequence[int]
    ) -> None:
        super().__init__()
        inner, flat = max(1, out_channels // 4), (1,) * len(kernel)
        self.narrow = StandardizedConv(in_channels, inner, kernel=flat, stride=flat)
        self.spatial = StandardizedConv(inner, inner, kernel=kernel, stride=stride)
        self.widen = StandardizedConv(inner, out_channels, kernel=flat, stride=flat)
        self.norms = nn.ModuleList(_group_norm(width) for width in (inner, inner, out_channels))
        self.skip = nn.Sequential()
        if in_channels != out_channels or tuple(stride) != flat:
            projection = StandardizedConv(in_channels, out_channels, kernel=flat, stride=stride)
            self.skip.extend([projection, InstanceNorm(out_channels)])

    def become_neutral(self) -> None:
        """Start as the skip alone: the last normalisation scales by zero."""
        nn.init.zeros_(self.norms[-1].weight)  # pyright: ignore[reportArgumentType] - a GroupNorm

    def forward(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b k *t"]:
        """``(B, C, *S)`` → ``(B, out_channels, *S / stride)``, rounded up."""
        first, second, third = self.norms
        y = F.relu(first(self.narrow(x)))
        y = F.relu(second(self.spatial(y)))
        return F.relu(third(self.widen(y)) + self.skip(x))


class StandardizedConv(nn.Module):
    """A convolution without bias whose kernels are brought to mean 0 and variance 1 before they are applied.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        kernel: Pixels per axis, odd; its length is the rank.
        stride: Pixels per axis.

    Reference:
        Qiao et al., Weight Standardization, arXiv:1903.10520.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel: Sequence[int], stride: Sequence[int]
    ) -> None:
        super().__init__()
        self.stride = tuple(stride)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *kernel))
        nn.init.kaiming_normal_(self.weight, a=SLOPE)

    def forward(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b k *t"]:
        """``(B, C, *S)`` → ``(B, out_channels, *S / stride)``, rounded up."""
        kernel = self.weight.shape[2:]
        axes = tuple(range(1, self.weight.ndim))
        variance, mean = torch.var_mean(self.weight, axes, correction=0, keepdim=True)
        weight = (self.weight - mean) * torch.rsqrt(variance + _EPS)
        padding = [size // 2 for size in kernel]
        return LAYERS[len(kernel)].convolve(evened(x, self.stride), weight, None, self.stride, padding)


class _WidePool(nn.Module):
    def __init__(self, stride: Sequence[int]) -> None:
        super().__init__()
        self.stride = tuple(stride)

    def forward(self, x: Tensor) -> Tensor:
        return max_pooled_wide(x, self.stride)


def _group_norm(channels: int) -> GroupNorm:
    return GroupNorm(math.gcd(_GROUPS, channels), channels)


def _stage(network: NetworkPlan, i: int, in_channels: int, out_channels: int) -> nn.Sequential:
    flat = (1,) * len(network.kernels[i])
    return nn.Sequential(
        *(
            BottleneckUnit(
                out_channels if unit else in_channels,
                out_channels,
                kernel=network.kernels[i],
                stride=flat if unit or i == 1 else network.strides[i],
            )
            for unit in range(network.blocks[i])
        )
    )
