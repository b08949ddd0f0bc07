"""An ONNX graph in half precision: the type of every value stated, and float32 where half cannot hold it."""

from __future__ import annotations

import copy
import importlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unetkit.errors import UsageError

MULTIPLIES = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""What multiplies by kernels, and is worth half the bytes."""
_WIDE = (
    "BatchNormalization",
    "Erf",
    "Exp",
    "GlobalAveragePool",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "Log",
    "LogSoftmax",
    "LpNormalization",
    "Pow",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSumExp",
    "ReduceMean",
    "ReduceSum",
    "ReduceSumSquare",
    "Softmax",
    "Sqrt",
)
"""Sums over many values, squares and exponentials: half ends at 65504 and has 11 bits."""
_ARITHMETIC = ("Abs", "Add", "Div", "Mul", "Neg", "Sub")
"""Computed in float32 where nothing but an operation of ``_WIDE`` reads it: the parts of a norm."""
_ALWAYS_FLOAT32 = {"Resize": (1, 2)}
"""Inputs that the standard wants in float32 whatever the type of the values: a region, and factors."""
_EXACT = (
    "Abs",
    "Clip",
    "Concat",
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "Max",
    "MaxPool",
    "Min",
    "Neg",
    "Pad",
    "Relu",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
    "Where",
)
"""Operations that answer with values they were given: what was rounded needs no rounding again."""
_PIXELS, _FLOAT32, _HALF = "pixels", "float32", "half"


def halve(model: Any) -> None:  # noqa: ANN401 - a guest's class
    """Give a float32 graph half weights and activations, with a ``Cast`` wherever the type changes.

    Half is what multiplies by kernels, and what moves or activates its answers. Norms, softmax and sums stay
    float32 between two casts, and so does what is done to pixels in front of the first kernel. What goes in
    and what comes out keep their type.

    Args:
        model: An ONNX model with values of float32 and whole numbers; changed in place.

    Raises:
        UsageError: It holds a graph within a graph.

    Reference:
        Micikevicius et al., Mixed Precision Training, ICLR 2018 (arXiv:1710.03740), section 3.3: sums and
        norms in single precision, products in half.
    """
    _Halving(model).rewrite()


def rounded_copy(model: Any) -> bytes:  # noqa: ANN401
    """A float32 copy of a graph that answers as half does: every half value is rounded to half in it.

    An engine without arithmetic in half may leave out roundings, and would not see that a value is beyond
    what half holds. In this copy each operation computes in float32, as the units of a GPU sum, and what it
    answers goes to half and back.

    Args:
        model: An ONNX model; not changed.

    Returns:
        The copy, as the content of a file.
    """
    onnx = importlib.import_module("onnx")
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    kinds, made = element_types(model), copy.deepcopy(model)
    for one in made.graph.initializer:
        if one.data_type == half:
            one.CopyFrom(
                onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(one).astype(np.float32), one.name)
            )
    nodes = []
    for node in made.graph.node:
        nodes.append(node)
        if node.op_type in _EXACT:
            continue
        for place, name in enumerate(node.output):
            if kinds.get(name) != half:
                continue
            wide, rounded = f"{name}_wide", f"{name}_half"
            if node.op_type == "Cast":
                node.output[place] = rounded
            else:
                node.output[place] = wide
                nodes.append(onnx.helper.make_node("Cast", [wide], [rounded], to=half))
            nodes.append(onnx.helper.make_node("Cast", [rounded], [name], to=single))
    del made.graph.node[:], made.graph.value_info[:]
    made.graph.node.extend(nodes)
    return made.SerializeToString()


def element_types(model: Any) -> dict[str, int]:  # noqa: ANN401
    """Name of every value of a graph → its ``TensorProto.DataType``, as the standard infers it.

    Args:
        model: An ONNX model.
    """
    onnx = importlib.import_module("onnx")
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    found = {one.name: one.data_type for one in graph.initializer}
    for one in (*graph.input, *graph.value_info, *graph.output):
        found[one.name] = one.type.tensor_type.elem_type
    return found


def untyped(model: Any) -> tuple[str, ...]:  # noqa: ANN401
    """What an engine that takes types as they are stated would refuse or compute slowly, in words.

    Args:
        model: An ONNX model that is meant to be half, or to have grids with a sign.

    Returns:
        Values without a type, kernels that multiply in float32 without being rounded to bytes, grids with a
        zero elsewhere than at 0, joined values of different steps; empty where there is nothing.
    """
    onnx = importlib.import_module("onnx")
    graph, kinds = model.graph, element_types(model)
    maker = {name: node for node in graph.node for name in node.output}
    held = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    found = [
        f"'{name}' has no type" for node in graph.node for name in node.output if name and not kinds.get(name)
    ]
    in_bytes = any(node.op_type == "QuantizeLinear" for node in graph.node)
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = held.get(node.input[2]) if len(node.input) > 2 else None
            if zero is None or zero.dtype != np.int8 or zero.any():
                found.append(f"the grid of '{node.output[0]}' has no zero point 0 with a sign")
        elif node.op_type in MULTIPLIES and not in_bytes:
            if any(kinds[name] != onnx.TensorProto.FLOAT16 for name in node.input if name):
                found.append(f"{node.op_type} '{node.output[0]}' multiplies in float32")
        elif node.op_type == "Concat":
            scales = [_scale(name, maker) for name in node.input]
            if all(scales) and len({held[name].tobytes() for name in scales}) > 1:
                found.append(f"'{node.output[0]}' joins values of different steps")
    return tuple(found)


def _scale(name: str, maker: Mapping[str, Any]) -> str:
    """The step of the grid that a value is on, through what only moves it; empty where it is on none."""
    node = maker.get(name)
    while node is not None and node.op_type in _EXACT:
        node = maker.get(node.input[0])
    return node.input[1] if node is not None and node.op_type == "DequantizeLinear" else ""


@dataclass
class _Halving:
    """A graph on its way to half."""

    model: Any
    kinds: dict[str, int] = field(default_factory=dict)
    held: dict[str, Any] = field(default_factory=dict)
    state: dict[str, str] = field(default_factory=dict)
    made: dict[tuple[str, str], str] = field(default_factory=dict)
    nodes: list[Any] = field(default_factory=list)

    def rewrite(self) -> None:
        """All of it."""
        graph = self.model.graph
        if any(one.HasField("g") or one.graphs for node in graph.node for one in node.attribute):
            raise UsageError(
                "this network chooses between computations, of which no types can be stated",
                cure="export it to onnx or openvino",
            )
        self.kinds = element_types(self.model)
        self.held = {one.name: one for one in graph.initializer}
        self.state = {one.name: _PIXELS for one in graph.input}
        wide = _wide_nodes(graph)
        for place, node in enumerate(graph.node):
            self._retype(node, wide=place in wide)
            self.nodes.append(node)
        for one in graph.output:
            if self._is_float(one.name) and self.state[one.name] == _HALF:
                self._answer_in_float32(one.name)
        read = {name for node in self.nodes for name in node.input}
        kept = [one for one in (*graph.initializer, *self._halves()) if one.name in read]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend(kept)

    def _is_float(self, name: str) -> bool:
        return self.kinds.get(name) == importlib.import_module("onnx").TensorProto.FLOAT

    def _retype(self, node: Any, *, wide: bool) -> None:  # noqa: ANN401
        """State the types that a node computes in, with casts in front of it."""
        if node.op_type == "Cast":
            self.state |= dict.fromkeys(filter(self._is_float, node.output), _PIXELS)
            return
        left = _ALWAYS_FLOAT32.get(node.op_type, ())
        given = [at for at, name in enumerate(node.input) if self._is_float(name) and at not in left]
        values = [self.state[node.input[at]] for at in given if node.input[at] not in self.held]
        if wide:
            kind = _FLOAT32
        elif node.op_type in MULTIPLIES or any(value != _PIXELS for value in values):
            kind = _HALF
        else:  # nothing but pixels, or sizes that are computed with
            kind = _PIXELS
        for at in given:
            node.input[at] = self._as(node.input[at], _HALF if kind == _HALF else _FLOAT32)
        self.state |= dict.fromkeys(filter(self._is_float, node.output), kind)

    def _as(self, name: str, kind: str) -> str:
        """A value in half or in float32: itself, or its copy, or a cast of it that is made once."""
        constant = name in self.held
        if kind == (_FLOAT32 if constant or self.state[name] != _HALF else _HALF):
            return name
        if (name, kind) not in self.made:
            self.made[name, kind] = f"{name}_{kind}"
            if not constant:
                self.nodes.append(self._cast(name, self.made[name, kind], kind))
        return self.made[name, kind]

    def _cast(self, name: str, answer: str, kind: str) -> Any:  # noqa: ANN401
        onnx = importlib.import_module("onnx")
        to = onnx.TensorProto.FLOAT16 if kind == _HALF else onnx.TensorProto.FLOAT
        return onnx.helper.make_node("Cast", [name], [answer], to=to)

    def _halves(self) -> list[Any]:
        """Constants that are read in half."""
        helper = importlib.import_module("onnx").numpy_helper
        with np.errstate(over="ignore"):  # what is beyond half becomes infinite, which the comparison sees
            return [
                helper.from_array(helper.to_array(self.held[name]).astype(np.float16), made)
                for (name, _), made in self.made.items()
                if name in self.held
            ]

    def _answer_in_float32(self, name: str) -> None:
        """What comes out keeps its name and its type."""
        inner = f"{name}_inside"
        for node in self.nodes:
            for names in (node.input, node.output):
                for at, each in enumerate(names):
                    if each == name:
                        names[at] = inner
        self.nodes.append(self._cast(inner, name, _FLOAT32))


def _wide_nodes(graph: Any) -> set[int]:  # noqa: ANN401
    """Places of the nodes that stay in float32: norms and sums, and what is computed for them alone."""
    readers: Mapping[str, list[int]] = defaultdict(list)
    for place, node in enumerate(graph.node):
        for name in node.input:
            readers[name].append(place)
    answers = {one.name for one in graph.output}
    wide: set[int] = set()
    for place in reversed(range(len(graph.node))):
        node = graph.node[place]
        reading = [other for name in node.output for other in readers[name]]
        for_them = reading and wide.issuperset(reading) and not answers.intersection(node.output)
        if node.op_type in _WIDE or (node.op_type in _ARITHMETIC and for_them):
            wide.add(place)
    return wide
