"""Networks by the name of their paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from unetkit.records.plan import NetworkPlan


@dataclass(frozen=True)
class Preset:
    """A published network.

    Args:
        paper: Where it was published.
        published_parameters: The weights it is said to have, None where nobody said.
        network: Spatial axes → the network as published.
    """

    paper: str
    published_parameters: int | None
    network: Callable[[int], NetworkPlan]


def _unet(rank: int) -> NetworkPlan:
    return NetworkPlan(
        widths=(64, 128, 256, 512, 1024),
        blocks=(2,) * 5,
        decoder_blocks=(2,) * 4,
        kernels=((3,) * rank,) * 5,
        strides=((1,) * rank, *((2,) * rank,) * 4),
    )


PRESETS = {"unet": Preset("Ronneberger, Fischer and Brox, U-Net, MICCAI 2015", 31_000_000, _unet)}
