"""Bytes laid out as onnxruntime computes them: channels last, in multiples of four, and not copied twice.

Nothing that a network computes changes; what changes is how many bytes are moved on the way. Measured on
U-Nets, moving bytes took a third of the time that convolutions on bytes left.
"""

from __future__ import annotations

import importlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

WRITE, READ = "QuantizeLinear", "DequantizeLinear"
_BLOCK = 4
"""Channels of the input that one instruction multiplies with bytes of a kernel."""
_LANES = 16
"""Least channels of an answer for which onnxruntime has a kernel that needs no copy of the input."""
_PICTURE = 4


def lay_out(graph: Any) -> None:  # noqa: ANN401 - a guest's class
    """Rewrite what moves bytes as onnxruntime does it fastest.

    Args:
        graph: Of which operations that move values read and write bytes; changed in place.
    """
    _Layout(graph).rewrite()


def one_grid(one: Any, other: Any, held: Mapping[str, np.ndarray]) -> bool:  # noqa: ANN401
    """Whether two operations have the same scale and the same zero.

    Args:
        one: Goes from values to bytes, or back.
        other: Likewise.
        held: Name of a constant → what it is.
    """
    pairs = zip(one.input[1:3], other.input[1:3], strict=True)
    return all(
        mine == theirs or (mine in held and theirs in held and np.array_equal(held[mine], held[theirs]))
        for mine, theirs in pairs
    )


