"""Focal loss and focal Tversky loss under one set of numbers, for objects that fill little of an image."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unetkit.losses.areas import mean_present, measure_areas, power, tversky_index
from unetkit.losses.pixel import focused
from unetkit.losses.target import Target, class_shares, is_soft, wide

_SMOOTH = 1e-7


def unified_focal(
    logits: Float[Tensor, "b k *s"],
    target: Target,
    known: Bool[Tensor, " b *s"] | None = None,
    *,
    asymmetric: float = 1,
    weight: float = 0.5,
    delta: float = 0.6,
    gamma: float = 0.5,
    batch: float = 0,
) -> Float[Tensor, ""]:
    """``weight · focal Tversky + (1 - weight) · focal``, which share one ``delta`` and one ``gamma``.

    Symmetric: ``(1 - p)^gamma · -log p`` priced ``delta`` for foreground and ``1 - delta`` for background,
    and ``(1 - Tversky index)^(1 - gamma)`` of every class. Asymmetric: the focal part quiets easy background
    alone, and the Tversky part sharpens the foreground classes alone, so that a rare class never loses
    gradient. Both are those of the paper at its ``gamma`` of 0.5; for other values the exponents are those of
    its asymmetric form in both.

    Args:
        logits: ``(B, K, *S)``.
        target: ``(B, *S)`` class ids ``0..K-1`` or ``(B, K, *S)`` shares; anything where unknown.
        known: ``(B, *S)``, None for all.
        asymmetric: 0 to treat background and foreground alike.
        weight: Weight of the Tversky part, 0…1.
        delta: Price of what is missed; what is too much costs ``1 - delta``.
        gamma: 0…1: how much easy background is quieted and hard classes are sharpened.
        batch: 1: one Tversky index over the whole batch; 0: one per sample.

    Returns:
        A scalar; 0 when nothing is known.

    Reference:
        Yeung, Sala, Schönlieb and Rundo, Unified Focal loss, Computerized Medical Imaging and Graphics 2022,
        section 3.

    Example:
        >>> target = torch.tensor([[[0, 1], [1, 0]]])
        >>> right = 50.0 * torch.stack([1 - target, target], dim=1)
        >>> round(unified_focal(right, target).item(), 4)
        0.0
    """
    gammas = (gamma, 0.0) if asymmetric else (gamma, gamma)
    pixels = focused(logits, target, known, gammas=gammas, prices=(1 - delta, delta))
    shares = wide(logits).softmax(dim=1)
    truth = class_shares(target, known, like=shares)
    areas = measure_areas(shares, truth, known, soft=is_soft(target), batch=batch, background=1)
    losses = 1 - tversky_index(areas, alpha=1 - delta, beta=delta, smooth=_SMOOTH)
    sharp = power(losses, 1 - gamma)
    if asymmetric:
        sharp = torch.cat((losses[:, :1], sharp[:, 1:]), dim=1)
    return weight * mean_present(sharp, areas.actual, areas.weights) + (1 - weight) * pixels
