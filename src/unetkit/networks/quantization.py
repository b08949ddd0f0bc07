"""A network that counts in eight bits: the same layers, their kernels and answers rounded as they go by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unetkit.errors import UsageError
from unetkit.networks.fake_quant import Quantizer, quantized_kernel
from unetkit.networks.folding import fold_batch_norms
from unetkit.networks.heads import all_heads
from unetkit.networks.placement import Placement, Step, place
from unetkit.networks.watching import Operation, watched
from unetkit.spatial.layers import LAYERS
from unetkit.spatial.scale import spread_blocks
from unetkit.spatial.tracing import exported

if TYPE_CHECKING:
    from unetkit.networks.unet import UNet


@dataclass(frozen=True)
class Arithmetic:
    """How a pass computes; as it is, in eight bits.

    Args:
        rounded: ``(number of a quantizer, values)`` → values; None: the quantizer rounds them.
        made: ``(module, answer of its convolution)`` → the answer to go on with, before it is rounded.
        exact: Whether kernels and activations stay what they are in floating point.
    """

    rounded: Callable[[int, Tensor], Tensor] | None = None
    made: Callable[[str, Tensor], Tensor] | None = None
    exact: bool = False


class Quantization(nn.Module):
    """The quantizers of a network, and what makes them work while it runs.

    Args:
        placement: Where they are.
    """

    def __init__(self, placement: Placement) -> None:
        super().__init__()
        self.placement = placement
        self.points = nn.ModuleList(Quantizer(unsigned=unsigned) for unsigned in placement.unsigned)
        self.arithmetic = Arithmetic()

    @property
    def calibrated(self) -> bool:
        """Whether every quantizer has a grid."""
        return not any(bool(torch.isnan(point.scale)) for point in self.points)  # pyright: ignore

    def in_use(self, network: UNet) -> tuple[str, ...]:
        """The modules whose convolution is rounded while an image is predicted: other heads are left out.

        Args:
            network: The network it belongs to.
        """
        seen: dict[str, None] = {}

        def note(module: str, answer: Tensor) -> Tensor:
            seen[module] = None
            return answer

        with all_heads(network) as image, torch.no_grad(), self.computing(Arithmetic(made=note)):
            network.training = False
            network(image)
        return tuple(name for name in seen if name in self.placement.convolutions)

    @contextmanager
    def computing(self, arithmetic: Arithmetic) -> Iterator[None]:
        """Within, passes compute another way.

        Args:
            arithmetic: How.
        """
        before, self.arithmetic = self.arithmetic, arithmetic
        try:
            yield
        finally:
            self.arithmetic = before

    @contextmanager
    def at_work(self, network: nn.Module) -> Iterator[None]:
        """Within, a forward pass of the network computes so.

        Args:
            network: The network it belongs to.
        """
        with watched(network, _Pass(self.placement, list(self.points), self.arithmetic)):  # pyright: ignore
            yield


def quantize(network: UNet, *, in_float: Iterable[str] = (), whole: bool = False) -> None:
    """Fold the batch norms of a network and give it quantizers, whose grids are still to be measured.

    Args:
        network: Changed in place.
        in_float: Modules whose convolution keeps its kernel as it is.
        whole: Whether nothing at all may stay in floating point between the image and the logits.

    Raises:
        UsageError: There is no such convolution, or something would have to stay in floating point.
    """
    fold_batch_norms(network)
    placement = place(network, in_float=in_float)
    if whole and placement.islands:
        words = ", ".join(f"{count} × {name}" for name, count in placement.islands.items())
        norms = "instance_norm" in placement.islands or "group_norm" in placement.islands
        raise UsageError(
            f"the whole network was to count in whole numbers, but these cannot be done so: {words}",
            cure="train a network with batch normalisation (--set network.norm=batch), which becomes part of "
            "its convolutions, or leave --all-integer out: convolutions are integer then, these stay float"
            if norms
            else "leave --all-integer out: convolutions are integer then, these stay float",
        )
    network.quantization = Quantization(placement)


class _Pass:
    """One forward pass: each operation, with what is to be rounded rounded.

    While the network is written as a graph, every value that is moved is rounded again, which changes
    nothing: an engine sees then that it can be moved as it is.
    """

    def __init__(self, placement: Placement, points: list[Quantizer], arithmetic: Arithmetic) -> None:
        self._steps, self._points, self._how = placement.steps, points, arithmetic
        self._grids: dict[int, tuple[Tensor, int]] = {}

    def __call__(self, op: Operation) -> Any:  # noqa: ANN401 - whatever the operation answers
        step = self._steps.get(op.name)
        if step is None:
            return self._moved(op) if exported() and op.kind in ("move", "same") else op()
        if op.kind == "conv":
            return self._answered(self._convolved(op, step), step)
        if op.kind == "conv_transpose":
            return self._transposed(op, step)
        if op.kind == "cat":
            return self._joined(op, step)
        if op.kind == "add":
            return self._answered(op.args[0] + op.args[1], step)
        if op.kind == "rectify":
            return self._answered(self._rectified(op, step), step)
        return self._answered(op(), step)

    def _answered(self, answer: Tensor, step: Step) -> Tensor:
        return answer if step.output is None else self._rounded(step.output, answer)

    def _rounded(self, number: int, x: Tensor) -> Tensor:
        x = self._points[number](x) if self._how.rounded is None else self._how.rounded(number, x)
        if exported():
            self._grids[id(x)] = (x, number)  # held, so that no other can get its address
        return x

    def _entered(self, x: Tensor, step: Step, number: int) -> Tensor:
        return self._rounded(step.inputs[number], x) if number in step.inputs else x

    def _kernel(self, kernel: Tensor, step: Step) -> Tensor:
        return quantized_kernel(kernel) if step.kernel and not self._how.exact else kernel

    def _made(self, op: Operation, answer: Tensor) -> Tensor:
        return answer if self._how.made is None else self._how.made(op.module, answer)

    def _convolved(self, op: Operation, step: Step) -> Tensor:
        x, kernel, bias = op.given(0, "input"), op.given(1, "weight"), op.given(2, "bias")
        others = {name: value for name, value in op.kwargs.items() if name not in ("input", "weight", "bias")}
        x, kernel = self._entered(x, step, 0), self._kernel(kernel, step)
        return self._made(op, op.func(x, kernel, bias, *op.args[3:], **others))

    def _transposed(self, op: Operation, step: Step) -> Tensor:
        """A transposed convolution in blocks: one of kernel 1 that answers with all pixels of a block."""
        x, weight, bias = op.given(0, "input"), op.given(1, "weight"), op.given(2, "bias")
        block, rank = weight.shape[2:], weight.ndim - 2
        x = self._entered(x, step, 0)
        flat = weight.movedim(0, -1).flatten(0, -2)  # (K · block, C)
        kernel = self._kernel(flat[(..., *[None] * rank)], step)
        if not exported():
            whole = kernel.flatten(1).unflatten(0, (-1, *block)).movedim(-1, 0)
            answer = LAYERS[rank].convolve_transposed(x, whole, bias, tuple(block))
            return self._answered(self._made(op, answer), step)
        repeated = None if bias is None else bias.repeat_interleave(block.numel())
        blocks = LAYERS[rank].convolve(x, kernel, repeated)
        return self._answered(spread_blocks(self._answered(blocks, step), block), step)

    def _joined(self, op: Operation, step: Step) -> Tensor:
        parts = [self._entered(part, step, number) for number, part in enumerate(op.given(0, "tensors"))]
        answer = torch.cat(parts, op.given(1, "dim", 0))
        if exported() and (grid := self._grids.get(id(parts[0]))):
            return self._rounded(grid[1], answer)
        return answer

    def _rectified(self, op: Operation, step: Step) -> Tensor:
        """An activation; the little that one leaks below zero is less than a few steps, and is left out."""
        x = op.given(0, "input")
        if self._how.exact:
            return op()
        if exported() and step.before is not None:
            x = self._rounded(step.before, x)
            if op.word != "hardtanh":
                return F.leaky_relu(x, 0.0)  # the one activation onnxruntime looks up in a table of 256
        if op.word in ("relu", "leaky_relu"):
            return F.relu(x)
        return F.hardtanh(x, 0.0, op.given(2, "max_val", 6.0) if op.word == "hardtanh" else 6.0)

    def _moved(self, op: Operation) -> Any:  # noqa: ANN401 - whatever the operation answers
        answer, tensors = op(), op.tensors()
        grid = self._grids.get(id(tensors[0])) if tensors else None
        if grid is None or not isinstance(answer, Tensor):
            return answer
        if op.kind == "move":
            return self._rounded(grid[1], answer)
        self._grids[id(answer)] = (answer, grid[1])
        return answer
