"""Multi-scale input: the image's Gaussian pyramid beside the image, or one level for every encoder stage."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from unetkit.networks.encoders import Encoder
from unetkit.spatial.layers import Pointwise
from unetkit.spatial.scale import enlarged, reduced

_LEVELS = 3
"""Coarser levels joined to the image: an eighth of the size is where single objects stop being visible."""


class InputPyramid(nn.Module):
    """Coarser levels of the image, interpolated back to its size, as more channels.

    Args:
        strides: Of the encoder stages, per axis; up to three that are not all 1 make the levels.
    """

    def __init__(self, strides: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        self.strides = tuple(stride for stride in strides if max(stride) > 1)[:_LEVELS]

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *S)`` → ``(B, C · (1 + levels), *S)``."""
        level, scale, levels = x, (1,) * (x.ndim - 2), [x]
        for stride in self.strides:
            level = reduced(level, stride)
            scale = tuple(old * new for old, new in zip(scale, stride, strict=True))
            levels.append(enlarged(level, scale, x.shape[2:]))
        return torch.cat(levels, dim=1)


class LevelPyramid(nn.Module):
    """Feeds every encoder stage after the first the image as it looks at that stage's scale.

    The level is interpolated to the size of the stage's input, joined to it and projected back to its width.
    Joining and projecting is the sum of two projections; the features' own is the identity and the level's
    starts at zero, so that weights trained without a pyramid stay what they are. An encoder that does not
    show its stages gets the levels added to its features, which later stages then do not see.

    Args:
        encoder: A chain of ``stages`` behind an optional ``stem``, or any other encoder.
        in_channels: Channels of the image.

    Reference:
        Abraham and Khan, A Novel Focal Tversky Loss Function with Improved Attention U-Net, ISBI 2019.
    """

    def __init__(self, encoder: Encoder, in_channels: int) -> None:
        super().__init__()
        self.strides, self.inside = tuple(encoder.strides), hasattr(encoder, "stages")
        widths = [before if self.inside else here for before, here in pairwise(encoder.channels)]
        self.projections = nn.ModuleList(Pointwise(in_channels, width, bias=False) for width in widths)

    def become_neutral(self) -> None:
        """Start without a pyramid."""
        for projection in self.projections:
            nn.init.zeros_(projection.weight)  # pyright: ignore[reportArgumentType] - a Pointwise

    def forward(self, x: Tensor, encoder: nn.Module) -> list[Tensor]:
        """``(B, C, *S)`` → features fine to coarse."""
        level = reduced(x, self.strides[0])
        if not self.inside:
            features = list(encoder(x))
            for i, projection in enumerate(self.projections, start=1):
                level = reduced(level, self.strides[i])
                features[i] = features[i] + projection(level)
            return features
        x = encoder.stem(x) if hasattr(encoder, "stem") else x  # pyright: ignore[reportCallIssue]
        features = []
        for i, stage in enumerate(encoder.stages):  # pyright: ignore[reportArgumentType] - a ModuleList
            if i:
                level = reduced(level, self.strides[i])
                shown = enlarged(level, self.strides[i], x.shape[2:])
                x = x + self.projections[i - 1](shown)
            x = stage(x)
            features.append(x)
        return features
