"""The one table from rank to layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unetkit.spatial.instance_norm import InstanceNorm
from unetkit.spatial.memory_format import memory_format
from unetkit.spatial.tracing import beyond, exported, traced
from unetkit.spatial.winograd import convolve_halved, halves

SLOPE = 1e-2
"""Slope of every LeakyReLU below zero; also what the He initialisation assumes."""


@dataclass(frozen=True)
class Layers:
    """The layers of one rank.

    Args:
        conv: Convolution.
        strided: The same for a stride above 1: it sees no made-up zero behind the last pixel.
        convolve: The same as a function of input, weight and bias.
        convolve_transposed: Transposed convolution, likewise.
        batch_norm: Batch normalisation.
        dropout: Dropout of whole channels.
        interpolation: ``mode`` of ``torch.nn.functional.interpolate`` for values between pixels.
    """

    conv: type[nn.Module]
    strided: type[nn.Module]
    convolve: Callable[..., Tensor]
    convolve_transposed: Callable[..., Tensor]
    batch_norm: type[nn.Module]
    dropout: type[nn.Module]
    interpolation: str


class _Volume(nn.Conv3d):
    """At stride 1, with half the multiplications where that is faster."""

    def forward(self, input: Tensor) -> Tensor:
        if self.kernel_size == (3, 3, 3) and self.groups == 1 and halves(input, self.out_channels):
            return convolve_halved(input, self.weight, self.bias)
        return super().forward(input)


class _Evened(nn.Module):
    """In front of a strided convolution."""

    stride: tuple[int, ...]

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(evened(input, self.stride))


class _StridedPicture(_Evened, nn.Conv2d):
    pass


class _StridedVolume(_Evened, nn.Conv3d):
    pass


LAYERS = {
    2: Layers(
        nn.Conv2d, _StridedPicture, F.conv2d, F.conv_transpose2d, nn.BatchNorm2d, nn.Dropout2d, "bilinear"
    ),
    3: Layers(
        _Volume, _StridedVolume, F.conv3d, F.conv_transpose3d, nn.BatchNorm3d, nn.Dropout3d, "trilinear"
    ),
}


def convolution(
    in_channels: int,
    out_channels: int,
    *,
    kernel: Sequence[int],
    stride: Sequence[int],
    bias: bool = True,
    groups: int = 1,
) -> nn.Module:
    """A convolution of odd ``kernel`` that keeps the size at stride 1 and divides it, rounding up, otherwise.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        kernel: Pixels per axis; its length is the rank.
        stride: Pixels per axis.
        bias: Whether a constant per channel is learned.
        groups: Into how many groups the channels fall; ``in_channels`` for a depthwise convolution.

    Where a strided axis is no multiple of its stride, its last pixel is repeated (``evened``).
    """
    padding = tuple(size // 2 for size in kernel)
    layers = LAYERS[len(kernel)]
    layer = layers.conv if all(step == 1 for step in stride) else layers.strided
    return layer(in_channels, out_channels, tuple(kernel), tuple(stride), padding, groups=groups, bias=bias)


def evened(x: Tensor, stride: Sequence[int]) -> Tensor:
    """Repeat the last pixel of every axis until its length is a multiple of the stride.

    Training patches halve evenly, and there the last window of a strided convolution lies inside of the
    image. An image of odd length would show it a zero instead, which it has never seen on that side: a line
    of false pixels along the border was the answer (on retinal photographs of 565 × 584 pixels a mean HD95 of
    46 pixels, against 11 with the repeated pixel).

    Args:
        x: ``(B, C, *S)``.
        stride: Pixels per axis.

    Example:
        >>> evened(torch.arange(3.0).reshape(1, 1, 1, 3), (1, 2)).flatten().tolist()
        [0.0, 1.0, 2.0, 2.0]
    """
    sides = beyond(x, stride)
    # An exported graph takes images of any size: there it is padded always, by nothing where all is even.
    if not exported() and not any(sides):
        return x
    return F.pad(x, sides, mode="replicate").contiguous(memory_format=memory_format(x))


def cropped(x: Tensor, size: Sequence[int]) -> Tensor:
    """The first ``size`` pixels of every axis, as a view.

    Args:
        x: ``(B, C, *S)``, nowhere shorter than ``size``.
        size: Pixels per axis.
    """
    for axis, length in enumerate(size, start=2):
        if exported() or x.shape[axis] != length:
            x = x.narrow(axis, 0, length)
    return x


def average_pool(stride: Sequence[int]) -> nn.Module:
    """The mean over blocks of ``stride`` pixels, in the input's memory format."""
    return AveragePool(tuple(stride))


def dropout(probability: float, *, rank: int) -> nn.Module:
    """Dropout of whole channels, nothing at probability 0."""
    return LAYERS[rank].dropout(probability) if probability > 0 else nn.Identity()


def normalization(kind: str, channels: int, *, rank: int, slope: float = 1.0) -> tuple[nn.Module, nn.Module]:
    """A normalisation and the LeakyReLU that follows it, to be applied one after the other.

    Instance normalisation takes the activation in, so that each sample is activated while it is still in
    the processor's cache; the second module then does nothing.

    Args:
        kind: ``instance``, ``batch`` or ``group`` (at most 8 groups).
        channels: Width.
        rank: Spatial axes.
        slope: Slope of the LeakyReLU below zero; 1 for no activation.
    """
    if kind == "instance":
        return InstanceNorm(channels, slope=slope), nn.Identity()
    activation = nn.Identity() if slope == 1.0 else nn.LeakyReLU(slope, inplace=True)
    if kind == "batch":
        return LAYERS[rank].batch_norm(channels), activation
    return GroupNorm(math.gcd(8, channels), channels), activation


