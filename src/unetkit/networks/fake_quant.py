"""Eight bits, as a training sees them: values are rounded to the grid, gradients pass as if they were not."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unetkit.spatial.tracing import exported

LOW, HIGH = 0, 255
"""What eight bits without a sign hold."""
MIDDLE = 128
"""The step that is zero where values have a sign."""
KERNEL_HIGH = 127
"""Kernels are symmetric, from -127 to 127: as many steps to either side, and none that overflows a sum."""
_LEAST = 1e-12


class Quantizer(nn.Module):
    """Rounds values to ``scale · (q - zero_point)`` with ``q`` from 0 to 255.

    Zero is always on the grid, so that padding is exact. While a network is written as a graph, the pair of
    operations that ONNX has for it is written in its place.

    Args:
        unsigned: Whether there is nothing below zero; ``zero_point`` is 0 then, but in a symmetric grid.

    Attributes:
        scale: Width of a step; ``nan`` until it was measured.
        zero_point: The step that is zero: 0, or 128 where values have a sign.

    Reference:
        Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
        Inference, CVPR 2018 (arXiv:1712.05877).

    Example:
        >>> quantizer = Quantizer()
        >>> quantizer.cover(-1.0, 1.27)
        >>> quantizer(torch.tensor([0.0, 0.1234, 9.0])).mul(100).round().tolist()
        [0.0, 12.0, 127.0]
    """

    scale: Tensor
    zero_point: Tensor

    def __init__(self, *, unsigned: bool = False) -> None:
        super().__init__()
        self.unsigned = unsigned
        self.register_buffer("scale", torch.tensor(float("nan")))
        self.register_buffer("zero_point", torch.tensor(0.0))

    def cover(self, low: float, high: float, *, symmetric: bool = False) -> None:
        """Choose the grid that holds these values: all of it above zero, or as much of it below as above.

        A grid with its zero elsewhere would hold them more finely; engines pay for it with a further pass.

        Args:
            low: The least of them; without effect where nothing is below zero.
            high: The greatest.
            symmetric: Whether zero is in the middle of a grid without anything below zero, too, for engines
                that know no other.
        """
        if self.unsigned and not symmetric:
            self.scale.fill_(max(high / (HIGH - LOW), _LEAST))
            if self.scale.item() * HIGH > high > 0:  # an activation that is cut there may go
                self.scale.copy_(torch.nextafter(self.scale, torch.zeros_like(self.scale)))
            self.zero_point.fill_(LOW)
        else:
            self.scale.fill_(max(0.0 if self.unsigned else -low, high, _LEAST) / KERNEL_HIGH)
            self.zero_point.fill_(MIDDLE)

    def forward(self, x: Tensor) -> Tensor:
        """Values of any shape → the nearest ones of the grid."""
        if exported():
            return _written(x, self.scale, self.zero_point.to(torch.uint8))
        if x.is_meta:
            return x
        return torch.fake_quantize_per_tensor_affine(
            x.float(), self.scale, self.zero_point.to(torch.int32), LOW, HIGH
        )


def quantized_kernel(kernel: Tensor) -> Tensor:
    """A kernel rounded to 255 steps per channel of the answer, the largest weight being the last step.

    Args:
        kernel: ``(K, …)``.

    Returns:
        The same shape; gradients pass to every weight.

    Example:
        >>> quantized_kernel(torch.tensor([[1.27, 0.011, -0.5]])).mul(100).round().tolist()
        [[127.0, 1.0, -50.0]]
    """
    scale = kernel.detach().flatten(1).abs().amax(1).clamp(min=_LEAST) / KERNEL_HIGH
    if exported():
        return _written(kernel, scale, torch.zeros_like(scale, dtype=torch.int8), axis=0)
    if kernel.is_meta:
        return kernel
    zero = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(kernel.float(), scale, zero, 0, -KERNEL_HIGH, KERNEL_HIGH)


def _written(x: Tensor, scale: Tensor, zero_point: Tensor, *, axis: int = 1) -> Tensor:
    """``QuantizeLinear`` and ``DequantizeLinear`` of ONNX."""
    symbolic = torch.onnx.ops.symbolic
    steps = symbolic(
        "QuantizeLinear", (x, scale, zero_point), {"axis": axis}, dtype=zero_point.dtype, shape=x.shape
    )
    return symbolic(
        "DequantizeLinear", (steps, scale, zero_point), {"axis": axis}, dtype=torch.float32, shape=x.shape
    )
