"""How much a channel matters: told by the filters that make it, or by what the loss says of its readers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from unetkit.compression.channels import Channels
from unetkit.data.patches import Batch
from unetkit.errors import UsageError
from unetkit.lookup import pick
from unetkit.training.objective import Objective

IMPORTANCES = {
    "geometric_median": "unetkit.compression.importance:by_distance",
    "l1": "unetkit.compression.importance:by_sum",
    "taylor": "unetkit.compression.importance:by_slope",
}
"""Name to a function ``(channels, weights, gradients) → (channels.count,)``, see ``importance``."""
FROM_IMAGES = ("taylor",)
"""Those that look at gradients, and so at training images."""

Weights = Mapping[str, Tensor]
"""Name of a weight → it, or the loss's gradient at it."""


def absolute_sum(filters: Tensor) -> Tensor:
    """The L1 norm of each filter.

    Args:
        filters: ``(N, M)``.

    Reference:
        Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017 (arXiv:1608.08710).

    Example:
        >>> absolute_sum(torch.tensor([[1.0, -2.0], [0.5, 0.0]])).tolist()
        [3.0, 0.5]
    """
    return filters.abs().sum(1)


def distance_to_others(filters: Tensor) -> Tensor:
    """The sum of the Euclidean distances of each filter to all: the least is nearest to what others can do.

    Args:
        filters: ``(N, M)``.

    Reference:
        He et al., Filter Pruning via Geometric Median, CVPR 2019 (arXiv:1811.00250), equation 7.

    Example:
        >>> distance_to_others(torch.tensor([[0.0], [1.0], [5.0]])).tolist()
        [6.0, 5.0, 9.0]
    """
    return torch.cdist(filters, filters, compute_mode="donot_use_mm_for_euclid_dist").sum(1)


def by_sum(channels: Channels, weights: Weights, gradients: Iterable[Weights] = ()) -> np.ndarray:
    """``l1``: see ``absolute_sum``."""
    return _of_makers(channels, weights, absolute_sum)


def by_distance(channels: Channels, weights: Weights, gradients: Iterable[Weights] = ()) -> np.ndarray:
    """``geometric_median``: see ``distance_to_others``."""
    return _of_makers(channels, weights, distance_to_others)


def by_slope(channels: Channels, weights: Weights, gradients: Iterable[Weights] = ()) -> np.ndarray:
    """``taylor``: how much the loss changes, to first order, when nothing reads a channel any more, squared.

    With ``w`` what the readers of a channel weigh it by and ``g`` the loss's gradient there, that change is
    ``-Σ w g``. It is taken from the readers and not from the filters that make the channel: a normalisation
    behind a filter undoes its scale, so that ``Σ w g`` is 0 for every filter before an instance norm.

    Args:
        channels: The channels of a network.
        weights: Its weights.
        gradients: The loss's gradients at them, one mapping per batch; the squares are averaged.

    Raises:
        UsageError: There is no gradient.

    Reference:
        Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019 (arXiv:1906.10771), with
        the gate at the channel itself.
    """
    total, count = np.zeros(channels.count), 0
    for slopes in gradients:
        change = np.zeros(channels.count)
        for name, axis in channels.readers:
            product = (weights[name].detach().to("cpu", torch.float64) * slopes[name].to("cpu")).movedim(
                axis, 0
            )
            np.add.at(change, channels.axes[name, axis], product.flatten(1).sum(1).numpy())
        total += change**2
        count += 1
    if not count:
        raise UsageError(
            "'taylor' tells from training images which channels matter, and none were shown",
            cure="choose l1 or geometric_median, which look at weights alone",
        )
    return total / count


def importance(
    channels: Channels, weights: Weights, name: str, gradients: Iterable[Weights] = ()
) -> np.ndarray:
    """How much each channel matters.

    Args:
        channels: The channels of a network.
        weights: Its weights.
        name: A name of ``IMPORTANCES``.
        gradients: What ``loss_gradients`` gives; for those of ``FROM_IMAGES``.

    Returns:
        ``(channels.count,)``; to be compared among channels that the same weights make.

    Raises:
        UsageError: There is no such importance, or it asks for gradients and there are none.
    """
    return pick("importance", IMPORTANCES, name)(channels, weights, gradients)


def loss_gradients(
    network: nn.Module, batches: Iterable[Batch], objective: Objective
) -> Iterator[dict[str, Tensor]]:
    """The gradients of the loss at every weight, batch by batch; norms as they are in use.

    Args:
        network: On its device; left in evaluation mode, its weights unchanged.
        batches: Patches with labels.
        objective: What computes the loss.
    """
    network.eval()
    named = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    for batch in batches:
        with torch.enable_grad():
            loss = torch.stack(list(objective.terms(network, batch).values())).sum()
        slopes = torch.autograd.grad(
            loss, list(named.values()), allow_unused=True
        )  # heads that are not in use
        yield {
            name: torch.zeros_like(weight) if slope is None else slope.detach()
            for (name, weight), slope in zip(named.items(), slopes, strict=True)
        }


def _of_makers(channels: Channels, weights: Weights, measure: Callable[[Tensor], Tensor]) -> np.ndarray:
    """The sum over all filters that make a channel, each weight's mean being 1."""
    found = np.zeros(channels.count)
    for weight, axis in channels.makers:
        filters = weights[weight].detach().to("cpu", torch.float32).movedim(axis, 0).flatten(1)
        values = measure(filters).double().numpy()
        if (mean := values.mean()) > 0:
            np.add.at(found, channels.axes[weight, axis], values / mean)
    return found
