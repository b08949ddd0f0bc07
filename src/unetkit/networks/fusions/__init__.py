"""Fusions: how the way up meets a skip connection."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

FUSIONS = {
    "add": "unetkit.networks.fusions.add:Add",
    "attention": "unetkit.networks.fusions.attention:AttentionGate",
    "concat": "unetkit.networks.fusions.concat:Concat",
    "light": "unetkit.networks.fusions.light:LightGate",
    "scse": "unetkit.networks.fusions.scse:Recalibration",
}


class Fusion(Protocol):
    """Built as ``Fusion(up_channels: int, skip_channels: int, stride: tuple[int, ...])``.

    ``stride`` is that of the step up which comes in, per axis; its length is the rank.
    """

    channels: int
    """Width of the result."""

    def __call__(self, up: Tensor, skip: Tensor) -> Tensor:
        """``(B, U, *S)`` and ``(B, K, *S)`` of one size → ``(B, channels, *S)``."""
        ...
