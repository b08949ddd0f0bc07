"""Decoders: features back to full resolution."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

DECODERS = {
    "fpn": "unetkit.networks.decoders.fpn:FpnDecoder",
    "unet": "unetkit.networks.decoders.unet:UnetDecoder",
    "unetpp": "unetkit.networks.decoders.unetpp:UnetppDecoder",
    "unet3p": "unetkit.networks.decoders.unet3p:Unet3pDecoder",
}


class Decoder(Protocol):
    """Built as ``Decoder(network: NetworkPlan, rank: int, encoder: Encoder)``.

    ``network.decoder_widths`` is empty or has one entry per skip. A class attribute ``nested = True`` says
    that all outputs have the size of the finest feature, and that output ``k`` needs no more than the finest
    ``len(channels) + 1 - k`` features: such a decoder can be pruned.
    """

    channels: tuple[int, ...]
    """Width of each output, fine to coarse (of a nested one: deep to shallow)."""

    def __call__(self, features: list[Tensor]) -> list[Tensor]:
        """Features fine to coarse → outputs fine to coarse, the first at the first feature's size."""
        ...
