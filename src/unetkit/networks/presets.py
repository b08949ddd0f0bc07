"""Networks by name, as published: a plan each, the paper, and the parameters that the paper counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from unetkit.records.plan import NetworkPlan


@dataclass(frozen=True)
class Preset:
    """A published network.

    Args:
        plan: From the number of spatial axes to the plan.
        paper: Where it was published.
        rank: Spatial axes of the published network.
        parameters: As published, 0 where the paper states none.
    """

    plan: Callable[[int], NetworkPlan]
    paper: str
    rank: int = 2
    parameters: int = 0


def _unet(rank: int) -> NetworkPlan:
    return NetworkPlan(
        widths=(64, 128, 256, 512, 1024),
        blocks=(2,) * 5,
        decoder_blocks=(2,) * 4,
        kernels=((3,) * rank,) * 5,
        strides=((1,) * rank, *((2,) * rank,) * 4),
    )


PRESETS = {
    "unet_2015": Preset(_unet, "Ronneberger, Fischer and Brox, U-Net, MICCAI 2015", parameters=31_030_658)
}
"""Name to published network."""
