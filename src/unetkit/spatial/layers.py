"""The one table from rank to layer, and a normalisation that is fast in either memory format."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from unetkit.spatial.memory_format import channels_last

SLOPE = 1e-2
"""Slope of every LeakyReLU below zero; also what the He initialisation assumes."""

_batch_norm_out = torch.ops.aten.native_batch_norm.out
_batch_norm_backward = torch.ops.aten.native_batch_norm_backward.default
_leaky_relu_backward_out = torch.ops.aten.leaky_relu_backward.grad_input


@dataclass(frozen=True)
class Layers:
    """The layers of one rank.

    Args:
        conv: Convolution.
        convolve: The same as a function of input, weight and bias.
        convolve_transposed: Transposed convolution, likewise.
        batch_norm: Batch normalisation.
        dropout: Dropout of whole channels.
        interpolation: ``mode`` of ``torch.nn.functional.interpolate`` for values between pixels.
    """

    conv: type[nn.Module]
    convolve: Callable[..., Tensor]
    convolve_transposed: Callable[..., Tensor]
    batch_norm: type[nn.Module]
    dropout: type[nn.Module]
    interpolation: str


LAYERS = {
    2: Layers(nn.Conv2d, F.conv2d, F.conv_transpose2d, nn.BatchNorm2d, nn.Dropout2d, "bilinear"),
    3: Layers(nn.Conv3d, F.conv3d, F.conv_transpose3d, nn.BatchNorm3d, nn.Dropout3d, "trilinear"),
}


def memory_format(x: Tensor) -> torch.memory_format:
    """The memory format of ``x``; contiguous where both readings hold or neither does.

    Args:
        x: ``(B, C, *S)``.

    Example:
        >>> memory_format(torch.zeros(2, 3, 4, 4))
        torch.contiguous_format
    """
    wanted = channels_last(x.ndim - 2)
    is_last = not x.is_contiguous() and x.is_contiguous(memory_format=wanted)
    return wanted if is_last else torch.contiguous_format


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
    """
    padding = tuple(size // 2 for size in kernel)
    layer = LAYERS[len(kernel)].conv
    return layer(in_channels, out_channels, tuple(kernel), tuple(stride), padding, groups=groups, bias=bias)


def cropped(x: Tensor, size: Sequence[int]) -> Tensor:
    """The first ``size`` pixels of every axis, as a view.

    Args:
        x: ``(B, C, *S)``, nowhere shorter than ``size``.
        size: Pixels per axis.
    """
    for axis, length in enumerate(size, start=2):
        if x.shape[axis] != length:
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
        if len(self.stride) == 2:
            return F.avg_pool2d(x, self.stride, ceil_mode=True)
        whole = all(length % by == 0 for length, by in zip(x.shape[2:], self.stride, strict=True))
        if memory_format(x) == torch.contiguous_format or _traced() or not whole:
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
        if _traced() or x.device.type != "cpu" or memory_format(x) == torch.contiguous_format:
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
        if _traced():
            kernel = self.weight[(..., *[None] * (x.ndim - 2))]
            return LAYERS[x.ndim - 2].convolve(x, kernel, self.bias)
        if memory_format(x) != torch.contiguous_format:
            return F.linear(x.movedim(1, -1), self.weight, self.bias).movedim(-1, 1)
        y = torch.matmul(self.weight, x.flatten(2))
        if self.bias is not None:
            y = y + self.bias[:, None]
        return y.unflatten(2, x.shape[2:])


class InstanceNorm(nn.Module):
    """Instance normalisation with affine parameters, then a LeakyReLU.

    Args:
        channels: Width.
        eps: Added to the variance.
        slope: Slope of the LeakyReLU below zero; 1 for no activation.

    Reference:
        Ulyanov, Vedaldi and Lempitsky, Instance Normalization, arXiv:1607.08022.

    Example:
        >>> InstanceNorm(4)(torch.randn(2, 4, 8, 8)).mean((2, 3)).abs().max().item() < 1e-6
        True
    """

    def __init__(self, channels: int, *, eps: float = 1e-5, slope: float = 1.0) -> None:
        super().__init__()
        self.eps = eps
        self.slope = slope
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *S)`` → the same shape and memory format."""
        return instance_norm(x, self.weight, self.bias, eps=self.eps, slope=self.slope)

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        return f"{len(self.weight)}, eps={self.eps}, slope={self.slope}"


def instance_norm(
    x: Tensor, weight: Tensor, bias: Tensor, *, eps: float = 1e-5, slope: float = 1.0
) -> Tensor:
    """Normalise each channel of each sample, scale and shift it, and apply a LeakyReLU.

    Equal to ``F.leaky_relu(F.instance_norm(x, weight=weight, bias=bias, eps=eps), slope)``. That function
    copies a channels_last tensor to contiguous and answers contiguous; this one keeps the format it is given.

    Args:
        x: ``(B, C, *S)``.
        weight: ``(C,)`` scale.
        bias: ``(C,)`` shift.
        eps: Added to the variance.
        slope: Slope below zero; 1 for no activation.

    Returns:
        ``(B, C, *S)`` in the memory format of ``x``.
    """
    if _traced():
        y = torch.instance_norm(x, weight, bias, None, None, True, 0.0, eps, False)
        return y if slope == 1.0 else F.leaky_relu(y, slope)
    fast = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)
    if fast and memory_format(x) != torch.contiguous_format:
        return _SampleNorm.apply(x, weight, bias, eps, slope)  # pyright: ignore[reportReturnType]
    if x.device.type == "cpu":
        # One group per channel is the same thing, and torch's kernel for it reads the pixels once less.
        y = torch.group_norm(x.contiguous(), x.shape[1], weight, bias, eps)
    else:
        y = torch.instance_norm(x, weight, bias, None, None, True, 0.0, eps, True)
    y = y.contiguous(memory_format=memory_format(x))
    return y if slope == 1.0 else F.leaky_relu_(y, slope)


def _traced() -> bool:
    """Whether a compiler or an exporter is watching, who wants plain operations."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]


