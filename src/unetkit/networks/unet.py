"""The network as a whole: encoder, bottleneck, decoder and heads, for images of any size."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

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
        self.bottleneck = bottleneck(network, rank, self.encoder.channels[-1])
        self.decoder = pick("decoder", DECODERS, network.decoder)(network, rank, self.encoder)
        supervised = self.decoder.channels[: network.deep_supervision]
        if len(supervised) < network.deep_supervision:
            raise UsageError(
                f"network.deep_supervision is {network.deep_supervision}, "
                f"the decoder has {len(self.decoder.channels)} outputs",
                cure=f"set network.deep_supervision to {len(self.decoder.channels)} or less",
            )
        self.heads = nn.ModuleList(Pointwise(width, classes) for width in supervised)

    def forward(self, x: Float[Tensor, "b c *s"]) -> Tensor | list[Tensor]:
        """Logits of the whole image, whatever its size.

        Nothing is padded: a stage of odd length is halved rounding up, and the way back is cut to the skip's
        size. Made-up pixels would cost time and, worse, enter the statistics of every instance norm.

        Args:
            x: ``(B, C, *S)``.

        Returns:
            ``(B, K, *S)``; while training with deep supervision a list of logits fine to coarse, of which
            number ``i`` has the size ``S / stride`` of its stage, rounded up.
        """
        *features, coarsest = self.encoder(x)
        outputs = self.decoder([*features, self.bottleneck(coarsest)])
        if not self.training or len(self.heads) == 1:
            return self.heads[0](outputs[0])
        return [head(output) for head, output in zip(self.heads, outputs, strict=False)]


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
