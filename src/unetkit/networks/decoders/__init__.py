"""Decoders: features back to full resolution."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

DECODERS = {"unet": "unetkit.networks.decoders.unet:UnetDecoder"}


class Decoder(Protocol):
    """Built as ``Decoder(network: NetworkPlan, rank: int, encoder: Encoder)``."""

    channels: tuple[int, ...]
    """Width of each output, fine to coarse."""

    def __call__(self, features: list[Tensor]) -> list[Tensor]:
        """Features fine to coarse → outputs fine to coarse, the first at full resolution."""
        ...
