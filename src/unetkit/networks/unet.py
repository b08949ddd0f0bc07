"""The network as a whole: encoder, bottleneck, decoder and heads, for images of any size."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unetkit.errors import UsageError
from unetkit.lookup import pick
from unetkit.networks.blocks import initialize
from unetkit.networks.bottlenecks import BOTTLENECKS
from unetkit.networks.decoders import DECODERS
from unetkit.networks.encoders import ENCODERS
from unetkit.records.plan import NetworkPlan
from unetkit.spatial.layers import Pointwise


def build(network: NetworkPlan, *, rank: int, in_channels: int, classes: int) -> UNet:
    """Make a network, freshly initialised.

    Args:
        network: The plan's part on the network.
        rank: Spatial axes.
        in_channels: Channels of the image.
        classes: Classes, background included.

    Raises:
        UsageError: The plan contradicts itself, or names a part that does not exist.

    Example:
        >>> import torch
        >>> from unetkit.records.plan import EXAMPLE
        >>> network = build(NetworkPlan(**EXAMPLE["network"]), rank=2, in_channels=1, classes=2)
        >>> network(torch.zeros(1, 1, 37, 41)).shape
        torch.Size([1, 2, 37, 41])
    """
    _check(network, rank)
    unet = UNet(network, rank=rank, in_channels=in_channels, classes=classes)
    initialize(unet)
    return unet


class UNet(nn.Module):
    """An encoder and a decoder, with one head per supervised output.

    Args:
        network: The plan's part on the network.
        rank: Spatial axes.
        in_channels: Channels of the image.
        classes: Classes, background included.

    Reference:
        Ronneberger, Fischer and Brox, U-Net, MICCAI 2015.
    """

    def __init__(self, network: NetworkPlan, *, rank: int, in_channels: int, classes: int) -> None:
        super().__init__()
        self.rank, self.in_channels, self.classes = rank, in_channels, classes
        self.encoder = pick("encoder", ENCODERS, network.encoder)(network, rank, in_channels)
        bottleneck = pick("bottleneck", BOTTLENECKS, network.bottleneck)
        self.bottleneck = bottleneck(self.encoder.channels[-1], rank)
        self.decoder = pick("decoder", DECODERS, network.decoder)(network, rank, self.encoder)
        supervised = self.decoder.channels[: network.deep_supervision]
        if len(supervised) < network.deep_supervision:
            raise UsageError(
                f"network.deep_supervision is {network.deep_supervision}, "
                f"the decoder has {len(self.decoder.channels)} outputs",
                cure=f"set network.deep_supervision to {len(self.decoder.channels)} or less",
            )
        self.heads = nn.ModuleList(Pointwise(width, classes) for width in supervised)
        strides = self.encoder.strides
        self.multiple = tuple(math.prod(stride[axis] for stride in strides) for axis in range(rank))
        self.scales = tuple(
            tuple(math.prod(stride[axis] for stride in strides[: i + 1]) for axis in range(rank))
            for i in range(len(self.heads))
        )

    def forward(self, x: Float[Tensor, "b c *s"]) -> Tensor | list[Tensor]:
        """Logits of the whole image, whatever its size.

        Args:
            x: ``(B, C, *S)``.

        Returns:
            ``(B, K, *S)``; while training with deep supervision a list of logits fine to coarse, of which
            number ``i`` has the size ``S / stride`` of its stage, rounded up.
        """
        size = x.shape[2:]
        *features, coarsest = self.encoder(_padded(x, self.multiple))
        outputs = self.decoder([*features, self.bottleneck(coarsest)])
        if not self.training or len(self.heads) == 1:
            return _cropped(self.heads[0](outputs[0]), size)
        return [
            _cropped(head(output), [-(-length // by) for length, by in zip(size, scale, strict=True)])
            for head, output, scale in zip(self.heads, outputs, self.scales, strict=False)
        ]


def _padded(x: Tensor, multiple: Sequence[int]) -> Tensor:
    """``x`` with its last pixels repeated until every axis is a multiple."""
    missing = [-length % by for length, by in zip(x.shape[2:], multiple, strict=True)]
    if not any(missing):
        return x
    return F.pad(x, [side for amount in reversed(missing) for side in (0, amount)], mode="replicate")


def _cropped(x: Tensor, size: Sequence[int]) -> Tensor:
    for axis, length in enumerate(size, start=2):
        if x.shape[axis] != length:
            x = x.narrow(axis, 0, length)
    return x


def _check(network: NetworkPlan, rank: int) -> None:
    """Refuse a plan whose entries do not fit together."""
    stages = len(network.widths)
    wanted = {"blocks": stages, "kernels": stages, "strides": stages, "decoder_blocks": stages - 1}
    for key, length in wanted.items():
        entries = len(getattr(network, key))
        if entries != length:
            raise UsageError(
                f"network.{key} has {entries} entries, {length} were expected for {stages} widths",
                cure=f"give network.{key} {length} entries",
            )
    if stages < 2:
        raise UsageError("a network needs at least 2 stages, got 1", cure="give network.widths 2 entries")
    for key in ("kernels", "strides"):
        for i, entry in enumerate(getattr(network, key)):
            odd = key == "strides" or all(size % 2 for size in entry)
            if len(entry) != rank or min(entry) < 1 or not odd:
                kind = "odd positive" if key == "kernels" else "positive"
                raise UsageError(
                    f"network.{key}[{i}] is {list(entry)}, {rank} {kind} numbers were expected",
                    cure=f"correct network.{key}[{i}]",
                )
    if any(step != 1 for step in network.strides[0]):
        raise UsageError(
            f"network.strides[0] is {list(network.strides[0])}, the first stage keeps the image's size",
            cure=f"set it to {[1] * rank}",
        )
    for key in ("widths", "blocks", "decoder_blocks"):
        if min(getattr(network, key)) < 1:
            raise UsageError(f"network.{key} has an entry below 1", cure=f"correct network.{key}")
