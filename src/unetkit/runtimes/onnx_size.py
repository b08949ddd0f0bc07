"""An ONNX graph without what nobody computes with: notes, defaults, values held twice, long names."""

from __future__ import annotations

import importlib
import itertools
import string
from collections.abc import Iterator
from typing import Any

_SIGNS = string.ascii_lowercase + string.digits
_NEUTRAL = {"dilations": 1, "pads": 0, "strides": 1}
"""Attributes of windows without a default in the schema, as their text says that they are taken."""
_WINDOWS = ("AveragePool", "Conv", "MaxPool")


def shrink(model: Any) -> None:  # noqa: ANN401 - a guest's class
    """Leave out of a model what changes nothing that it computes.

    A small network in eight bits is otherwise to a tenth names and notes of where in the source each
    operation comes from.

    Args:
        model: An ONNX model; changed in place. The names of what goes in and comes out stay.
    """
    graph = model.graph
    for noted in (model, graph, *graph.node, *graph.input, *graph.output):
        noted.doc_string = ""
        del noted.metadata_props[:]
    for node in graph.node:
        node.name = ""
    del graph.value_info[:]
    graph.name = "network"
    used = {node.domain for node in graph.node} | {""}
    kept = [one for one in model.opset_import if one.domain in used]
    versions = {one.domain: one.version for one in kept}
    del model.opset_import[:]
    model.opset_import.extend(kept)
    for node in graph.node:
        _leave_out_defaults(node, versions)
    if not any(one.HasField("g") or one.graphs for node in graph.node for one in node.attribute):
        _hold_once(graph)  # what a graph within a graph reads is named there, too
        _rename(graph)


def _hold_once(graph: Any) -> None:  # noqa: ANN401
    """Values that are alike, such as the zeros of kernels, are held once."""
    first: dict[tuple[object, ...], str] = {}
    instead: dict[str, str] = {}
    kept = []
    for one in graph.initializer:
        values = importlib.import_module("onnx").numpy_helper.to_array(one)
        key = (one.data_type, tuple(one.dims), values.tobytes())
        if (known := first.setdefault(key, one.name)) == one.name:
            kept.append(one)
        else:
            instead[one.name] = known
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = instead.get(name, name)


def _leave_out_defaults(node: Any, versions: dict[str, int]) -> None:  # noqa: ANN401
    """An attribute that says what holds without it goes."""
    onnx = importlib.import_module("onnx")
    if node.domain:
        return
    known = onnx.defs.get_schema(node.op_type, versions[""], "").attributes
    kept = []
    for one in node.attribute:
        value = onnx.helper.get_attribute_value(one)
        default = known[one.name].default_value if one.name in known else None
        if default is not None and default.type and value == onnx.helper.get_attribute_value(default):
            continue
        neutral = _NEUTRAL.get(one.name) if node.op_type in _WINDOWS else None
        if neutral is not None and all(number == neutral for number in value):
            continue
        kept.append(one)
    del node.attribute[:]
    node.attribute.extend(kept)


def _rename(graph: Any) -> None:  # noqa: ANN401
    """One to three signs for every value between what goes in and what comes out."""
    kept = {"", *(one.name for one in (*graph.input, *graph.output))}
    fresh = _short_names()
    short: dict[str, str] = {}

    def named(name: str) -> str:
        if name in kept:
            return name
        if name not in short:
            short[name] = next(one for one in fresh if one not in kept)
        return short[name]

    for node in graph.node:
        node.input[:] = [named(name) for name in node.input]
        node.output[:] = [named(name) for name in node.output]
    for one in graph.initializer:
        one.name = named(one.name)


def _short_names() -> Iterator[str]:
    """``a``, ``b``, …, ``aa``, ``ab``, …: a letter first."""
    for length in itertools.count(0):
        for signs in itertools.product(_SIGNS, repeat=length):
            for letter in string.ascii_lowercase:
                yield letter + "".join(signs)
