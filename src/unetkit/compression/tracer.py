"""Carries channels through the graph of a network, place by place.

Every place along every axis of every weight is a variable. A convolution says that the places it reads are
those its input has; an addition says that its two inputs have the same ones; a concatenation puts them side
by side. What is joined so is one channel, wherever it turns up. An operation that is not
known here ties down every channel it sees: nothing is cut on a guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor
from torch.fx import Node

Axis = tuple[str, int]
"""Name of a weight, and number of one of its axes."""
Labels = list[np.ndarray | None]
"""Per axis of a tensor the variables of its places, None where places are no channels (pixels, samples)."""


@dataclass
class Tracer:
    """Carries labels through a graph, operation by operation.

    Example:
        >>> tracer = Tracer()
        >>> one, other = tracer.fixed(2), tracer.fixed(2)
        >>> _ = tracer.join([one, other])
        >>> tracer.root(int(other[1])) == tracer.root(int(one[1]))
        True
    """

    values: dict[Node, Labels] = field(default_factory=dict)
    axes: dict[Axis, np.ndarray] = field(default_factory=dict)
    tied: list[int] = field(default_factory=list)
    makers: dict[Axis, None] = field(default_factory=dict)
    readers: dict[Axis, None] = field(default_factory=dict)
    norm_groups: dict[Axis, int] = field(default_factory=dict)
    _parents: list[int] = field(default_factory=list)
    _homes: dict[int, Axis] = field(default_factory=dict)

    def weight(self, name: str, tensor: Tensor) -> Labels:
        """Labels of a weight: every axis has places of its own at first."""
        labels: Labels = []
        for axis, length in enumerate(tensor.shape):
            places = self._fresh(length)
            self.axes[name, axis] = places
            if length:
                self._homes[int(places[0])] = (name, axis)
            labels.append(places)
        return labels

    def image(self, node: Node) -> Labels:
        """Labels of what comes in from outside."""
        labels: Labels = [None] * len(_shape(node))
        if len(labels) > 1:
            labels[1] = self.fixed(_shape(node)[1])
        return labels

    def call(self, node: Node) -> None:
        """Find the labels of an operation's answer."""
        kind = _kind(node.target)
        rule = _RULES.get(kind)
        if rule is None:
            self.tie_down(node)
            self.values[node] = [None] * len(_shape(node))
        else:
            self.values[node] = rule(self, node)

    def tie_down(self, node: Node) -> None:
        """Whatever a node reads has to stay as it is."""
        for given in node.all_input_nodes:
            for places in self.values.get(given, []):
                self.fix(places)

    def of(self, given: object) -> Labels:
        """Labels of an argument; none for what is no tensor."""
        return self.values.get(given, []) if isinstance(given, Node) else []

    def fixed(self, count: int) -> np.ndarray:
        """New places that have to stay."""
        places = self._fresh(count)
        self.fix(places)
        return places

    def fix(self, places: np.ndarray | None) -> None:
        """These have to stay."""
        if places is not None:
            self.tied += places.tolist()

    def join(self, some: Iterable[np.ndarray | None]) -> np.ndarray | None:
        """Say that these are the same places; one that is unknown ties the others down."""
        some = list(some)
        known = [places for places in some if places is not None]
        for other in known[1:]:
            for mine, theirs in zip(known[0].tolist(), other.tolist(), strict=True):
                one, two = self.root(mine), self.root(theirs)
                if one != two:
                    self._parents[max(one, two)] = min(one, two)
        if known and len(known) < len(some):
            self.fix(known[0])
        return known[0] if known else None

    def make(self, places: np.ndarray | None) -> None:
        """Note that the places of this axis of a weight are what an operation answers with."""
        if (home := self._home(places)) is not None:
            self.makers[home] = None

    def read(self, places: np.ndarray | None) -> None:
        """Note that an operation weighs what comes in by the places of this axis of a weight, and adds up."""
        if (home := self._home(places)) is not None:
            self.readers[home] = None

    def note_groups(self, places: np.ndarray | None, groups: int) -> None:
        """Note into how many groups a norm divides these places."""
        if (home := self._home(places)) is not None:
            self.norm_groups[home] = groups

    def _home(self, places: np.ndarray | None) -> Axis | None:
        return self._homes.get(int(places[0])) if places is not None and len(places) else None

    def _fresh(self, count: int) -> np.ndarray:
        start = len(self._parents)
        self._parents += range(start, start + count)
        return np.arange(start, start + count)

    def root(self, place: int) -> int:
        """The variable that stands for all that were joined with this one."""
        while (above := self._parents[place]) != place:
            self._parents[place] = self._parents[above]
            place = above
        return place


