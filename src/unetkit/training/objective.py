"""What training minimises. Learning differently is another objective, not another loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from unetkit.data.patches import Batch
from unetkit.errors import DataError, UsageError, nearest
from unetkit.lookup import pick
from unetkit.losses import LOSSES, Loss
from unetkit.records.plan import LossTerm, ObjectivePlan, WrapperTerm
from unetkit.runtimes.devices import Layout

OBJECTIVES = {"supervised": "unetkit.training.objective:Supervised"}
WRAPPERS = {
    "distill": "unetkit.learning.distill:Distillation",
    "ewc": "unetkit.learning.penalty:Ewc",
    "l2sp": "unetkit.learning.penalty:L2sp",
    "lwf": "unetkit.learning.distill:WithoutForgetting",
    "replay": "unetkit.learning.replay:Replay",
}
"""What is put around an objective so that a model keeps what it knew, or learns what others know."""

_INNER = "inner."


class Objective(Protocol):
    """A row of ``OBJECTIVES``, built as ``Objective(plan: ObjectivePlan, layout: Layout)``."""

    def terms(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Name to weighted loss (scalar, float32); training minimises their sum."""
        ...

    def after_step(self, rate: float) -> None:
        """The weights have changed; what is done to them here is part of the step, averages come after.

        Args:
            rate: The learning rate of the step.
        """
        ...

    def state(self) -> dict[str, Tensor]:
        """What it has gathered by itself, such as a teacher's weights, by name; empty when nothing.

        It goes into every resume point, and it is all that a resumed run knows of the steps before.
        """
        ...

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Become what ``state`` gave, before the first step of a resumed run; ``tensors`` lie on the CPU."""
        ...


class Memory(Protocol):
    """Other examples as batches (``data.patches.Batches``): each depends on seed and step alone."""

    def at(self, step: int) -> Batch:
        """The batch of a step, as large as the training's own."""
        ...


@dataclass(frozen=True)
class Past:
    """What a training may look at beside its own data: an earlier model, other models, other images.

    Args:
        network: The model it started from, frozen, in evaluation mode, on the training's device.
        importance: How much each of its weights matters, by name; each ``0`` or more, shaped like the weight.
        memory: Examples of what it has learned from.
        teachers: Models to learn from, frozen likewise.
        unlabelled: Patches of images without a label: nothing in them is known.
    """

    network: nn.Module | None = None
    importance: Mapping[str, Tensor] = field(default_factory=dict)
    memory: Memory | None = None
    teachers: Sequence[nn.Module] = ()
    unlabelled: Memory | None = None


class Wrapper(Protocol):
    """A row of ``WRAPPERS``: makes an objective of another one."""

    def __call__(self, inner: Objective, term: WrapperTerm, layout: Layout, past: Past) -> Objective:
        """The wrapped objective; ``inner`` computes the losses on labels.

        Raises:
            UsageError: An option is unknown, out of range, or ``past`` lacks what is looked back on.
        """
        ...


def build_objective(plan: ObjectivePlan, layout: Layout, past: Past | None = None) -> Objective:
    """The objective that a plan names, inside its wrappers.

    Args:
        plan: The plan's slice.
        layout: Number type and memory format of the network's forward pass.
        past: What the wrappers may look back on; nothing when None.

    Raises:
        UsageError: No objective, wrapper or loss has that name, or a wrapper lacks what it looks back on.
    """
    objective: Objective = pick("objective", OBJECTIVES, plan.name)(plan, layout)
    for term in plan.wrappers:
        wrapper: Wrapper = pick("wrapper", WRAPPERS, term.name)
        objective = wrapper(objective, term, layout, past or Past())
    return objective


def options_of(term: WrapperTerm, defaults: Mapping[str, float]) -> dict[str, float]:
    """The numbers of a wrapper, the ones that were not said at their defaults.

    Args:
        term: As the plan has it.
        defaults: Every option the wrapper takes; none may be negative or infinite.

    Raises:
        UsageError: An option is unknown, negative or not finite.

    Example:
        >>> options_of(WrapperTerm(name="lwf", options={"weight": 2.0}), {"weight": 1.0, "temperature": 2.0})
        {'weight': 2.0, 'temperature': 2.0}
    """
    for name, value in term.options.items():
        if name not in defaults:
            cure = nearest(name, defaults)
            raise UsageError(f"the wrapper '{term.name}' has no option '{name}'", cure=cure)
        if not 0 <= value < float("inf"):
            raise UsageError(
                f"expected '{name}' of the wrapper '{term.name}' to be a number of 0 or more, got {value}",
                cure=f"correct it in objective.wrappers, for example to {defaults[name]:g}",
            )
    return {**defaults, **term.options}