class AveragePool(nn.Module):
    """Mean over blocks, in the input's memory format.

    Torch's own for 3 axes copies a channels_last tensor to contiguous and answers contiguous; there, planes
    are pooled as pictures, which needs no copy, and then averaged.
    """

    def __init__(self, stride: tuple[int, ...]) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *S)`` → ``(B, C, *S / stride)``, rounded up: the last block may be a smaller one."""
        if exported():  # OpenVINO refuses a block larger than the image: fill up
            pool = F.avg_pool2d if len(self.stride) == 2 else F.avg_pool3d
            if max(self.stride) == 2:  # what a cut block of two lacks is the pixel it has
                return pool(evened(x, self.stride), self.stride)
            edge = beyond(x, self.stride)  # with zeros, then divide by the share that is image
            shares = pool(F.pad(torch.ones_like(x[:1, :1]), edge), self.stride)
            return pool(F.pad(x, edge), self.stride) / shares
        if len(self.stride) == 2:
            return F.avg_pool2d(x, self.stride, ceil_mode=True)
        whole = all(length % by == 0 for length, by in zip(x.shape[2:], self.stride, strict=True))
        if memory_format(x) == torch.contiguous_format or traced() or not whole:
            # torch refuses a block larger than the image where it has 3 axes
            stride = [min(length, by) for length, by in zip(x.shape[2:], self.stride, strict=True)]
            pooled = F.avg_pool3d(x, stride, ceil_mode=True)
            return pooled.contiguous(memory_format=memory_format(x))
        depth, *plane = self.stride
        planes = F.avg_pool2d(x.movedim(2, 1).flatten(0, 1), plane).unflatten(0, (len(x), -1, depth))
        return (sum(planes.unbind(2)[1:], planes.select(2, 0)) / depth).movedim(1, 2)


class Upsampling(nn.Module):
    """A transposed convolution whose kernel is its stride: each pixel becomes its own block of pixels.

    In channels_last on a CPU it is computed as the matrix product it is: its gradient takes half the time.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        stride: Pixels per axis of a block; its length is the rank.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: Sequence[int]) -> None:
        super().__init__()
        self.stride = tuple(stride)
        self.weight = nn.Parameter(torch.empty(in_channels, out_channels, *stride))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.kaiming_normal_(self.weight, a=SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *S)`` → ``(B, out_channels, *S · stride)`` in the same memory format."""
        rank = len(self.stride)
        if traced() or x.device.type != "cpu" or memory_format(x) == torch.contiguous_format:
            return LAYERS[rank].convolve_transposed(x, self.weight, self.bias, self.stride)
        kernel = self.weight.movedim((0, 1), (-1, -2)).flatten(0, -2)
        blocks = F.linear(x.movedim(1, -1), kernel, self.bias.repeat(math.prod(self.stride)))
        blocks = blocks.unflatten(-1, (*self.stride, -1))
        for axis in range(rank):  # (B, *S, *stride, K): each block axis goes beside its own
            blocks = blocks.movedim(1 + rank + axis, 2 + 2 * axis)
        for axis in range(rank):
            blocks = blocks.flatten(1 + axis, 2 + axis)
        return blocks.movedim(-1, 1)


class GroupNorm(nn.Module):
    """Group normalisation with affine parameters.

    Torch's channels_last kernel takes the variance as ``E[x²] - E[x]²`` in float32, which is off by 4e-4
    for a mean of 10 standard deviations and garbage for 1000; the contiguous one is exact and used instead.

    Args:
        groups: Number of groups; divides ``channels``.
        channels: Width.

    Reference:
        Wu and He, Group Normalization, ECCV 2018.
    """

    def __init__(self, groups: int, channels: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *S)`` → the same shape and memory format."""
        y = torch.group_norm(x.contiguous(), self.groups, self.weight, self.bias)
        return y.contiguous(memory_format=memory_format(x))


class Pointwise(nn.Module):
    """A convolution of kernel 1, as the matrix product it is (up to 10 times faster than torch's on a CPU).

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        bias: Whether a constant per channel is learned.
    """

    bias: nn.Parameter | None

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels))
        self.register_parameter("bias", nn.Parameter(torch.zeros(out_channels)) if bias else None)
        nn.init.kaiming_normal_(self.weight, a=SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *S)`` → ``(B, out_channels, *S)`` in the same memory format."""
        if traced():
            kernel = self.weight[(..., *[None] * (x.ndim - 2))]
            return LAYERS[x.ndim - 2].convolve(x, kernel, self.bias)
        if memory_format(x) != torch.contiguous_format:
            return F.linear(x.movedim(1, -1), self.weight, self.bias).movedim(-1, 1)
        y = torch.matmul(self.weight, x.flatten(2))
        if self.bias is not None:
            y = y + self.bias[:, None]
        return y.unflatten(2, x.shape[2:])
