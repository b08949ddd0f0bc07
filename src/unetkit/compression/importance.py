"""How much a channel matters, told by the filters that make it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from unetkit.compression.channels import Channels
from unetkit.lookup import pick

IMPORTANCES = {
    "geometric_median": "unetkit.compression.importance:distance_to_others",
    "l1": "unetkit.compression.importance:absolute_sum",
}
"""Name to a function of filters ``(N, M)`` that answers ``(N,)``."""


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


def importance(channels: Channels, state: Mapping[str, Tensor], name: str) -> np.ndarray:
    """How much each channel matters: the sum over all filters that make it, each weight's mean being 1.

    Args:
        channels: The channels of a network.
        state: Its weights.
        name: A name of ``IMPORTANCES``.

    Returns:
        ``(channels.count,)``; to be compared among channels that the same weights make.

    Raises:
        UsageError: There is no such importance.
    """
    measure = pick("importance", IMPORTANCES, name)
    found = np.zeros(channels.count)
    for weight, axis in channels.makers:
        filters = state[weight].detach().to("cpu", torch.float32).movedim(axis, 0).flatten(1)
        values = measure(filters).double().numpy()
        if (mean := values.mean()) > 0:
            np.add.at(found, channels.axes[weight, axis], values / mean)
    return found
