"""The transformer bottleneck: every place of the coarsest features sees every other."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from unetkit.errors import UsageError
from unetkit.networks.transformer import TransformerLayer, features_of, tokens_of
from unetkit.records.plan import NetworkPlan
from unetkit.spatial.depthwise import Depthwise
from unetkit.spatial.memory_format import memory_format


class TransformerBottleneck(nn.Module):
    """``bottleneck_blocks`` times: a depthwise convolution that tells places apart, then a TransformerLayer.

    Nothing depends on the size of the features, and all of it starts as the identity, so that it can be put
    into a trained network. ``dropout`` drops single values here.

    Args:
        network: The plan.
        rank: Spatial axes.
        channels: Width of the features.

    Raises:
        UsageError: ``network.bottleneck_blocks`` is 0.

    Reference:
        Dosovitskiy et al., ViT, ICLR 2021; positions: Chu et al., CPVT, ICLR 2023.
    """

    def __init__(self, network: NetworkPlan, rank: int, channels: int) -> None:
        super().__init__()
        count, flat = layers_of(network), (1,) * rank
        self.places = nn.ModuleList(
            Depthwise(channels, kernel=network.kernels[-1], stride=flat) for _ in range(count)
        )
        self.layers = nn.ModuleList(TransformerLayer(channels, drop=network.dropout) for _ in range(count))

    def become_neutral(self) -> None:
        """Start as the identity: whatever is added to the features is zero."""
        for place, layer in zip(self.places, self.layers, strict=True):
            nn.init.zeros_(place.weight)  # pyright: ignore[reportArgumentType] - a Depthwise
            layer.start()  # pyright: ignore[reportCallIssue] - a TransformerLayer
            for last in (layer.project, layer.narrow):
                nn.init.zeros_(last.weight)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]

    def forward(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b c *s"]:
        """``(B, C, *S)`` → the same shape, for any size."""
        size, tokens = x.shape[2:], tokens_of(x)
        for place, layer in zip(self.places, self.layers, strict=True):
            tokens = layer(tokens + tokens_of(place(features_of(tokens, size))))
        return features_of(tokens, size).contiguous(memory_format=memory_format(x))


def layers_of(network: NetworkPlan) -> int:
    """The number of layers in the bottleneck.

    Args:
        network: The plan.

    Raises:
        UsageError: There is none.
    """
    if network.bottleneck_blocks < 1:
        raise UsageError(
            f"network.bottleneck_blocks is 0, the bottleneck '{network.bottleneck}' needs at least 1 layer",
            cure="set network.bottleneck_blocks to 4, or network.bottleneck to identity",
        )
    return network.bottleneck_blocks
