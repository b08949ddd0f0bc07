"""How much memory a training step takes: counted from what autograd saves, then tried for real.

A constant fitted to one family of networks is wrong for the next; counting works for any encoder.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from unetkit.errors import ResourceError, UsageError
from unetkit.lookup import pick
from unetkit.losses import LOSSES
from unetkit.networks.unet import build
from unetkit.planning.capacity import default_memory_gb, resident
from unetkit.planning.cost import BYTES_PER_WEIGHT, FIXED_BYTES
from unetkit.planning.topology import divisors
from unetkit.records.plan import LossTerm, NetworkPlan, ObjectivePlan, Plan
from unetkit.runtimes.devices import Layout, pick_device
from unetkit.spatial.slices import Slices

__all__ = ["default_memory_gb", "fit_to_memory", "saved_bytes", "step_bytes"]

_HALF = 0.6  # of the saved bytes stay when training runs in bfloat16: norms and losses keep float32
_LEAST_BATCH = 2
_SAMPLES = 2  # counted together: a batch norm wants more than one value per channel
_CLEAR = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class _Count:
    """Bytes saved for one sample, ``fixed`` and per pixel, and the number of weights."""

    fixed: float
    per_pixel: float
    weights: int


def saved_bytes(
    network: NetworkPlan,
    *,
    rank: int,
    in_channels: int,
    classes: int,
    patch: Sequence[int],
    losses: tuple[LossTerm, ...] = (LossTerm(name="cross_entropy"),),
) -> int:
    """Bytes that autograd keeps for the way back, for one patch in float32.

    Counted on two small patches and extended by the number of pixels: every feature map grows with it.

    Args:
        network: The network.
        rank: Spatial axes.
        in_channels: Input channels.
        classes: Output classes.
        patch: Pixels per axis.
        losses: The losses on every supervised output.
    """
    count = _count(network, rank=rank, in_channels=in_channels, classes=classes, losses=losses)
    return round(count.fixed + count.per_pixel * math.prod(_padded(patch, network)))


def step_bytes(plan: Plan, *, device: str = "cpu") -> int:
    """Bytes of one training step: what is saved, two more of the widest feature maps, weights, optimiser.

    Args:
        plan: The plan.
        device: ``cpu``, ``cuda``, …
    """
    data, network, training = plan.data, plan.network, plan.training
    channels, classes = data.input_channels, len(data.classes)
    known = {"rank": data.input_rank, "in_channels": channels, "classes": classes}
    saved = saved_bytes(network, **known, patch=training.patch_size, losses=plan.objective.losses)
    weights = _count(network, **known, losses=plan.objective.losses).weights
    pixels = math.prod(_padded(training.patch_size, network))
    half = device.startswith("cuda") and training.precision != "float32"
    passing = 2 * 4 * max(2 * network.widths[0], channels, classes) * pixels
    sample = (saved + passing) * (_HALF if half else 1.0) + 4 * channels * pixels
    return round(training.batch_size * sample + BYTES_PER_WEIGHT * weights + FIXED_BYTES)


def fit_to_memory(plan: Plan, budget_gb: float = 0.0, device: str = "cpu", *, step: bool = True) -> Plan:
    """Shrink a plan until one real step on the real patch and batch stays inside the memory.

    The batch goes first, down to 2; then the patch, a stride step at a time; at last the batch to 1.

    Args:
        plan: The plan.
        budget_gb: GB (1e9 bytes) a step may take; 0 for what is free on the device.
        device: ``auto``, ``cpu``, ``cuda``, …
        step: Whether to make the step; without it the count alone decides, which takes no time and less
            certainty, and what is free now is not written into the plan as its budget.

    Raises:
        ResourceError: Not even the smallest patch fits.
        UsageError: Patch or tile cannot be used at all, see ``check_sizes``.
    """
    check_sizes(plan)
    place = pick_device(device)
    budget = (budget_gb or default_memory_gb(str(place))) * 1e9
    here: Plan | None = plan
    while here is not None:
        counted = step_bytes(here, device=str(place))
        tried = math.inf if counted > budget else try_step(here, place) if step else None
        if tried is None or tried <= budget:
            return _explained(here, plan, counted=counted, tried=tried, budget=budget)
        here = smaller(here)
    raise ResourceError(
        f"training needs more memory than the budget of {budget / 1e9:.2g} GB, even with the smallest patch",
        cure="give more memory, or fewer widths with --set network.widths=…",
    )


def check_sizes(plan: Plan) -> None:
    """Refuse a patch or a tile set by hand with which the network cannot work.

    Args:
        plan: The plan.

    Raises:
        UsageError: One has not one positive number per axis the network sees, the patch is below the
            network's stride, or slices are asked for where there are none.
    """
    Slices.of(plan.data)  # refuses slices where there are none
    rank, patch = plan.data.input_rank, plan.training.patch_size
    for key, size in (("training.patch_size", patch), ("inference.tile_size", plan.inference.tile_size)):
        if len(size) != rank or min(size) < 1:
            raise UsageError(
                f"{key} is {list(size)}, {rank} positive numbers were expected", cure=f"correct {key}"
            )
    if any(len(stage) != rank for stage in plan.network.strides):
        return  # building the network words this better
    steps = divisors(plan.network.strides)
    if any(edge < step for edge, step in zip(patch, steps, strict=True)):
        raise UsageError(
            f"training.patch_size is {_words(patch)}, smaller than the network's stride, {_words(steps)}: "
            "its coarsest features would stand for more than the patch",
            cure=f"set training.patch_size to {_words(steps)} or more, or give the network fewer stages",
        )


def smaller(plan: Plan) -> Plan | None:
    """The next smaller plan: batch first, then patch, then a batch of 1; None at the end.

    Args:
        plan: The plan.
    """
    training, patch = plan.training, plan.training.patch_size
    if training.batch_size > _LEAST_BATCH:
        batch = max(_LEAST_BATCH, training.batch_size * 3 // 4)
        return _with(plan, batch_size=batch)
    steps = divisors(plan.network.strides)
    able = [a for a in range(len(patch)) if steps[a] > 1 and patch[a] >= 3 * steps[a]]
    if able:
        axis = max(able, key=lambda a: patch[a] / steps[a])
        edge = (math.ceil(patch[axis] / steps[axis]) - 1) * steps[axis]
        return _with(plan, patch_size=tuple(edge if a == axis else p for a, p in enumerate(patch)))
    return _with(plan, batch_size=1) if training.batch_size > 1 else None


def try_step(plan: Plan, device: torch.device) -> float:
    """Run one training step and measure its memory.

    Args:
        plan: The plan.
        device: Where.

    Returns:
        Peak bytes; infinity when the device had not enough; 0 where the system does not tell.
    """
    try:
        with _peak(device) as peak:
            _step(plan, device)
        return peak[0]
    except torch.OutOfMemoryError:
        return math.inf
    except RuntimeError as wrong:  # the CPU's allocator has no exception of its own
        if "memory" not in str(wrong) and "alloc" not in str(wrong):
            raise
        return math.inf
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _step(plan: Plan, device: torch.device) -> None:
    """One step as training makes it: forward, losses, backward, AdamW."""
    channels, classes = plan.data.input_channels, len(plan.data.classes)
    with torch.random.fork_rng(devices=[]):
        network = build(plan.network, rank=plan.data.input_rank, in_channels=channels, classes=classes)
    wanted = plan.training.precision
    half = wanted == "bfloat16" or (wanted == "auto" and device.type == "cuda")
    layout = Layout("bfloat16" if half else "float32", "channels_last")
    layout.place(network, device).train()
    optimizer = torch.optim.AdamW(network.parameters())
    shape = (plan.training.batch_size, channels, *plan.training.patch_size)
    pixels = layout.arrange(torch.zeros(shape, device=device))
    with layout.autocast(device):
        outputs = network(pixels)
    _loss(outputs, plan.objective.losses).backward()
    optimizer.step()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _loss(outputs: Tensor | list[Tensor], losses: Sequence[LossTerm]) -> Tensor:
    parts = []
    for output in outputs if isinstance(outputs, list) else [outputs]:
        target = torch.zeros((len(output), *output.shape[2:]), dtype=torch.int64, device=output.device)
        parts += [
            term.weight * pick("loss", LOSSES, term.name)(output, target, None, **term.options)
            for term in losses
        ]
    return torch.stack(parts).sum()


def _count(
    network: NetworkPlan, *, rank: int, in_channels: int, classes: int, losses: tuple[LossTerm, ...]
) -> _Count:
    """``_counted`` with records in place of their JSON, which is what a cache can tell apart."""
    objective = ObjectivePlan(losses=losses)
    return _counted(network.model_dump_json(), rank, in_channels, classes, objective.model_dump_json())


@cache
def _counted(network_json: str, rank: int, in_channels: int, classes: int, objective_json: str) -> _Count:
    network = NetworkPlan.model_validate_json(network_json)
    losses = ObjectivePlan.model_validate_json(objective_json).losses
    layout = Layout("float32", "channels_last")
    with torch.random.fork_rng(devices=[]):
        net = build(network, rank=rank, in_channels=in_channels, classes=classes).train()
    layout.place(net, torch.device("cpu"))  # an image of one channel alone does not say how it lies
    steps = divisors(network.strides)
    axis = steps.index(max(steps))
    rows = []
    for times in (2, 3):
        patch = tuple(d * (times if a == axis else 1) if d > 1 else 2 for a, d in enumerate(steps))
        pixels = layout.arrange(torch.zeros((_SAMPLES, in_channels, *patch)))
        rows.append((math.prod(patch), _saved(net, pixels, losses) / _SAMPLES))
    (small, few), (large, many) = rows
    slope = (many - few) / (large - small)
    return _Count(max(0.0, few - slope * small), slope, sum(p.numel() for p in net.parameters()))


def _saved(network: nn.Module, pixels: Tensor, losses: Sequence[LossTerm]) -> int:
    """Bytes of the distinct tensors autograd keeps, weights left out."""
    weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = _loss(network(pixels), losses)
    total = sum(sizes.values())
    del loss
    return total


@contextmanager
def _peak(device: torch.device) -> Iterator[list[float]]:
    """Peak bytes that the block needs on top of what was in use before; 0 where nobody knows."""
    result = [0.0]
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield result
        result[0] = float(torch.cuda.max_memory_allocated(device) - before)
        return
    if device.type == "cpu" and _forget_peak():
        before = resident("VmRSS") or 0
        yield result
        result[0] = float(max(0, (resident("VmHWM") or 0) - before))
        return
    yield result


def _forget_peak() -> bool:
    """Let the kernel count this process's peak memory from now on; False where it cannot."""
    try:
        _CLEAR.write_text("5")
        return resident("VmHWM") is not None
    except OSError:
        return False


