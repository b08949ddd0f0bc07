"""The graph of a network that counts in eight bits: made small, made whole, and read back for proof."""

from __future__ import annotations

import importlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unetkit.errors import UsageError
from unetkit.runtimes.onnx_layout import READ, WRITE, lay_out, one_grid
from unetkit.runtimes.onnx_size import shrink

_MIDDLE = 128
_MOVES = ("Pad", "Slice", "Transpose", "Reshape", "MaxPool", "DepthToSpace")
"""Operations that do to the numbers of steps what they do to the values."""
_INTEGER = ("QLinearConv", "ConvInteger")
_FLOAT = ("Conv", "FusedConv", "ConvTranspose", "NhwcFusedConv")


def finish(path: Path, *, moves: bool) -> None:
    """Write the kernels of an ONNX file as the bytes they are.

    The exporter leaves kernels in float32 with the arithmetic that rounds them; that is done here, once.
    Nothing that the network computes changes.

    Args:
        path: The file; replaced.
        moves: Whether what an operation that only moves values reads and writes on one grid becomes the bytes
            themselves, laid out as onnxruntime reads them fastest: it does not see that by itself. OpenVINO
            does, and has no use for values that are rounded again where they were only moved.
    """
    onnx = importlib.import_module("onnx")
    model = onnx.load(path)
    _fold_constants(model)
    if moves:
        _move_bytes(model.graph)
        _drop_unused(model.graph)  # who reads a value is asked for
        lay_out(model.graph)
    else:
        _round_once(model.graph)
    _drop_unused(model.graph)
    shrink(model)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def write_signed(path: Path) -> None:
    """Write every grid with a sign, as TensorRT wants it: see ``_sign``.

    Args:
        path: A finished file of which every grid has its zero in the middle; replaced.

    Raises:
        UsageError: One has not.

    Reference:
        NVIDIA TensorRT, Working with Quantized Types: symmetric, with a zero point of 0.
    """
    onnx = importlib.import_module("onnx")
    model = onnx.load(path)
    if left := _sign(model.graph):
        raise UsageError(
            f"expected every grid to have its zero in the middle, got {left[0]} of 0 to 255",
            cure="export the model that it was made from with --int8 DATA, which calibrates it so",
            where=path,
        )
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _sign(graph: Any) -> list[int]:  # noqa: ANN401 - a guest's class
    """Bytes from -128 to 127 with zero at 0 in place of those from 0 to 255 with zero at 128.

    The same values are the same steps. Returned are the zeros of grids that have them elsewhere.
    """
    onnx = importlib.import_module("onnx")
    held = {one.name: one for one in graph.initializer}
    left = []
    for name in {node.input[2] for node in graph.node if node.op_type in (WRITE, READ)}:
        zero = onnx.numpy_helper.to_array(held[name])
        if zero.dtype != np.uint8:
            continue
        if (zero == _MIDDLE).all():
            held[name].CopyFrom(onnx.numpy_helper.from_array(np.zeros_like(zero, np.int8), name))
        else:
            left.append(int(zero.reshape(-1)[0]))
    return left


def counted(path: Path) -> dict[str, int]:
    """How many convolutions of an optimised graph count in whole numbers, and how many do not.

    Args:
        path: What onnxruntime writes as its optimised model.

    Returns:
        ``integer`` and ``float``.
    """
    kinds = Counter(node.op_type for node in importlib.import_module("onnx").load(path).graph.node)
    return {
        "integer": sum(kinds[name] for name in _INTEGER),
        "float": sum(kinds[name] for name in _FLOAT),
    }


def rounded_convolutions(graph: Any) -> int:  # noqa: ANN401 - a guest's class
    """How many convolutions of a graph read a kernel of bytes and values that are on a grid.

    Args:
        graph: As it is written, not as an engine changed it.
    """
    maker = {name: node for node in graph.node for name in node.output}

    def on_grid(name: str) -> bool:
        node = maker.get(name)
        if node is None or node.op_type == READ:
            return node is not None
        moved = node.input if node.op_type == "Concat" else node.input[:1]
        return node.op_type in (*_MOVES, "Concat", "Relu") and all(map(on_grid, moved))

    return sum(node.op_type in _FLOAT and all(map(on_grid, node.input[:2])) for node in graph.node)


def _fold_constants(model: Any) -> None:  # noqa: ANN401 - a guest's class
    """Compute whatever depends on nothing that goes in; a kernel is left as bytes and its way back."""
    onnx = importlib.import_module("onnx")
    evaluator = importlib.import_module("onnx.reference").ReferenceEvaluator
    graph = model.graph
    known = {one.name: one for one in graph.initializer}
    kept, made = [], {}
    for node in graph.node:
        constant = node.op_type == "Constant" or (
            node.input and all(not name or name in known for name in node.input)
        )
        if not constant or node.domain or node.op_type == READ or len(node.output) != 1:
            kept.append(node)
            continue
        values = {name: onnx.numpy_helper.to_array(known[name]) for name in node.input if name}
        (value,) = evaluator(node).run(None, values)
        tensor = onnx.numpy_helper.from_array(np.asarray(value), node.output[0])
        known[node.output[0]] = made[node.output[0]] = tensor
    del graph.node[:]
    graph.node.extend(kept)
    graph.initializer.extend(made.values())


