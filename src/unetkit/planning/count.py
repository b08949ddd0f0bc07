"""What a network costs, whatever it is made of: counted by running it on tensors without numbers."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from unetkit.networks.unet import build
from unetkit.planning.cost import LANES
from unetkit.records.plan import Axes, NetworkPlan, Plan

_SAMPLES = 2  # a batch norm wants more than one value per channel, also where a map is down to one pixel
_PRODUCTS = (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm, torch.ops.aten.baddbmm)


@dataclass(frozen=True)
class Count:
    """What one patch costs.

    Args:
        parameters: Weights that can be learned.
        multiply_adds: Of convolutions, matrix products and attention, forward.
        lane_multiply_adds: The same with channels rounded up to ``LANES``, which is proportional to time.
        elements: Values that convolutions and matrix products answer with.
        saved_bytes: What autograd keeps for the way back in float32, losses left out.
        outputs: Pixels per axis of each output while training.
    """

    parameters: int
    multiply_adds: int
    lane_multiply_adds: int
    elements: int
    saved_bytes: int
    outputs: tuple[Axes, ...]


def count(
    network: NetworkPlan,
    *,
    rank: int,
    in_channels: int,
    classes: int,
    patch: Sequence[int],
    training: bool = True,
) -> Count:
    """Count a network while it trains on a patch; takes no memory, and milliseconds per ten layers.

    Args:
        network: The network.
        rank: Spatial axes.
        in_channels: Input channels.
        classes: Output classes.
        patch: Pixels per axis.
        training: Whether it trains, with every output that has a loss; or answers, with the finest alone.

    Raises:
        UsageError: The plan contradicts itself, or names a part that does not exist.

    Example:
        >>> from unetkit.records.plan import EXAMPLE
        >>> network = NetworkPlan(**EXAMPLE["network"])
        >>> count(network, rank=2, in_channels=1, classes=2, patch=(32, 32)).parameters
        6562
    """
    return _counted(network.model_dump_json(), rank, in_channels, classes, tuple(patch), training)


def count_tile(plan: Plan) -> Count:
    """Count a network while it answers one tile of its plan.

    Args:
        plan: The plan of a model.

    Example:
        >>> from unetkit.records.plan import EXAMPLE
        >>> count_tile(Plan.model_validate(EXAMPLE)).outputs
        ((32, 32),)
    """
    return count(
        plan.network,
        rank=plan.data.input_rank,
        in_channels=plan.data.input_channels,
        classes=len(plan.data.classes),
        patch=plan.inference.tile_size,
        training=False,
    )


def living_bytes(plan: Plan) -> int:
    """Bytes of float32 that a network needs at once while it answers one tile of its plan, at most.

    Its weights, the image, and whatever lies between: each tensor until nothing reads it any more. What an
    engine takes for itself, such as a kernel unfolded, comes on top.

    Args:
        plan: The plan of a model.

    Example:
        >>> from unetkit.records.plan import EXAMPLE
        >>> living_bytes(Plan.model_validate(EXAMPLE)) > 4 * 6562
        True
    """
    data = plan.data
    with torch.device("meta"), torch.no_grad():
        network = build(
            plan.network, rank=data.input_rank, in_channels=data.input_channels, classes=len(data.classes)
        ).eval()
        living = _Living()
        with living:
            network(torch.empty((1, data.input_channels, *plan.inference.tile_size)))
    weights = [*network.parameters(), *network.buffers()]
    return living.most + sum(weight.numel() * weight.element_size() for weight in weights)


@cache
def _counted(
    network_json: str, rank: int, in_channels: int, classes: int, patch: Axes, training: bool
) -> Count:
    plan = NetworkPlan.model_validate_json(network_json)
    with torch.device("meta"):  # no weight is made, and no random number drawn
        network = build(plan, rank=rank, in_channels=in_channels, classes=classes).train(training)
        pixels = torch.empty((_SAMPLES, in_channels, *patch))
    weights = {_address(weight.untyped_storage()) for weight in network.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if _address(storage) not in weights:
            kept[_address(storage)] = storage  # held, so that no other can get its address
        return tensor

    tally = _Tally()
    with saved_tensors_hooks(keep, lambda tensor: tensor), tally.counter() as counter:
        answer = network(pixels)
    outputs: list[Tensor] = list(answer) if isinstance(answer, list | tuple) else [answer]
    return Count(
        parameters=_learned(network),
        multiply_adds=counter.get_total_flops() // (2 * _SAMPLES),
        lane_multiply_adds=(counter.get_total_flops() // 2 + tally.rounding) // _SAMPLES,
        elements=tally.elements // _SAMPLES,
        saved_bytes=sum(storage.nbytes() for storage in kept.values()) // _SAMPLES,
        outputs=tuple(tuple(output.shape[2:]) for output in outputs),
    )


def _address(storage: torch.UntypedStorage) -> int:
    """What tells storages apart where none has any data."""
    return storage._cdata  # pyright: ignore[reportAttributeAccessIssue]


def _learned(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)


class _Living(TorchDispatchMode):
    """Counts the bytes of tensors from when they are made until nobody holds them."""

    def __init__(self) -> None:
        super().__init__()
        self.most = self._now = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        answer = func(*args, **(kwargs or {}))
        for one in tree_leaves(answer):
            if isinstance(one, Tensor):
                self._note(one.untyped_storage())
        return answer

    def _note(self, storage: torch.UntypedStorage) -> None:
        address, size = storage._cdata, storage.nbytes()  # pyright: ignore[reportAttributeAccessIssue]
        if address in self._known:
            return
        self._known.add(address)
        self._now += size
        self.most = max(self.most, self._now)
        weakref.finalize(storage, self._gone, address, size)

    def _gone(self, address: int, size: int) -> None:
        self._known.discard(address)
        self._now -= size


class _Tally:
    """Counts what torch's own counter of operations does not: values, and multiply-adds of full lanes."""

    def __init__(self) -> None:
        self.elements = 0
        self.rounding = 0
        self._first = True

    def counter(self) -> FlopCounterMode:
        """Torch's counter, which tells this tally of every convolution and product."""
        mapping: dict[Any, Any] = {torch.ops.aten.convolution: self._convolution}
        return FlopCounterMode(
            display=False, custom_mapping=mapping | dict.fromkeys(_PRODUCTS, self._product)
        )

    def _convolution(self, x: Any, weight: Any, *args: Any, out_shape: Any, **_: Any) -> int:  # noqa: ANN401
        """Shapes of a convolution → its operations."""
        transposed = args[4]
        operations = conv_flop_count(list(x), list(weight), list(out_shape), transposed=transposed)
        inputs, outputs = (weight[0], weight[1]) if transposed else (weight[1], weight[0])
        wanted = inputs if self._first else _lanes(inputs)  # the image's channels are not padded
        self._first = False
        self._note(operations, wanted * _lanes(outputs) / (inputs * outputs), out_shape)
        return operations

    def _product(self, *args: Any, out_shape: Any, **_: Any) -> int:  # noqa: ANN401
        """Shapes of a matrix product (behind those of what is added, where there is any) → its operations."""
        left = args[-2]
        operations = 2 * math.prod(out_shape) * left[-1]
        sizes = (*out_shape[-2:], left[-1])
        share = math.prod(_lanes(size) for size in sizes) / math.prod(sizes)
        self._note(operations, share, out_shape)
        return operations

    def _note(self, operations: int, share: float, out_shape: Sequence[int]) -> None:
        self.elements += math.prod(out_shape)
        self.rounding += round(operations / 2 * (share - 1))


def _lanes(channels: int) -> int:
    return channels if channels == 1 else -(-channels // LANES) * LANES
