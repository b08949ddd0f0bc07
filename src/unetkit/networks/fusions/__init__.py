"""Fusions: how the way up meets a skip connection."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

FUSIONS = {"concat": "unetkit.networks.fusions.concat:Concat"}


class Fusion(Protocol):
    """Built as ``Fusion(up_channels: int, skip_channels: int, rank: int)``."""

    channels: int
    """Width of the result."""

    def __call__(self, up: Tensor, skip: Tensor) -> Tensor:
        """``(B, U, *S)`` and ``(B, K, *S)`` of one size → ``(B, channels, *S)``."""
        ...
