"""A network as it is written into a file: pixels as they are stored may go in, class ids may come out."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unetkit.networks.folding import fold_scale
from unetkit.networks.unet import UNet
from unetkit.records.case import Intensity
from unetkit.records.plan import InferencePlan

_BYTE = (0.0, 255.0)
_IDS_OF_A_BYTE = 256


def with_ends(network: UNet, inference: InferencePlan, intensity: Sequence[Intensity]) -> nn.Module:
    """The network that an export writes: with the ends that the plan asks for.

    Args:
        network: In evaluation mode; not changed.
        inference: Says what goes in and what comes out.
        intensity: How each channel is normalised; needed where ``network_input`` is ``uint8``.
    """
    whole = FromPixels(network, intensity) if inference.network_input == "uint8" else network
    return ToClasses(whole, network.classes) if inference.network_output == "classes" else whole


class FromPixels(nn.Module):
    """A network that takes pixels of one byte and normalises them itself, as ``apply_intensity`` does.

    The factor becomes part of the convolutions that see the image, where that is exact (``fold_scale``).
    Cutting off and the offset stay in front: what a convolution pads with is 0 after the offset.

    Args:
        network: In evaluation mode; copied, not changed.
        intensity: One per channel, not masked.

    Attributes:
        folded: Whether the factor is part of the convolutions.

    Example:
        >>> from unetkit.networks.unet import build
        >>> from unetkit.records.plan import EXAMPLE, NetworkPlan
        >>> network = build(NetworkPlan(**EXAMPLE["network"]), rank=2, in_channels=1, classes=2).eval()
        >>> whole = FromPixels(network, [Intensity(0.0, 255.0, 0.0, 1 / 255)])
        >>> whole(torch.zeros(1, 1, 8, 8, dtype=torch.uint8)).shape, whole.folded
        (torch.Size([1, 2, 8, 8]), True)
    """

    low: Tensor
    high: Tensor
    shift: Tensor
    scale: Tensor

    def __init__(self, network: UNet, intensity: Sequence[Intensity]) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval()
        least, most = _BYTE
        rows = {
            "low": [max(rule.low, least) for rule in intensity],
            "high": [min(rule.high, most) for rule in intensity],
            "shift": [rule.shift for rule in intensity],
            "scale": [rule.scale for rule in intensity],
        }
        self._cuts = any(low > least for low in rows["low"]) or any(high < most for high in rows["high"])
        self._shifts, self._scales = any(rows["shift"]), any(each != 1.0 for each in rows["scale"])
        for name, values in rows.items():
            row = torch.tensor(values, dtype=torch.float32)
            self.register_buffer(name, row.reshape(1, -1, *[1] * network.rank))
        self.folded = self._scales and fold_scale(self.network, self.scale.flatten())

    def forward(self, pixels: Tensor) -> Tensor:
        """``(B, C, *S)`` uint8 → logits ``(B, K, *S)``."""
        x = pixels.float()
        if self._cuts:
            x = torch.minimum(torch.maximum(x, self.low), self.high)
        if self._shifts:
            x = x - self.shift
        if self._scales and not self.folded:
            x = x * self.scale
        return self.network(x)


class ToClasses(nn.Module):
    """A network that answers with the class of the largest logit, the first of equals.

    Args:
        network: ``(B, C, *S)`` → logits ``(B, K, *S)``.
        classes: ``K``.
    """

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network = network
        self._kind = torch.uint8 if classes <= _IDS_OF_A_BYTE else torch.int32

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *S)`` → class ids ``(B, *S)``, of one byte where that suffices."""
        return self.network(x).argmax(1).to(self._kind)