class _SampleNorm(torch.autograd.Function):
    """Instance normalisation and LeakyReLU of a channels_last tensor, one sample at a time.

    A sample of a channels_last tensor is itself channels_last, and batch normalisation of one sample is
    instance normalisation: torch's channels_last kernels for the former do the work, in place.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, slope: float) -> Tensor:  # noqa: ANN401
        y = torch.empty_like(x)
        moments = torch.empty(2, *x.shape[:2], dtype=weight.dtype)
        for sample, out, mean, scale in zip(x.split(1), y.split(1), *moments, strict=True):
            _batch_norm_out(
                sample, weight, bias, None, None, True, 0.0, eps, out=out, save_mean=mean, save_invstd=scale
            )
            if slope != 1.0:
                F.leaky_relu_(out, slope)
        ctx.save_for_backward(x, weight, moments, *(() if slope == 1.0 else (y,)))
        ctx.eps, ctx.slope = eps, slope
        return y

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator hides its names
        ctx: Any,  # noqa: ANN401 - whatever autograd passes
        *grad_outputs: Tensor,
    ) -> tuple[Tensor | None, ...]:
        x, weight, moments, *activated = ctx.saved_tensors
        gradient = grad_outputs[0].contiguous(memory_format=memory_format(x))
        in_place = x.dtype == weight.dtype
        of_x, of_weight, of_bias = torch.empty_like(x), torch.zeros_like(weight), torch.zeros_like(weight)
        for i, (mean, scale) in enumerate(zip(*moments, strict=True)):
            sample, out, inner = x[i : i + 1], of_x[i : i + 1], gradient[i : i + 1]
            if activated:
                slope_of = activated[0][i : i + 1]
                _leaky_relu_backward_out(inner, slope_of, ctx.slope, True, grad_input=out)
                inner = out
            whole, weight_part, bias_part = _batch_norm_backward(
                inner, sample, weight, None, None, mean, scale, True, ctx.eps, [not in_place, True, True]
            )
            if in_place:
                _pull_back(out, inner, sample, weight * scale, mean, scale * weight_part, bias_part)
            else:
                out.copy_(whole)
            of_weight += weight_part
            of_bias += bias_part
        return of_x, of_weight, of_bias, None, None


def _pull_back(
    out: Tensor,
    inner: Tensor,
    x: Tensor,
    factor: Tensor,
    mean: Tensor,
    tilt: Tensor,
    total: Tensor,
) -> None:
    """The gradient of normalised pixels by the pixels themselves, without a tensor beside ``out``.

    It is ``factor · (inner - total / n - (x - mean) · tilt / n)``, that is ``factor · inner + x · b + c``.
    Rows of pixels, not single ones, meet the numbers per channel, so that each inner loop is long.

    Args:
        out: ``(1, C, *S)`` channels_last, written to; may be ``inner``.
        inner: ``(1, C, *S)`` gradient by the normalised, scaled pixels.
        x: ``(1, C, *S)`` pixels.
        factor: ``(C,)`` weight over deviation.
        mean: ``(C,)`` mean of ``x``.
        tilt: ``(C,)`` gradient by the weight, over the deviation.
        total: ``(C,)`` gradient by the bias.
    """
    pixels, row = x[0, 0].numel(), x.shape[-1]
    by_x = -factor * tilt / pixels
    constant = -factor * total / pixels - by_x * mean
    factor, by_x, constant = (numbers.repeat(row) for numbers in (factor, by_x, constant))
    out, inner, x = (part.movedim(1, -1).view(-1, len(factor)) for part in (out, inner, x))
    torch.addcmul(constant, inner, factor, out=out).addcmul_(x, by_x)
