"""Norm statistics of new images in a model whose weights stay as they are: adaptive batch normalisation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from unetkit.errors import UsageError
from unetkit.runtimes.devices import Layout
from unetkit.training.freezing import keeps_statistics
from unetkit.training.objective import outputs


def statistic_norms(network: nn.Module) -> tuple[nn.Module, ...]:
    """The norms of a network that keep statistics of what they were trained on, as batch norms do.

    Args:
        network: The network.
    """
    return tuple(module for module in network.modules() if keeps_statistics(module))


def refuse_without_statistics(network: nn.Module) -> None:
    """Refuse a network in which no norm keeps statistics.

    Args:
        network: The network.

    Raises:
        UsageError: Its norms look at each image alone, so that nothing could be matched.
    """
    if not statistic_norms(network):
        raise UsageError(
            "'adabn' matches the statistics that batch norms keep to the new images, and this network keeps "
            "none: its norms take every image by its own, so there is nothing to match",
            cure="choose --method replay, or lwf where old images may not be kept",
        )


def match_statistics(network: nn.Module, images: Iterable[Tensor], layout: Layout) -> int:
    """Gather the running statistics of every norm anew, on new images; no weight changes, no label is asked.

    Each norm sees what the ones before it make of the new images by their new statistics, batch by batch, as
    in a training; the statistics of all batches count alike. Dropout is off.

    Args:
        network: Changed in place; left in evaluation mode.
        images: Batches ``(B, C, *S)`` of the size that training has.
        layout: Number type and memory format of the forward pass.

    Returns:
        How many batches were looked at.

    Raises:
        UsageError: No norm keeps statistics.

    Reference:
        Li et al., Revisiting Batch Normalization for Practical Domain Adaptation (AdaBN), arXiv:1603.04779.

    Example:
        >>> from unetkit.spatial.layers import LAYERS
        >>> network = nn.Sequential(LAYERS[2].batch_norm(1))
        >>> match_statistics(network, [torch.full((2, 1, 4, 4), 3.0)], Layout()), network[0].running_mean
        (1, tensor([3.]))
    """
    refuse_without_statistics(network)
    norms: tuple[Any, ...] = statistic_norms(network)
    network.eval()
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over batches
        norm.train()
    count = 0
    with torch.no_grad():
        for batch in images:
            outputs(network, batch, layout)
            count += 1
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    network.eval()
    return count