def _kind(target: Any) -> str:  # noqa: ANN401 - any callable of a graph
    """The name of an operation without its rank and whether it works in place."""
    schema = getattr(target, "_schema", None)
    name = getattr(target, "__name__", "") if schema is None else schema.name.removeprefix("aten::")
    return re.sub(r"\dd$", "", name.rstrip("_"))


def _shape(node: Node) -> tuple[int, ...]:
    """Sizes of a node's answer; none where that is no single tensor."""
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _given(node: Node) -> dict[str, Any]:
    """The arguments of an operation by the names of its schema."""
    found: dict[str, Any] = {}
    for place, argument in enumerate(node.target._schema.arguments):  # pyright: ignore
        default = argument.default_value if argument.has_default_value() else None
        stated = node.kwargs.get(argument.name, default)
        found[argument.name] = node.args[place] if place < len(node.args) else stated
    return found


def _elementwise(tracer: Tracer, node: Node) -> Labels:
    shape, labels = _shape(node), []
    for back in range(1, len(shape) + 1):
        here = []
        for given in node.all_input_nodes:
            sizes = _shape(given)
            if len(sizes) >= back and sizes[-back] == shape[-back]:  # else it is repeated along this axis
                here.append(tracer.of(given)[-back])
        labels.append(tracer.join(here))
    return labels[::-1]


def _convolution(tracer: Tracer, node: Node, *, transposed: bool = False) -> Labels:
    given = _given(node)
    x, weight, bias = (tracer.of(given[name]) for name in ("input", "weight", "bias"))
    sizes, groups = _shape(given["weight"]), given["groups"]
    if groups == 1:
        reads, makes = (weight[0], weight[1]) if transposed else (weight[1], weight[0])
        tracer.join([x[1], reads])
        tracer.read(reads)
    elif groups == sizes[0] == _shape(given["input"])[1] and sizes[1] == 1:  # one kernel per channel
        makes = weight[0]
        tracer.join([x[1], makes])
    else:
        tracer.tie_down(node)
        return [x[0], tracer.fixed(_shape(node)[1]), *[None] * (len(_shape(node)) - 2)]
    tracer.make(makes)
    if bias:
        tracer.join([makes, bias[0]])
    return [x[0], makes, *[None] * (len(_shape(node)) - 2)]


def _transposed(tracer: Tracer, node: Node) -> Labels:
    return _convolution(tracer, node, transposed=True)


def _linear(tracer: Tracer, node: Node) -> Labels:
    given = _given(node)
    x, weight, bias = (tracer.of(given[name]) for name in ("input", "weight", "bias"))
    tracer.join([x[-1], weight[1]])
    tracer.read(weight[1])
    tracer.make(weight[0])
    if bias:
        tracer.join([weight[0], bias[0]])
    return [*x[:-1], weight[0]]


def _norm(tracer: Tracer, node: Node) -> Labels:
    given = _given(node)
    x = tracer.of(given["input"])
    for name in ("weight", "bias", "running_mean", "running_var"):
        if labels := tracer.of(given.get(name)):
            tracer.join([x[1], labels[0]])
    if "num_groups" in given and (labels := tracer.of(given["weight"])):
        tracer.note_groups(labels[0], given["num_groups"])
    return x


def _beside(tracer: Tracer, node: Node) -> Labels:
    """Concatenation."""
    given = _given(node)
    parts = [(tracer.of(part), _shape(part)) for part in given["tensors"]]
    rank = len(parts[0][1])
    along = given["dim"] % rank
    labels: Labels = []
    for axis in range(rank):
        here = [part[axis] for part, _ in parts]
        if axis != along:
            labels.append(tracer.join(here))
        elif all(places is None for places in here):
            labels.append(None)
        else:
            whole = [tracer.fixed(sizes[axis]) if part[axis] is None else part[axis] for part, sizes in parts]
            labels.append(np.concatenate(whole))  # pyright: ignore[reportArgumentType, reportCallIssue]
    return labels