def _move_bytes(graph: Any) -> None:  # noqa: ANN401 - a guest's class
    """``bytes → values → moved → bytes`` on one grid becomes ``bytes → moved``."""
    onnx = importlib.import_module("onnx")
    held = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    maker = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[Any]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    answers = {one.name for one in graph.output}
    for node in graph.node:
        source = maker.get(node.input[0]) if node.op_type in _MOVES and node.input else None
        if source is None or source.op_type != READ or node.output[0] in answers:
            continue
        following = readers[node.output[0]]
        if len(following) != 1 or following[0].op_type != WRITE or not one_grid(source, following[0], held):
            continue
        if node.op_type == "Pad" and not _pads_bytes(node, source, held, graph):
            continue
        node.input[0], node.output[0] = source.input[0], following[0].output[0]
        maker[node.output[0]] = node
        following[0].input[0] = ""
    kept = [node for node in graph.node if not (node.op_type == WRITE and node.input[0] == "")]
    del graph.node[:]
    graph.node.extend(kept)


def _round_once(graph: Any) -> None:  # noqa: ANN401 - a guest's class
    """Values that are on a grid are not brought to it again where they were moved, joined or cut at zero."""
    onnx = importlib.import_module("onnx")
    held = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    maker = {name: node for node in graph.node for name in node.output}
    instead: dict[str, str] = {}
    for node in graph.node:  # in the order in which they are computed
        for place, name in enumerate(node.input):
            node.input[place] = instead.get(name, name)
        above = maker.get(node.input[0]) if node.input else None
        if above is None:
            continue
        if node.op_type == "LeakyRelu" and above.op_type == READ and node.attribute[0].f == 0.0:
            node.op_type, node.input[0] = "Relu", maker[above.input[0]].input[0]
            del node.attribute[:]
        elif node.op_type == READ and above.op_type == WRITE:
            moved = maker.get(above.input[0])
            if moved is not None and moved.op_type != READ and _is_on(moved, node, maker, held):
                instead[node.output[0]] = moved.output[0]


def _is_on(node: Any, grid: Any, maker: Mapping[str, Any], held: Mapping[str, np.ndarray]) -> bool:  # noqa: ANN401
    """Whether what a node answers is on a grid: it reads steps of it, or moves what does."""
    if node.op_type == READ:
        return one_grid(node, grid, held)
    if (
        node.op_type not in (*_MOVES, "Concat") or node.op_type == "Pad"
    ):  # through which OpenVINO does not see
        return False
    above = [maker.get(name) for name in node.input[: None if node.op_type == "Concat" else 1]]
    return all(one is not None and _is_on(one, grid, maker, held) for one in above)


def _pad_value(node: Any, held: Mapping[str, np.ndarray]) -> float:  # noqa: ANN401
    """What is put around; 0 where it is what lies at the border."""
    mode = next((one.s.decode() for one in node.attribute if one.name == "mode"), "constant")
    if mode != "constant" or len(node.input) < 3 or not node.input[2]:
        return 0.0
    value = held.get(node.input[2])
    return float("nan") if value is None else float(value.reshape(-1)[0])


def _pads_bytes(node: Any, source: Any, held: dict[str, np.ndarray], graph: Any) -> bool:  # noqa: ANN401
    """Whether the pixels that are put around are steps of the grid; a constant is made the step it is."""
    onnx = importlib.import_module("onnx")
    if any(one.name == "mode" and one.s != b"constant" for one in node.attribute):
        return True
    value, scale, zero = _pad_value(node, held), held.get(source.input[1]), held.get(source.input[2])
    if scale is None or zero is None or np.isnan(value):
        return False
    bounds = np.iinfo(zero.dtype)
    step = np.clip(np.rint(np.float64(value) / scale) + zero, bounds.min, bounds.max).astype(zero.dtype)
    name = f"{node.output[0]}_pad_step"
    graph.initializer.append(onnx.numpy_helper.from_array(step.reshape(()), name))
    while len(node.input) < 3:
        node.input.append("")
    node.input[2] = name
    return True


def _drop_unused(graph: Any) -> None:  # noqa: ANN401 - a guest's class
    """Forget operations that nobody reads, then values that nobody reads."""
    while True:
        read = {name for node in graph.node for name in node.input} | {one.name for one in graph.output}
        kept = [node for node in graph.node if any(name in read for name in node.output)]
        if len(kept) == len(graph.node):
            break
        del graph.node[:]
        graph.node.extend(kept)
    tensors = [one for one in graph.initializer if one.name in read]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
