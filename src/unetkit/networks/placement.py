"""Where a network is to be rounded so that an engine can count in whole numbers from end to end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unetkit.errors import UsageError, nearest
from unetkit.networks.heads import all_heads
from unetkit.networks.watching import Operation, watched

if TYPE_CHECKING:
    from unetkit.networks.unet import UNet

MOST_SLOPE = 0.02
"""A leak below zero that is no more than this is within five of 255 steps: it is left out."""


@dataclass(frozen=True)
class Step:
    """What is done about one operation.

    Args:
        kernel: Whether its kernel is rounded.
        inputs: Number of an input that comes from outside → the quantizer it passes.
        output: The quantizer its answer passes; None where an activation follows at once.
        before: Of an activation whose grid has steps below zero: the quantizer its input passes as well, in
            the graph that is written. Rounding before or after it is the same.
    """

    kernel: bool = False
    inputs: Mapping[int, int] = field(default_factory=dict)
    output: int | None = None
    before: int | None = None


@dataclass(frozen=True)
class Placement:
    """All of them.

    Args:
        steps: Name of an operation → what is done.
        unsigned: Of each quantizer, whether it sees nothing below zero.
        convolutions: Modules whose convolution is rounded, in the order in which they are at work.
        islands: What stays in floating point between rounded values, by the name of the function → how often.
    """

    steps: dict[str, Step]
    unsigned: tuple[bool, ...]
    convolutions: tuple[str, ...]
    islands: dict[str, int]


@dataclass(eq=False)
class _Node:
    """An operation that an engine can do with whole numbers."""

    name: str
    kind: str
    module: str
    inputs: list[_Node | None]
    uses: list[_Node | None] = field(default_factory=list)
    above: _Node | None = None

    @property
    def root(self) -> _Node:
        """The one that stands for all that share a grid."""
        return self if self.above is None else self.above.root

    def join(self, other: _Node) -> None:
        """Share a grid."""
        if self.root is not other.root:
            other.root.above = self.root


def place(network: UNet, *, in_float: Iterable[str] = ()) -> Placement:
    """Find where a network has to be rounded, by running it on a small blank image.

    A convolution, an addition and an activation round what they answer; an activation right behind one of the
    others does so for both. What is joined, resized or moved keeps its grid: all parts of a concatenation,
    and all that reads one of them, share one. Whatever else comes between stays in floating point, and is
    rounded again in front of the next convolution.

    Args:
        network: Its batch norms folded.
        in_float: Modules whose convolution keeps its kernel as it is.

    Raises:
        UsageError: There is no such convolution.
    """
    record = _Record()
    with torch.no_grad(), all_heads(network) as image, watched(network, record):
        network(image)
    kept = set(in_float)
    known = [node.module for node in record.nodes if node.kind.startswith("conv")]
    for name in kept:
        if name not in known:
            raise UsageError(f"there is no convolution '{name}' to keep in float", cure=nearest(name, known))
    return _Builder(record, kept).placement()


class _Record:
    """Follows every value from the operation that makes it to those that read it."""

    def __init__(self) -> None:
        self.nodes: list[_Node] = []
        self.islands: Counter[str] = Counter()
        self._made: dict[int, tuple[Tensor, _Node]] = {}

    def __call__(self, op: Operation) -> Any:  # noqa: ANN401 - whatever the operation answers
        inputs = self._inputs(op)
        answer = op()
        if not isinstance(answer, Tensor):
            if isinstance(answer, list | tuple) and any(isinstance(one, Tensor) for one in answer):
                self._leave(op)
            return answer
        if op.kind in ("move", "same"):
            if inputs[:1] and inputs[0] is not None:
                self._made[id(answer)] = (answer, inputs[0])
        elif self._counts(op, inputs):
            node = _Node(op.name, op.kind, op.module, inputs)
            for one in inputs:
                if one is not None:
                    one.uses.append(node)
            self.nodes.append(node)
            self._made[id(answer)] = (answer, node)
        else:
            self._leave(op)
        return answer

    def _inputs(self, op: Operation) -> list[_Node | None]:
        """Who made what the operation reads; the kernel of a convolution is no input."""
        tensors = op.tensors()[:1] if op.kind.startswith("conv") else op.tensors()
        return [self._made[id(one)][1] if id(one) in self._made else None for one in tensors]

    def _counts(self, op: Operation, inputs: list[_Node | None]) -> bool:
        """Whether an engine does it with whole numbers, once its inputs are."""
        if op.kind == "conv":
            return True
        if op.kind == "conv_transpose":
            return is_blockwise(op)
        if op.kind == "cat":
            return any(one is not None for one in inputs)
        if op.kind == "add":
            return len(inputs) == 2 and None not in inputs and not op.kwargs and len(op.args) == 2
        if op.kind == "rectify":
            return None not in inputs and _slope(op) <= MOST_SLOPE
        return op.kind == "interpolate" and None not in inputs

    def _leave(self, op: Operation) -> None:
        read = [self._made[id(one)][1] for one in op.tensors() if id(one) in self._made]
        for node in read:
            node.uses.append(None)
        if read:
            self.islands[op.word] += 1


def is_blockwise(op: Operation) -> bool:
    """Whether a transposed convolution gives each pixel a block of its own: then it is one of kernel 1."""
    kernel = op.given(1, "weight").shape[2:]
    plain = (op.given(4, "padding", 0), op.given(5, "output_padding", 0), op.given(6, "groups", 1))
    return plain == (0, 0, 1) and tuple(op.given(3, "stride", ())) == tuple(kernel)


def _slope(op: Operation) -> float:
    """How steep an activation is below zero."""
    if op.word == "hardtanh":
        return 0.0 if op.given(1, "min_val", -1.0) == 0 else 1.0
    return float(op.given(1, "negative_slope", 0.01)) if op.word == "leaky_relu" else 0.0


class _Builder:
    """Turns what was recorded into steps."""

    def __init__(self, record: _Record, kept: set[str]) -> None:
        self._nodes, self._islands, self._kept = record.nodes, record.islands, kept
        self._doors: dict[tuple[_Node, int], _Node] = {}
        self._signed: set[_Node] = set()
        self._numbers: dict[_Node, int] = {}

    def placement(self) -> Placement:
        for node in self._nodes:
            self._open_doors(node)
            if node.kind in ("cat", "interpolate"):
                for number, one in enumerate(node.inputs):
                    node.join(one if one is not None else self._doors[node, number])
        for door in self._doors.values():
            self._signed.add(door.root)
        for node in self._nodes:
            if (node.kind == "add" or node.kind.startswith("conv")) and self._rounds(node):
                self._signed.add(node.root)
        steps = {node.name: self._step(node) for node in self._nodes}
        unsigned = tuple(root not in self._signed for root in self._numbers)
        convolutions = tuple(
            node.module
            for node in self._nodes
            if node.kind.startswith("conv") and node.module not in self._kept
        )
        return Placement(steps, unsigned, convolutions, dict(self._islands))

    def _open_doors(self, node: _Node) -> None:
        """Inputs from outside pass a quantizer of their own."""
        wanted = node.kind.startswith("conv") and node.module not in self._kept
        for number, one in enumerate(node.inputs):
            if one is None and (wanted or node.kind == "cat"):
                self._doors[node, number] = _Node(f"{node.name}<{number}", "door", node.module, [])

    def _rounds(self, node: _Node) -> bool:
        """Whether the answer is rounded where it is made, not only behind the activation that follows."""
        if node.kind == "interpolate" and node.inputs[0] is not None:
            return node.inputs[0].kind == "cat" or self._rounds(node.inputs[0])
        if node.kind == "cat" or (node.module in self._kept and not self._is_read(node)):
            return False
        return not self._is_deferred(node)

    def _is_read(self, node: _Node) -> bool:
        """Whether anything but the network's answer comes of it that counts in whole numbers."""
        return any(use is not None and (use.kind != "interpolate" or self._is_read(use)) for use in node.uses)

    def _is_deferred(self, node: _Node | None) -> bool:
        if node is None or len(node.uses) != 1:
            return False
        if node.kind != "add" and not node.kind.startswith("conv"):
            return False
        return node.uses[0] is not None and node.uses[0].kind == "rectify"

    def _number(self, node: _Node) -> int:
        return self._numbers.setdefault(node.root, len(self._numbers))

    def _step(self, node: _Node) -> Step:
        doors = {
            number: self._number(self._doors[node, number])
            for number in range(len(node.inputs))
            if (node, number) in self._doors
        }
        before = node.kind == "rectify" and self._is_deferred(node.inputs[0]) and node.root in self._signed
        return Step(
            kernel=node.kind.startswith("conv") and node.module not in self._kept,
            inputs=doors,
            output=self._number(node) if self._rounds(node) else None,
            before=self._number(node) if before else None,
        )