def _per_channel(tracer: Tracer, node: Node) -> Labels:
    """Pooling, interpolation and padding: pixels change, samples and channels do not."""
    given = node.all_input_nodes[0]
    x, before, after = tracer.of(given), _shape(given), _shape(node)
    if before[:2] != after[:2]:
        tracer.tie_down(node)
        return [None] * len(after)
    return [*x[:2], *[None] * (len(after) - 2)]


def _mean(tracer: Tracer, node: Node) -> Labels:
    given = _given(node)
    x = list(tracer.of(given["self"]))
    along = given.get("dim")
    axes = {axis % len(x) for axis in (along if along else range(len(x)))}
    for axis in axes:
        tracer.fix(x[axis])  # what is averaged over channels knows how many there are
    if given.get("keepdim"):
        return [None if axis in axes else places for axis, places in enumerate(x)]
    return [places for axis, places in enumerate(x) if axis not in axes]


def _slice(tracer: Tracer, node: Node) -> Labels:
    given = _given(node)
    x = list(tracer.of(given["self"]))
    axis = given["dim"] % len(x)
    if (places := x[axis]) is not None:
        if "length" in given:
            x[axis] = places[given["start"] : given["start"] + given["length"]]
        else:
            x[axis] = places[slice(given["start"], given["end"], given["step"])]
    return x


def _unsqueezed(tracer: Tracer, node: Node) -> Labels:
    given = _given(node)
    x = list(tracer.of(given["self"]))
    x.insert(given["dim"] % (len(x) + 1), None)
    return x


def _permuted(tracer: Tracer, node: Node) -> Labels:
    given, kind = _given(node), _kind(node.target)
    x = tracer.of(given["self"])
    if kind == "permute":
        return [x[axis] for axis in given["dims"]]
    order = list(range(len(x)))
    one, other = (0, 1) if kind == "t" else (given["dim0"], given["dim1"])
    if len(x) > 1:
        order[one], order[other] = order[other], order[one]
    return [x[axis] for axis in order]


def _reshaped(tracer: Tracer, node: Node) -> Labels:
    """Axes before and behind the ones that are cut up or melted together stay what they are."""
    given = node.all_input_nodes[0]
    x, before, after = tracer.of(given), _shape(given), _shape(node)
    first = _alike(before, after)
    last = min(_alike(before[::-1], after[::-1]), min(len(before), len(after)) - first)
    for places in x[first : len(x) - last]:
        tracer.fix(places)
    return [*x[:first], *[None] * (len(after) - first - last), *x[len(x) - last :]]


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    """How many numbers two rows begin with alike."""
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count


_Rule = Callable[[Tracer, Node], Labels]
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(
        (
            *("add", "sub", "rsub", "mul", "div", "addcmul", "neg", "clamp", "clamp_min", "clamp_max"),
            *("relu", "relu6", "leaky_relu", "gelu", "silu", "elu", "sigmoid", "tanh", "mish", "softplus"),
            *("hardtanh", "hardsigmoid", "hardswish"),
            *("dropout", "feature_dropout", "contiguous", "clone", "detach", "alias", "to", "_to_copy"),
        ),
        _elementwise,
    ),
    **dict.fromkeys(
        (
            *("max_pool", "avg_pool", "adaptive_avg_pool", "pad", "constant_pad_nd", "replication_pad"),
            *("upsample_bilinear", "upsample_trilinear", "upsample_nearest"),
        ),
        _per_channel,
    ),
    **dict.fromkeys(("batch_norm", "instance_norm", "group_norm"), _norm),
    **dict.fromkeys(("slice", "narrow"), _slice),
    **dict.fromkeys(("permute", "transpose", "t"), _permuted),
    **dict.fromkeys(("reshape", "view", "flatten", "unflatten", "_unsafe_view"), _reshaped),
    "conv": _convolution,
    "conv_transpose": _transposed,
    "linear": _linear,
    "cat": _beside,
    "mean": _mean,
    "unsqueeze": _unsqueezed,
}
"""Operations whose effect on channels is known; any other ties them down."""
