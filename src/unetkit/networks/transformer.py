"""The transformer layer, and the way from feature maps to tokens and back."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

HEAD_WIDTH = 64
"""Channels that a head of attention should see, as in every published size of ViT."""


class TransformerLayer(nn.Module):
    """Attention of every token to every token, then each token alone, both normalised first, both residual.

    Args:
        channels: Width of a token.
        drop: Probability of dropping a value of what is added to a token.
        expansion: Width inside the second part, as a multiple of ``channels``.
        eps: Added to the variance.

    Reference:
        Vaswani et al., Attention Is All You Need, NeurIPS 2017; Dosovitskiy et al., ViT, ICLR 2021.

    Example:
        >>> import torch
        >>> TransformerLayer(8)(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, channels: int, *, drop: float = 0.0, expansion: int = 4, eps: float = 1e-5) -> None:
        super().__init__()
        self.heads = heads_of(channels)
        self.first_norm = nn.LayerNorm(channels, eps=eps)
        self.attend = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        self.second_norm = nn.LayerNorm(channels, eps=eps)
        self.widen = nn.Linear(channels, expansion * channels)
        self.narrow = nn.Linear(expansion * channels, channels)
        self.dropout = nn.Dropout(drop)
        self.start()

    def start(self) -> None:
        """Initial values of the published layer: Glorot for every matrix, zero for every bias.

        Reference:
            Glorot and Bengio, Understanding the Difficulty of Training Deep Networks, AISTATS 2010.
        """
        for layer in (self.attend, self.project, self.widen, self.narrow):
            for matrix in layer.weight.chunk(3) if layer is self.attend else (layer.weight,):
                nn.init.xavier_uniform_(matrix)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        """``(B, N, C)`` → the same shape."""
        x = x + self.dropout(self._attended(self.first_norm(x)))
        return x + self.dropout(self.narrow(F.gelu(self.widen(self.second_norm(x)))))

    def _attended(self, x: Tensor) -> Tensor:
        parts = self.attend(x).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        return self.project(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


def heads_of(channels: int) -> int:
    """How many heads share the channels: as many as leave each nearest to ``HEAD_WIDTH`` of them.

    Args:
        channels: Width of a token.

    Example:
        >>> [heads_of(channels) for channels in (768, 512, 320, 100, 6)]
        [12, 8, 5, 2, 1]
    """
    widths = (width for width in range(1, channels + 1) if channels % width == 0)
    return channels // min(widths, key=lambda width: abs(width - HEAD_WIDTH))


def tokens_of(x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b n c"]:
    """Pixels as tokens, one after the other: ``(B, C, *S)`` → ``(B, prod(S), C)``."""
    return x.flatten(2).transpose(1, 2).contiguous()


def features_of(tokens: Float[Tensor, "b n c"], size: Sequence[int]) -> Float[Tensor, "b c *s"]:
    """Tokens as pixels: ``(B, prod(S), C)`` → ``(B, C, *size)``, in channels_last without a copy."""
    return tokens.transpose(1, 2).unflatten(2, tuple(size))
