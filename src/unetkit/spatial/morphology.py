"""Erosion and dilation of maps by one pixel, with gradients, for any number of axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def erode(maps: Tensor) -> Tensor:
    """The least of each pixel and its face neighbours; nothing lies beyond the edges.

    Args:
        maps: ``(B, C, *S)``.

    Example:
        >>> erode(torch.tensor([[[[1.0, 1.0, 1.0, 0.0]]]]))
        tensor([[[[1., 1., 0., 0.]]]])
    """
    return _Extreme.apply(maps, range(2, maps.ndim), True)  # pyright: ignore[reportReturnType]


def dilate(maps: Tensor) -> Tensor:
    """The largest of each pixel and all its neighbours, corners included.

    Args:
        maps: ``(B, C, *S)``.

    Example:
        >>> dilate(torch.tensor([[[[0.0, 0.0, 1.0]]]]))
        tensor([[[[0., 1., 1.]]]])
    """
    for axis in range(2, maps.ndim):
        maps = _Extreme.apply(maps, (axis,), False)  # pyright: ignore[reportAssignmentType]
    return maps


class _Extreme(torch.autograd.Function):
    """The least or largest of a pixel and its neighbours on some axes; ties share the gradient.

    Torch's pooling finds the same, but keeps an int64 index per pixel and axis and takes 10 times as long on
    a CPU; ``torch.minimum`` of shifted views is as quick as this one, but its gradient is not.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor, axes: Sequence[int], least: bool) -> Tensor:  # noqa: ANN401
        extreme = torch.minimum if least else torch.maximum
        result = maps.clone()
        for to, come in _neighbours(axes):
            here = to(result)
            extreme(here, come(maps), out=here)
        ctx.save_for_backward(maps, result)
        ctx.axes = axes
        return result

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator hides its names
        ctx: Any,  # noqa: ANN401 - whatever autograd passes
        *grad_outputs: Tensor,
    ) -> tuple[Tensor | None, ...]:
        maps, result = ctx.saved_tensors
        own = (maps == result).to(maps.dtype)
        ties = own.clone()
        for to, come in _neighbours(ctx.axes):
            to(ties).add_(come(maps) == to(result))
        share = grad_outputs[0] / ties
        gradient = own.mul_(share)
        for to, come in _neighbours(ctx.axes):
            come(gradient).addcmul_(to(share), (come(maps) == to(result)).to(maps.dtype))
        return gradient, None, None


@dataclass(frozen=True)
class _Cut:
    """All pixels but the first or the last of an axis."""

    axis: int
    start: int

    def __call__(self, maps: Tensor) -> Tensor:
        return maps.narrow(self.axis, self.start, maps.shape[self.axis] - 1)


def _neighbours(axes: Sequence[int]) -> Iterator[tuple[_Cut, _Cut]]:
    """Pairs of views: pixels, and the neighbour of each of them on one side of one axis."""
    for axis in axes:
        yield _Cut(axis, 1), _Cut(axis, 0)
        yield _Cut(axis, 0), _Cut(axis, 1)
