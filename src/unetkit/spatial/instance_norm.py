"""Instance normalisation that is fast in either memory format."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from unetkit.spatial.memory_format import memory_format
from unetkit.spatial.tracing import traced

_batch_norm_out = torch.ops.aten.native_batch_norm.out
_batch_norm_backward = torch.ops.aten.native_batch_norm_backward.default
_leaky_relu_backward_out = torch.ops.aten.leaky_relu_backward.grad_input


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
    if traced():
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
