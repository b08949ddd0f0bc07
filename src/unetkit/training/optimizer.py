"""Optimisers with their schedules, and the gradient's norm."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from unetkit.lookup import pick
from unetkit.records.plan import TrainingPlan
from unetkit.training.freezing import rate_factors

OPTIMIZERS = {
    "sgd": "unetkit.training.optimizer:SGD_POLY",
    "adamw": "unetkit.training.optimizer:ADAMW_COSINE",
}

_FUSED = ("cpu", "cuda")
_FACTOR = "rate_factor"
_FLOOR = 0.01
"""Share of the peak at which a warm-up starts: a first step at rate 0 would be a wasted one."""


@dataclass(frozen=True)
class Optimization:
    """A row of ``OPTIMIZERS``: an optimiser and the schedule that belongs to it.

    Args:
        build: ``(network, training) → optimiser``.
        schedule: ``(progress, warmup_share) → factor`` on the peak learning rate.
    """

    build: Callable[[nn.Module, TrainingPlan], torch.optim.Optimizer]
    schedule: Callable[[float, float], float]


def build_optimizer(network: nn.Module, training: TrainingPlan) -> torch.optim.Optimizer:
    """The plan's optimiser over the network's trainable weights.

    Args:
        network: On its device and in its memory format already.
        training: The plan's slice.
    """
    return pick("optimizer", OPTIMIZERS, training.optimizer).build(network, training)


def learning_rate(training: TrainingPlan, progress: float) -> float:
    """The learning rate when a share of the schedule is done.

    Args:
        training: The plan's slice.
        progress: 0 (first step) to 1 (end).

    Example:
        >>> from unetkit.records.plan import EXAMPLE, Plan
        >>> sgd = Plan.model_validate(EXAMPLE).with_values({"training.optimizer": "sgd"}).training
        >>> [round(learning_rate(sgd, progress), 6) for progress in (0.0, 0.5, 1.0)]
        [0.001, 0.000536, 0.0]
    """
    optimization = pick("optimizer", OPTIMIZERS, training.optimizer)
    return training.learning_rate * optimization.schedule(progress, training.warmup_share)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> float:
    """Use ``rate``, in each group times the group's own factor, from the next step on; returns it."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(_FACTOR, 1.0)
    return rate


def poly(progress: float, warmup_share: float = 0.0) -> float:
    """``(1 - p)^0.9``, without a warm-up.

    Reference: Isensee et al., nnU-Net, Nature Methods 2021: ``lr · (1 - epoch / epochs)^0.9``.

    Example:
        >>> poly(0.0), poly(1.0)
        (1.0, 0.0)
    """
    return (1.0 - progress) ** 0.9


def cosine(progress: float, warmup_share: float = 0.0) -> float:
    """A straight rise over ``warmup_share`` of the schedule, then half a cosine down to 0.

    Reference: Loshchilov and Hutter, SGDR, ICLR 2017, equation 5 without restarts.

    Example:
        >>> cosine(0.0), cosine(1.0), round(cosine(0.1, 0.1), 6)
        (1.0, 0.0, 1.0)
    """
    if progress < warmup_share:
        return _FLOOR + (1.0 - _FLOOR) * progress / warmup_share
    return 0.5 * (1.0 + math.cos(math.pi * (progress - warmup_share) / (1.0 - warmup_share)))


def _sgd(network: nn.Module, training: TrainingPlan) -> torch.optim.Optimizer:
    weights = _trainable(network)
    optimizer = torch.optim.SGD(
        _groups(network, training, spare_vectors=False),
        lr=training.learning_rate,
        momentum=0.99,
        nesterov=True,
        fused=_fused(weights),
    )
    for weight in weights:
        # Zero instead of absent: the first step is the same, and a weight that gets its first gradient
        # later than the others cannot upset the fused step.
        optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
    return optimizer


def _adamw(network: nn.Module, training: TrainingPlan) -> torch.optim.Optimizer:
    groups = _groups(network, training, spare_vectors=True)
    return torch.optim.AdamW(groups, lr=training.learning_rate, fused=_fused(_trainable(network)))


def _groups(network: nn.Module, training: TrainingPlan, *, spare_vectors: bool) -> list[dict[str, Any]]:
    """Weights that share a factor on the learning rate and a weight decay.

    Args:
        network: The network.
        training: The plan's slice.
        spare_vectors: Whether norms and biases have no weight decay.
    """
    factors = rate_factors(network, training.layer_decay)
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for weight in _trainable(network):
        key = (spare_vectors and weight.ndim <= 1, -factors.get(weight, 1.0))
        groups.setdefault(key, []).append(weight)
    return [
        {"params": weights, "weight_decay": 0.0 if spared else training.weight_decay, _FACTOR: -factor}
        for (spared, factor), weights in sorted(groups.items(), key=lambda row: row[0])
    ]


def _trainable(network: nn.Module) -> list[nn.Parameter]:
    return [weight for weight in network.parameters() if weight.requires_grad]


def _fused(weights: list[nn.Parameter]) -> bool:
    """One pass over memory instead of about ten; on the CPU 2.6 ms instead of 14 for 5 million weights."""
    return all(weight.device.type in _FUSED and weight.dtype == torch.float32 for weight in weights)


def clip(weights: Iterable[nn.Parameter], limit: float, loss: Tensor) -> float:
    """Scale the gradients so that their joint norm is at most ``limit``.

    The one place of a step where the host waits for the device.

    Args:
        weights: Those without a gradient are passed over.
        limit: Largest allowed norm, 0 for no limit.
        loss: Scalar; a value that is not finite shows in the result even where no gradient carries it.

    Returns:
        The norm before scaling; not finite if any gradient or the loss is not.
    """
    changed = [weight for weight in weights if weight.grad is not None]
    total = get_total_norm([aligned_gradient(weight) for weight in changed])
    norm = float(total + 0.0 * loss.detach())
    if limit and norm > limit:
        clip_grads_with_norm_(changed, limit, total)
    return norm


def aligned_gradient(weight: nn.Parameter) -> Tensor:
    """The weight's gradient, lying in memory as the weight does.

    Autograd makes them so; an objective that writes gradients itself might not, and the fused CPU step
    of torch (seen in 2.15) then silently updates the wrong numbers.
    """
    gradient = weight.grad
    assert gradient is not None
    if gradient.stride() != weight.stride():
        weight.grad = gradient = torch.empty_like(weight).copy_(gradient)
    return gradient


SGD_POLY = Optimization(_sgd, poly)
ADAMW_COSINE = Optimization(_adamw, cosine)