@dataclass
class _Layout:
    """A graph, and who makes and reads what in it."""

    graph: Any
    held: dict[str, np.ndarray] = field(default_factory=dict)
    maker: dict[str, Any] = field(default_factory=dict)
    readers: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    made: int = 0

    def rewrite(self) -> None:
        """All of it."""
        onnx = importlib.import_module("onnx")
        self.held = {one.name: onnx.numpy_helper.to_array(one) for one in self.graph.initializer}
        self.maker = {name: node for node in self.graph.node for name in node.output}
        for node in self.graph.node:
            for name in node.input:
                self.readers[name].append(node)
        nodes: list[Any] = []
        for node in self.graph.node:
            before: list[Any] = []
            if node.op_type == "MaxPool":
                self._pool_parts(node)
            elif node.op_type == "Conv":
                before = self._widened(node)
            elif node.op_type == "LeakyRelu":
                self._cut(node)
            elif node.op_type == "DepthToSpace" and (instead := self._spread(node)):
                nodes += instead
                continue
            elif node.op_type == WRITE and not node.input[0]:
                continue
            nodes += [*before, node]
        del self.graph.node[:]
        self.graph.node.extend(nodes)

    def _hold(self, values: np.ndarray) -> str:
        """A constant of a name of its own."""
        self.made += 1
        name = f"laid_out_{self.made}"
        onnx = importlib.import_module("onnx")
        self.graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _node(self, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> Any:  # noqa: ANN401
        """An operation; its answer has a name of its own where none is given."""
        self.made += 1
        helper = importlib.import_module("onnx").helper
        return helper.make_node(kind, inputs, [output or f"laid_out_{self.made}"], **attributes)

    def _pool_parts(self, pool: Any) -> None:  # noqa: ANN401
        """A maximum of blocks takes the part of a block that is there, instead of a copy filled up for it.

        What is filled up to whole blocks is so by a number that is computed from the size of the image, with
        the least there is.
        """
        pad, told = self.maker.get(pool.input[0]), _told(pool)
        if pad is None or pad.op_type != "Pad" or len(self.readers[pool.input[0]]) > 1:
            return
        least = len(pad.input) > 2 and self.held.get(pad.input[2])
        blocks = told.get("kernel_shape") == told.get("strides") and not any(told.get("pads", ()))
        if pad.input[1] in self.held or not isinstance(least, np.ndarray) or not blocks:
            return
        if least.dtype.kind not in "iu" or least.item() != np.iinfo(least.dtype).min:
            return
        pool.input[0] = pad.input[0]
        kept = [one for one in pool.attribute if one.name != "ceil_mode"]
        del pool.attribute[:]
        pool.attribute.extend([*kept, importlib.import_module("onnx").helper.make_attribute("ceil_mode", 1)])

    def _cut(self, activation: Any) -> None:  # noqa: ANN401
        """What cuts values at zero, on a grid with a sign, cuts bytes at the step that is zero.

        onnxruntime would look every byte up in a table.
        """
        read, following = self.maker.get(activation.input[0]), self.readers[activation.output[0]]
        if _told(activation).get("alpha") != 0.0 or read is None or read.op_type != READ:
            return
        if (
            len(following) != 1
            or following[0].op_type != WRITE
            or not one_grid(read, following[0], self.held)
        ):
            return
        activation.op_type = "Clip"
        del activation.attribute[:]
        activation.input[:] = [read.input[0], self._hold(self.held[read.input[2]].reshape(()))]
        activation.output[0], following[0].output[0] = following[0].output[0], activation.output[0]
        following[0].input[0] = ""  # left out by ``rewrite``
        self.maker[activation.output[0]] = activation

    def _widened(self, conv: Any) -> list[Any]:  # noqa: ANN401
        """In front of a convolution of an image: channels of nothing, up to a multiple of four.

        onnxruntime has no quick kernel for one channel or three: it would copy each pixel once for every
        weight of the kernel.
        """
        bytes_read, kernel_read = (self.maker.get(name) for name in conv.input[:2])
        if bytes_read is None or kernel_read is None or {bytes_read.op_type, kernel_read.op_type} != {READ}:
            return []
        kernel, zero = self.held.get(kernel_read.input[0]), self.held.get(bytes_read.input[2])
        if kernel is None or zero is None or kernel.dtype != np.int8 or _told(conv).get("group", 1) != 1:
            return []
        missing = -kernel.shape[1] % _BLOCK
        if not missing or kernel.shape[0] < _LANES or kernel.shape[0] % _BLOCK:
            return []
        rank = kernel.ndim
        sides, sides_of_kernel = np.zeros(2 * rank, np.int64), [(0, 0)] * rank
        sides[rank + 1], sides_of_kernel[1] = missing, (0, missing)
        pad = self._node("Pad", [bytes_read.input[0], self._hold(sides), self._hold(zero.reshape(()))])
        wide = self._node(READ, [pad.output[0], *bytes_read.input[1:]])
        wide_kernel = self._node(READ, [self._hold(np.pad(kernel, sides_of_kernel)), *kernel_read.input[1:]])
        wide_kernel.attribute.extend(kernel_read.attribute)
        conv.input[0], conv.input[1] = wide.output[0], wide_kernel.output[0]
        return [pad, wide, wide_kernel]

    def _spread(self, spread: Any) -> list[Any]:  # noqa: ANN401
        """Blocks of pixels laid out in runs of whole pixels, where channels are last.

        A convolution answers with the channels of a pixel behind one another then: what is to be moved are
        rows of a block, not single bytes.
        """
        told, rounded = _told(spread), self.maker.get(spread.input[0])
        conv = self.maker.get(rounded.input[0]) if rounded is not None and rounded.op_type == WRITE else None
        if conv is None or conv.op_type != "Conv" or told.get("mode") != b"CRD":
            return []
        if len(self.readers[spread.input[0]]) > 1 or len(self.readers[conv.output[0]]) > 1:
            return []
        if not self._reorder(conv, told["blocksize"] ** 2):
            return []
        side = told["blocksize"]
        last = self._node("Transpose", [spread.input[0]], perm=[0, 2, 3, 1])
        rows = self._node("Reshape", [last.output[0], self._hold(np.array([0, 0, 0, side, -1]))])
        laid = self._node("Transpose", [rows.output[0]], perm=[0, 1, 3, 2, 4])
        size = self._node("Shape", [last.output[0]])
        more = self._node("Mul", [size.output[0], self._hold(np.array([1, side, side, 1]))])
        whole = self._node("Div", [more.output[0], self._hold(np.array([1, 1, 1, side * side]))])
        pixels = self._node("Reshape", [laid.output[0], whole.output[0]])
        first = self._node("Transpose", [pixels.output[0]], spread.output[0], perm=[0, 3, 1, 2])
        return [last, rows, laid, size, more, whole, pixels, first]

    def _reorder(self, conv: Any, pixels: int) -> bool:  # noqa: ANN401
        """Have a convolution answer pixel by pixel of a block in place of channel by channel."""
        read = self.maker.get(conv.input[1])
        if read is None or read.op_type != READ:
            return False
        given = [*read.input, *conv.input[2:]]
        values = [self.held.get(name) for name in given]
        kernel = values[0]
        if kernel is None or kernel.ndim != _PICTURE or any(one is None for one in values):
            return False
        order = np.arange(len(kernel)).reshape(-1, pixels).T.reshape(-1)
        names = [
            self._hold(one[order]) if one is not None and one.ndim else name
            for one, name in zip(values, given, strict=True)
        ]
        read.input[:] = names[: len(read.input)]
        conv.input[2:] = names[len(read.input) :]
        return True


def _told(node: Any) -> dict[str, Any]:  # noqa: ANN401
    """Its attributes."""
    helper = importlib.import_module("onnx").helper
    return {one.name: helper.get_attribute_value(one) for one in node.attribute}