def joined_states(inner: Objective, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of a wrapper: its own and that of what it wraps.

    Args:
        inner: What it wraps.
        own: By name.
    """
    return {**own, **{f"{_INNER}{name}": tensor for name, tensor in inner.state().items()}}


def load_inner(inner: Objective, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Hand what is wrapped its part of a state; returns the wrapper's own part.

    Args:
        inner: What it wraps.
        tensors: What ``joined_states`` gave.
    """
    inside = {name: tensor for name, tensor in tensors.items() if name.startswith(_INNER)}
    inner.load({name.removeprefix(_INNER): tensor for name, tensor in inside.items()})
    return {name: tensor for name, tensor in tensors.items() if name not in inside}


class Supervised:
    """Losses against a label, at every resolution the network answers in.

    Args:
        plan: Losses with weights and options.
        layout: Autocast covers the network alone; losses are computed in float32.
    """

    def __init__(self, plan: ObjectivePlan, layout: Layout) -> None:
        self._layout = layout
        self._losses: dict[str, tuple[LossTerm, Loss]] = {}
        for term in plan.losses:
            key = term.name if term.name not in self._losses else f"{term.name}_{len(self._losses)}"
            self._losses[key] = (term, pick("loss", LOSSES, term.name))

    def terms(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """One entry per loss of the plan: its weight times its mean over the resolutions."""
        totals: dict[str, Tensor] = {}
        logits = outputs(network, batch.pixels, self._layout)
        for share, level in zip(output_weights([level.shape[2:] for level in logits]), logits, strict=True):
            if share == 0.0:
                continue
            size = level.shape[2:]
            target = at_size(batch.target, size)
            known = None if batch.known is None else at_size(batch.known, size)
            for key, (term, loss) in self._losses.items():
                value = loss(level.float(), target, known, **term.options) * (share * term.weight)
                totals[key] = totals[key] + value if key in totals else value
        return totals

    def after_step(self, rate: float) -> None:
        """Nothing to do."""

    def state(self) -> dict[str, Tensor]:
        """Nothing: every step follows from the weights and the batch alone."""
        return {}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Nothing to become.

        Raises:
            DataError: There is something: another objective's state.
        """
        if tensors:
            raise DataError(
                f"this resume point holds another objective's state ({', '.join(sorted(tensors)[:3])})",
                cure="resume with the plan the run was started with, or start anew in another folder",
            )


def outputs(network: nn.Module, pixels: Tensor, layout: Layout) -> list[Tensor]:
    """Run a network under autocast.

    Args:
        network: Answers with one tensor or with several, fine to coarse.
        pixels: ``(B, C, *S)``.
        layout: Number type and memory format.

    Returns:
        Logits ``(B, K, *S)``, fine to coarse.
    """
    with layout.autocast(pixels.device):
        answer = network(layout.arrange(pixels))
    return [answer] if isinstance(answer, Tensor) else list(answer)


def deep_supervision_weights(count: int) -> tuple[float, ...]:
    """Share of each resolution in the loss: ``1 / 2^i``, the coarsest of three or more 0, sum 1.

    Args:
        count: Number of resolutions.

    Reference: Isensee et al., nnU-Net, Nature Methods 2021.

    Example:
        >>> [round(share, 4) for share in deep_supervision_weights(3)]
        [0.6667, 0.3333, 0.0]
    """
    raw = [0.5**level for level in range(count)]
    if count >= 3:
        raw[-1] = 0.0
    return tuple(share / sum(raw) for share in raw)


def output_weights(sizes: Sequence[Sequence[int]]) -> tuple[float, ...]:
    """Share of each output in the loss: that of its resolution, divided among the outputs which have it.

    Outputs of a nested decoder are all of one size and count alike, as published, so that each of them can
    stand alone when the network is pruned.

    Args:
        sizes: Pixels per axis of each output, fine to coarse.

    Reference: Isensee et al., nnU-Net, Nature Methods 2021; Zhou et al., UNet++, IEEE TMI 2020.

    Example:
        >>> [round(share, 4) for share in output_weights([(8, 8), (4, 4), (2, 2)])]
        [0.6667, 0.3333, 0.0]
        >>> output_weights([(8, 8), (8, 8), (8, 8), (8, 8)])
        (0.25, 0.25, 0.25, 0.25)
    """
    counts = Counter(tuple(size) for size in sizes)
    shares = dict(zip(counts, deep_supervision_weights(len(counts)), strict=True))
    return tuple(shares[tuple(size)] / counts[tuple(size)] for size in sizes)


def at_size(labels: Tensor, size: tuple[int, ...] | torch.Size) -> Tensor:
    """Labels seen by a coarser output: each of its pixels takes the label at its own position.

    A strided convolution puts output ``i`` over input ``i · stride``, so that labels are taken there;
    sizes that no stride explains take the nearest centre.

    Args:
        labels: ``(B, *S)``, or ``(B, K, *S)`` shares of classes.
        size: The output's size.

    Returns:
        ``(B, *size)``, or ``(B, K, *size)``.

    Example:
        >>> at_size(torch.arange(5)[None], (3,))
        tensor([[0, 2, 4]])
    """
    for axis, wanted in enumerate(size, start=labels.ndim - len(size)):
        length = labels.shape[axis]
        if wanted == length:
            continue
        stride = _stride(length, wanted)
        if -(-length // stride) == wanted:
            labels = labels[(slice(None),) * axis + (slice(None, None, stride),)]
        else:
            centres = (torch.arange(wanted, device=labels.device) + 0.5) * (length / wanted)
            labels = labels.index_select(axis, centres.long().clamp(max=length - 1))
    return labels


def _stride(length: int, wanted: int) -> int:
    """The power of two that makes ``wanted`` of ``length``, else the smallest stride that gives no more."""
    power = 1
    while -(-length // power) > wanted:
        power *= 2
    return power if -(-length // power) == wanted else -(-length // wanted)
