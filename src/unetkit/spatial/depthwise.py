"""Depthwise convolutions, forth and transposed: one kernel per channel, fast on a CPU too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from unetkit.spatial.layers import LAYERS, SLOPE, evened
from unetkit.spatial.memory_format import memory_format
from unetkit.spatial.tracing import traced

_convolution_backward = torch.ops.aten.convolution_backward.default
_EACH = (1, 1, 1)


class Depthwise(nn.Module):
    """A convolution of each channel with its own odd kernel.

    Args:
        channels: Width.
        kernel: Pixels per axis; its length is the rank.
        stride: Pixels per axis.

    Reference:
        Howard et al., MobileNets, arXiv:1704.04861.
    """

    def __init__(self, channels: int, *, kernel: Sequence[int], stride: Sequence[int]) -> None:
        super().__init__()
        self.stride = tuple(stride)
        self.weight = nn.Parameter(torch.empty(channels, 1, *kernel))
        self.bias = nn.Parameter(torch.zeros(channels))
        nn.init.kaiming_normal_(self.weight, a=SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *S)`` → ``(B, C, *S / stride)``, rounded up."""
        return depthwise(evened(x, self.stride), self.weight, self.bias, stride=self.stride)


class DepthwiseUpsampling(nn.Module):
    """A transposed convolution of each channel with its own odd kernel: pixel ``i`` lands at ``i · stride``.

    Args:
        channels: Width.
        kernel: Pixels per axis; its length is the rank.
        stride: Pixels per axis.
    """

    def __init__(self, channels: int, *, kernel: Sequence[int], stride: Sequence[int]) -> None:
        super().__init__()
        self.stride = tuple(stride)
        self.weight = nn.Parameter(torch.empty(channels, 1, *kernel))
        self.bias = nn.Parameter(torch.zeros(channels))
        nn.init.kaiming_normal_(self.weight, a=SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *S)`` → ``(B, C, *(S - 1) · stride + 1)``.

        In channels_last on a CPU it is the convolution that it is, of pixels with zeros between them, with
        the kernel turned around: torch's own takes twice as long.
        """
        rank, kernel = len(self.stride), self.weight.shape[2:]
        if _plain(x) or memory_format(x) == torch.contiguous_format:
            padding = [size // 2 for size in kernel]
            transposed = LAYERS[rank].convolve_transposed
            return transposed(x, self.weight, self.bias, self.stride, padding, 0, x.shape[1])
        turned = self.weight.flip(*range(2, 2 + rank))
        return depthwise(_spread(x, self.stride), turned, self.bias, stride=(1,) * rank)


class PointUpsampling(nn.Module):
    """A transposed convolution of kernel 1: pixel ``i`` lands at ``i · stride``, between them is the bias.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        stride: Pixels per axis; its length is the rank.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: Sequence[int]) -> None:
        super().__init__()
        self.stride = tuple(stride)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.kaiming_normal_(self.weight, a=SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *S)`` → ``(B, out_channels, *(S - 1) · stride + 1)`` in the same memory format."""
        blank = [None] * len(self.stride)
        if _plain(x) or memory_format(x) == torch.contiguous_format:
            kernel = self.weight.t()[(..., *blank)]
            y = LAYERS[len(blank)].convolve_transposed(x, kernel, self.bias, self.stride)
            return y.contiguous(memory_format=memory_format(x))
        points = F.linear(x.movedim(1, -1), self.weight).movedim(-1, 1)
        return _spread(points, self.stride) + self.bias[(..., *blank)].to(points.dtype)


def depthwise(x: Tensor, weight: Tensor, bias: Tensor, *, stride: Sequence[int]) -> Tensor:
    """Convolve each channel with its own kernel, padded with zeros to keep the size at stride 1.

    For volumes on a CPU torch has a fast way forth in float32 and slow ways back; ours are made of the former
    and of its kernels for pictures (in channels_last a fifth to an eighth of the time, measured). In bfloat16
    it has neither, so that float32 is worked in.

    Args:
        x: ``(B, C, *S)``.
        weight: ``(C, 1, *kernel)``, of odd size.
        bias: ``(C,)``.
        stride: Pixels per axis.

    Returns:
        ``(B, C, *S / stride)``, rounded up.

    Example:
        >>> depthwise(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3), torch.zeros(1), stride=(1, 1))
        tensor([[[[4., 6., 4.],
                  [6., 9., 6.],
                  [4., 6., 4.]]]])
    """
    if len(stride) == 2 or _plain(x):
        return _convolved(x, weight, bias, stride)
    half = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    if half.itemsize < 4:
        x, weight, bias = x.float(), weight.float(), bias.float()
    with torch.autocast("cpu", enabled=False):
        if math.prod(stride) > 1:
            return _convolved(x, weight, bias, stride).to(half)
        return _DepthwiseVolume.apply(x, weight, bias).to(half)  # pyright: ignore[reportOptionalMemberAccess]


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int]) -> Tensor:
    padding = [size // 2 for size in weight.shape[2:]]
    return LAYERS[len(stride)].convolve(x, weight, bias, tuple(stride), padding, 1, x.shape[1])


def _plain(x: Tensor) -> bool:
    """Whether torch's own operation is wanted: on a GPU, or where a compiler or an exporter is watching."""
    return traced() or x.device.type != "cpu"


def _spread(x: Tensor, stride: Sequence[int]) -> Tensor:
    """``(B, C, *S)`` → ``(B, C, *(S - 1) · stride + 1)``: zeros between the pixels, in the same format."""
    size = [(length - 1) * step + 1 for length, step in zip(x.shape[2:], stride, strict=True)]
    wide = torch.empty(*x.shape[:2], *size, dtype=x.dtype, memory_format=memory_format(x)).zero_()
    wide[(slice(None), slice(None), *(slice(None, None, step) for step in stride))] = x
    return wide


class _DepthwiseVolume(torch.autograd.Function):
    """A depthwise convolution of volumes at stride 1 whose ways back are convolutions torch is fast at."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(x, weight)
        return _convolved(x, weight, bias, _EACH)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator hides its names
        ctx: Any,  # noqa: ANN401 - whatever autograd passes
        *grad_outputs: Tensor,
    ) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = grad_outputs[0].contiguous(memory_format=memory_format(x))
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = _convolved(gradient, weight.flip(2, 3, 4), None, _EACH)
        if ctx.needs_input_grad[1]:
            of_weight = _gradient_of_kernel(x, gradient, weight)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3, 4))
        return of_x, of_weight, of_bias


def _gradient_of_kernel(x: Tensor, gradient: Tensor, weight: Tensor) -> Tensor:
    """The gradient by the kernel, plane by plane of it: each is that of a convolution of pictures.

    Args:
        x: ``(B, C, *S)``.
        gradient: ``(B, C, *S)`` by the result.
        weight: ``(C, 1, *kernel)``.
    """
    channels, _, planes, *plane = weight.shape
    total, depth = torch.zeros_like(weight), x.shape[2]
    for tap in range(planes):
        shift = tap - planes // 2
        reach = depth - abs(shift)  # slices that have a partner ``shift`` further on
        if reach <= 0:
            continue
        for sample, pull in zip(x, gradient, strict=True):
            _, part, _ = _convolution_backward(
                pull.narrow(1, max(-shift, 0), reach).movedim(1, 0),
                sample.narrow(1, max(shift, 0), reach).movedim(1, 0),
                weight[:, :, tap],
                None,
                (1, 1),
                [size // 2 for size in plane],
                (1, 1),
                False,
                (0, 0),
                channels,
                (False, True, False),
            )
            total[:, :, tap] += part
    return total
