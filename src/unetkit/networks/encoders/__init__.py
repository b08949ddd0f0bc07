"""Encoders: an image in, features fine to coarse out."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor, nn

ENCODERS = {
    "convnext": "unetkit.networks.encoders.convnext:ConvNextEncoder",
    "doubling": "unetkit.networks.encoders.doubling:DoublingEncoder",
    "hybrid": "unetkit.networks.encoders.hybrid:HybridEncoder",
    "plain": "unetkit.networks.encoders.plain:PlainEncoder",
    "residual": "unetkit.networks.encoders.residual:ResidualEncoder",
    "timm": "unetkit.networks.encoders.timm:TimmEncoder",
}


@runtime_checkable
class Encoder(Protocol):
    """What a decoder may rely on.

    Built as ``Encoder(network: NetworkPlan, rank: int, in_channels: int)``; it has as many stages as
    ``network.widths`` has entries. One that is a chain shows its links as ``stages`` (and ``stem`` for what
    comes before the first), so that each stage can be fed or frozen by itself.
    """

    channels: tuple[int, ...]
    """Width of each feature map, fine to coarse."""

    strides: tuple[tuple[int, ...], ...]
    """Stride of each feature map against the previous one (of the first: against the image), per axis."""

    def __call__(self, x: Tensor) -> list[Tensor]:
        """``(B, C, *S)`` → features fine to coarse."""
        ...

    def blocks_by_stage(self) -> list[list[nn.Module]]:
        """The modules that compute each feature map from the one before, the image's side first.

        Every weight of the encoder is in exactly one stage; a stem belongs to the first.
        """
        ...
