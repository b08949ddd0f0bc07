"""The network as a whole: encoder, bottleneck, decoder and heads, for images of any size."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from unetkit.errors import UsageError
from unetkit.lookup import pick
from unetkit.networks.blocks import initialize
from unetkit.networks.bottlenecks import BOTTLENECKS
from unetkit.networks.decoders import DECODERS
from unetkit.networks.decoders.unet import LastStage
from unetkit.networks.encoders import ENCODERS
from unetkit.networks.prune import kept_stages
from unetkit.networks.pyramid import InputPyramid, LevelPyramid
from unetkit.networks.quantization import Quantization, quantize
from unetkit.records.plan import NetworkPlan
from unetkit.spatial.layers import Pointwise
from unetkit.spatial.scale import enlarged


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
    if network.quantization != "none":
        quantize(unet, in_float=network.float_layers, whole=network.quantization == "int8_only")
    return unet


class UNet(nn.Module):
    """An encoder and a decoder, with one head per supervised output.

    Where the encoder's finest feature is already strided, either a last decoder stage without a skip leads to
    the image's size (one more of ``network.decoder_widths``), or the finest logits are interpolated to it.

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
        self.plan, self.rank, self.in_channels, self.classes = network, rank, in_channels, classes
        kept = kept_stages(network)
        self.input = InputPyramid(network.strides) if network.pyramid == "input" else nn.Identity()
        shown = in_channels * (1 + len(getattr(self.input, "strides", ())))
        self.encoder = pick("encoder", ENCODERS, network.encoder)(kept, rank, shown)
        self.levels = LevelPyramid(self.encoder, in_channels) if network.pyramid == "levels" else None
        bottleneck = pick("bottleneck", BOTTLENECKS, kept.bottleneck)
        self.bottleneck = bottleneck(kept, rank, self.encoder.channels[-1])
        skips = len(self.encoder.channels) - 1
        last, widths = kept.decoder_widths[:-skips], kept.decoder_widths[-skips:]
        inner = kept.model_copy(update={"decoder_widths": widths})
        self.decoder = pick("decoder", DECODERS, network.decoder)(inner, rank, self.encoder)
        channels = tuple(self.decoder.channels)
        self.nested = getattr(self.decoder, "nested", False)
        self.finest = len(channels) if self.nested else 1
        self.stride = self.encoder.strides[0]
        self.last_stages = nn.ModuleList(
            LastStage(kept, before, width, self.stride)
            for width in last
            for before in channels[: min(self.finest, kept.deep_supervision)]
        )
        if last:
            channels = last * self.finest if self.nested else last + channels
        if len(channels) < kept.deep_supervision:
            raise UsageError(
                f"network.deep_supervision is {network.deep_supervision}, "
                f"the decoder has {len(channels)} outputs",
                cure=f"set network.deep_supervision to {len(channels)} or less",
            )
        self.heads = nn.ModuleList(Pointwise(width, classes) for width in channels[: kept.deep_supervision])
        self.quantization: Quantization | None = None

    def forward(self, x: Float[Tensor, "b c *s"]) -> Tensor | list[Tensor]:
        """Logits of the whole image, whatever its size.

        Nothing is padded: a stage of odd length is halved rounding up, and the way back is cut to the skip's
        size. Made-up pixels would cost time and, worse, enter the statistics of every instance norm.

        Args:
            x: ``(B, C, *S)``.

        Returns:
            ``(B, K, *S)``; while training with deep supervision a list of logits fine to coarse, of which
            number ``i`` has the size ``S / stride`` of its stage, rounded up; those of a nested decoder all
            have the size of the image and come deep to shallow.
        """
        if self.quantization is None:
            return self._answer(x)
        with self.quantization.at_work(self):
            return self._answer(x)

    def _answer(self, x: Tensor) -> Tensor | list[Tensor]:
        features = self.encoder(self.input(x)) if self.levels is None else self.levels(x, self.encoder)
        *skips, coarsest = features
        outputs = self.decoder([*skips, self.bottleneck(coarsest)])
        wanted = len(self.heads) if self.training else 1
        logits = self._logits(outputs, wanted, x.shape[2:])
        return logits if len(logits) > 1 else logits[0]

    def _logits(self, outputs: list[Tensor], wanted: int, size: Sequence[int]) -> list[Tensor]:
        """The first ``wanted`` heads on their outputs, the finest brought to the image's size."""
        if len(self.last_stages):
            finished = [
                stage(output, size)
                for stage, output in zip(self.last_stages[:wanted], outputs, strict=False)  # pyright: ignore[reportArgumentType]
            ]
            outputs = finished if self.nested else finished + outputs
        logits = [head(output) for head, output in zip(self.heads[:wanted], outputs, strict=False)]  # pyright: ignore[reportArgumentType]
        if len(self.last_stages):
            return logits
        finest = [enlarged(level, self.stride, size) for level in logits[: self.finest]]
        return finest + logits[self.finest :]


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
    strided = max(network.strides[0]) > 1
    if len(network.decoder_widths) not in (0, stages - 1, stages - 1 + strided):
        more = f", or {stages} with a last stage up to the image's size" if strided else ""
        raise UsageError(
            f"network.decoder_widths has {len(network.decoder_widths)} entries, {stages - 1} were expected "
            f"for {stages} widths{more}",
            cure=f"give network.decoder_widths {stages - 1} entries, or none for the decoder's own choice",
        )
    for key in ("widths", "blocks", "decoder_blocks", "decoder_widths"):
        if min(getattr(network, key), default=1) < 1:
            raise UsageError(f"network.{key} has an entry below 1", cure=f"correct network.{key}")
