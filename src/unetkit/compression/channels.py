"""Which channels of a network belong together, wherever they turn up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from unetkit.compression.tracer import Axis, Tracer
from unetkit.errors import UsageError
from unetkit.networks.heads import all_heads
from unetkit.networks.unet import UNet


@dataclass(frozen=True)
class Channels:
    """The channels of a network.

    Args:
        axes: Axis of a weight → the channel of each of its places, numbers from 0.
        count: How many numbers there are.
        fixed: Channels that have to stay: of the image, of the classes, or seen by an unknown operation.
        makers: Axes whose places are what a convolution or a matrix answers with.
        norm_groups: Axis of the scale of a group norm → number of groups.
        readers: Axes whose places weigh what a convolution or a matrix is shown.
    """

    axes: dict[Axis, np.ndarray]
    count: int
    fixed: frozenset[int]
    makers: tuple[Axis, ...]
    norm_groups: dict[Axis, int]
    readers: tuple[Axis, ...] = ()

    @cached_property
    def bundles(self) -> tuple[Bundle, ...]:
        """The channels, those together that lie on the very same axes."""
        axes_of: dict[int, list[int]] = defaultdict(list)
        for number, places in enumerate(self.axes.values()):
            for channel in places.tolist():
                axes_of[channel].append(number)
        members: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for channel, numbers in axes_of.items():
            members[tuple(numbers)].append(channel)
        keys = list(self.axes)
        return tuple(
            Bundle(
                channels=np.array(channels),
                on={keys[number]: numbers.count(number) for number in numbers},
                fixed=not self.fixed.isdisjoint(channels),
            )
            for numbers, channels in members.items()
        )


@dataclass(frozen=True)
class Bundle:
    """Channels that lie on the same axes and so are told apart by their weights alone.

    Args:
        channels: Their numbers.
        on: Axis → how often each of them lies on it.
        fixed: Whether all of them have to stay.
    """

    channels: np.ndarray
    on: dict[Axis, int]
    fixed: bool


def trace(network: UNet) -> Channels:
    """Find the channels of a network.

    Args:
        network: The network; it is not changed, and its weights do not matter.

    Raises:
        UsageError: It counts in eight bits.

    Reference:
        Fang et al., DepGraph: Towards Any Structural Pruning, CVPR 2023 (arXiv:2301.12900), which groups
        layers; here single places are grouped, so that concatenations need no offsets.

    Example:
        >>> from unetkit.networks.unet import build
        >>> from unetkit.records.plan import EXAMPLE, NetworkPlan
        >>> network = build(NetworkPlan(**EXAMPLE["network"]), rank=2, in_channels=1, classes=2)
        >>> found = trace(network)
        >>> up_and_skip = found.axes["decoder.blocks.0.0.conv.weight", 1]
        >>> skip = found.axes["encoder.stages.0.1.conv.weight", 0]
        >>> len(up_and_skip), bool((up_and_skip[8:] == skip).all())
        (16, True)
    """
    if network.quantization is not None:
        raise UsageError(
            "this network counts in eight bits, and channels are cut before that",
            cure="cut the model it was made from: unet compress MODEL DATA --prune 0.5 --int8 qat does both",
        )
    return follow(_exported(network), network.state_dict())


def follow(program: torch.export.ExportedProgram, state: Mapping[str, Tensor]) -> Channels:
    """Find the channels of any exported network.

    Args:
        program: Its graph.
        state: Its weights, by the names that the graph knows.
    """
    tracer = Tracer()
    targets = {spec.arg.name: spec.target for spec in program.graph_signature.input_specs if spec.target}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            name = targets.get(node.name, "")
            tracer.values[node] = tracer.weight(name, state[name]) if name in state else tracer.image(node)
        elif node.op == "call_function":
            tracer.call(node)
        elif node.op == "output":
            tracer.tie_down(node)
    for name, tensor in state.items():
        if (name, 0) not in tracer.axes and tensor.ndim:
            tracer.weight(name, tensor)
    return _numbered(tracer)


def _exported(network: UNet) -> torch.export.ExportedProgram:
    """The graph of all outputs, the supervised ones too, with norms as they are in use."""
    with all_heads(network) as image:
        return torch.export.export(network, (image,), strict=False)


def _numbered(tracer: Tracer) -> Channels:
    """Channels by numbers from 0, in the order in which they turn up."""
    numbers: dict[int, int] = {}
    axes = {}
    for axis, places in tracer.axes.items():
        roots = [tracer.root(place) for place in places.tolist()]
        axes[axis] = np.array([numbers.setdefault(root, len(numbers)) for root in roots], dtype=int)
    fixed = {numbers[root] for root in map(tracer.root, tracer.tied) if root in numbers}
    return Channels(
        axes,
        len(numbers),
        frozenset(fixed),
        tuple(tracer.makers),
        dict(tracer.norm_groups),
        tuple(tracer.readers),
    )
