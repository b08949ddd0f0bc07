"""Bottlenecks: what happens to the coarsest features."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

BOTTLENECKS = {
    "aspp": "unetkit.networks.bottlenecks.aspp:AsppBottleneck",
    "identity": "torch.nn:Identity",
    "transformer": "unetkit.networks.bottlenecks.transformer:TransformerBottleneck",
    "vit": "unetkit.networks.bottlenecks.vit:VitBottleneck",
}


class Bottleneck(Protocol):
    """Built as ``Bottleneck(network: NetworkPlan, rank: int, channels: int)``; any size, same size out."""

    def __call__(self, x: Tensor) -> Tensor:
        """``(B, C, *S)`` → ``(B, C, *S)``."""
        ...
