"""All heads of a network at once, for whoever looks at what it is made of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from unetkit.networks.unet import UNet

_SAMPLES = 2


@contextmanager
def all_heads(network: UNet) -> Iterator[Tensor]:
    """Within, a network answers with every head it trains with, and with its norms as they are in use.

    Args:
        network: Left as it was.

    Yields:
        A small blank image ``(2, C, *S)`` for it, on its device.

    Example:
        >>> from unetkit.networks.unet import build
        >>> from unetkit.records.plan import EXAMPLE, NetworkPlan
        >>> network = build(NetworkPlan(**EXAMPLE["network"]), rank=2, in_channels=1, classes=2)
        >>> with all_heads(network) as image:
        ...     image.shape, network.encoder.training
        (torch.Size([2, 1, 4, 4]), False)
    """
    steps = [math.prod(axis) for axis in zip(*network.encoder.strides, strict=True)]  # pyright: ignore
    device = next(network.parameters()).device
    image = torch.zeros(_SAMPLES, network.in_channels, *(2 * step for step in steps), device=device)
    modes = {module: module.training for module in network.modules()}
    try:
        network.eval()
        network.training = True  # it alone: what is asked of it is every head
        yield image
    finally:
        for module, mode in modes.items():
            module.training = mode