def _explained(plan: Plan, before: Plan, *, counted: float, tried: float | None, budget: float) -> Plan:
    """The plan with its memory budget and what the fitting did to it; ``tried`` None: no step was made."""
    measured = f", {max(tried / 1e9, 0.01):.2g} GB measured in a real step" if tried else ""
    fact = f"A step needs {counted / 1e9:.2g} GB as counted{measured}, of {budget / 1e9:.2g} GB."
    if tried is None:
        fact += " Training makes one real step first, and takes a smaller batch or patch if that needs more."
    reasons = dict(plan.reasons) | {"training.memory_gb": fact}
    for key in ("patch_size", "batch_size"):
        old, new = getattr(before.training, key), getattr(plan.training, key)
        if old != new:
            reasons[f"training.{key}"] = (
                f"{_words(old)} did not fit into {budget / 1e9:.2g} GB; {_words(new)} does."
            )
    kept = before.training.memory_gb if tried is None else round(budget / 1e9, 3)
    training = plan.training.model_copy(update={"memory_gb": kept})
    return plan.model_copy(update={"training": training, "reasons": reasons})


def _words(value: int | tuple[int, ...]) -> str:
    return str(value) if isinstance(value, int) else "×".join(map(str, value))


def _with(plan: Plan, **changes: object) -> Plan:
    """The plan with other training values; tiles of the old patch's size follow the patch."""
    training = plan.training.model_copy(update=changes)
    inference = plan.inference
    if inference.tile_size == plan.training.patch_size:
        inference = inference.model_copy(update={"tile_size": training.patch_size})
    return plan.model_copy(update={"training": training, "inference": inference})


def _padded(patch: Sequence[int], network: NetworkPlan) -> tuple[int, ...]:
    return tuple(math.ceil(p / d) * d for p, d in zip(patch, divisors(network.strides), strict=True))
