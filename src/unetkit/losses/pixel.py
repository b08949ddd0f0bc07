"""Losses that are a mean over pixels, all of them made from the cross-entropy of each."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from unetkit.losses.target import Target, class_shares, count_known, is_soft, wide

_UNKNOWN = -100


def cross_entropy(
    logits: Float[Tensor, "b k *s"],
    target: Target,
    known: Bool[Tensor, " b *s"] | None = None,
) -> Float[Tensor, ""]:
    """Mean cross-entropy over the known pixels, in nats.

    Args:
        logits: ``(B, K, *S)``.
        target: ``(B, *S)`` class ids ``0..K-1`` or ``(B, K, *S)`` shares; anything where unknown.
        known: ``(B, *S)``, None for all.

    Returns:
        A scalar; 0 when nothing is known.

    Example:
        >>> round(cross_entropy(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)).item(), 4)
        0.6931
    """
    if is_soft(target):
        return _entropy(logits, target, known).sum() / count_known(logits, known)
    logits, target = wide(logits), target.long()
    if known is None:
        return F.cross_entropy(logits, target)
    total = F.cross_entropy(logits, target.masked_fill(~known, _UNKNOWN), reduction="sum")
    return total / known.sum().clamp(min=1)


def focal(
    logits: Float[Tensor, "b k *s"],
    target: Target,
    known: Bool[Tensor, " b *s"] | None = None,
    *,
    gamma: float = 2.0,
    alpha: float | None = None,
) -> Float[Tensor, ""]:
    """Mean of ``(1 - p)^gamma · -log p`` over the known pixels, ``p`` being the true class's probability.

    Args:
        logits: ``(B, K, *S)``.
        target: ``(B, *S)`` class ids ``0..K-1`` or ``(B, K, *S)`` shares; anything where unknown.
        known: ``(B, *S)``, None for all.
        gamma: How little easy pixels count; 0 is cross-entropy.
        alpha: Weight of the foreground's pixels, the background's have ``1 - alpha``; None: both weigh 1.

    Returns:
        A scalar; 0 when nothing is known.

    Reference:
        Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, equation 5.
    """
    rare, common = (1.0, 1.0) if alpha is None else (alpha, 1.0 - alpha)
    return focused(logits, target, known, gammas=(gamma, gamma), prices=(common, rare))


def focused(
    logits: Float[Tensor, "b k *s"],
    target: Target,
    known: Bool[Tensor, " b *s"] | None = None,
    *,
    gammas: tuple[float, float],
    prices: tuple[float, float],
) -> Float[Tensor, ""]:
    """Mean of ``price · (1 - p)^gamma · -log p`` over the known pixels: background and foreground apart.

    Args:
        logits: ``(B, K, *S)``.
        target: ``(B, *S)`` class ids ``0..K-1`` or ``(B, K, *S)`` shares; anything where unknown.
        known: ``(B, *S)``, None for all.
        gammas: How little easy pixels count: of class 0, of all others.
        prices: Weight of a pixel: of class 0, of all others.

    Returns:
        A scalar; 0 when nothing is known.
    """
    soft = is_soft(target)
    entropy = -wide(logits).log_softmax(dim=1) if soft else _entropy(logits, target, known)
    # Where p rounds to 1 a gamma below 1 has an infinite slope, which times 0 would be NaN.
    miss = (-torch.expm1(-entropy)).clamp(min=torch.finfo(entropy.dtype).eps)
    (first, others), (common, rare) = gammas, prices
    if first == others and common == rare == 1.0:
        values = entropy * miss**others
    else:
        behind = _is_background(logits) if soft else target == 0
        focus = miss**others if first == others else torch.where(behind, miss**first, miss**others)
        values = entropy * focus
        values = torch.where(behind, values * common, values * rare)
    if soft:
        values = values * class_shares(target, known, like=values)
    return values.sum() / count_known(logits, known)


def top_k(
    logits: Float[Tensor, "b k *s"],
    target: Target,
    known: Bool[Tensor, " b *s"] | None = None,
    *,
    share: float = 0.1,
) -> Float[Tensor, ""]:
    """Mean cross-entropy over the ``share`` of the known pixels with the largest, at least one.

    Args:
        logits: ``(B, K, *S)``.
        target: ``(B, *S)`` class ids ``0..K-1`` or ``(B, K, *S)`` shares; anything where unknown.
        known: ``(B, *S)``, None for all.
        share: Share of the known pixels that count, rounded up.

    Returns:
        A scalar; 0 when nothing is known.

    Reference:
        Wu, Shen and van den Hengel, Bridging Category-level and Instance-level Semantic Image Segmentation,
        arXiv:1605.06885, section 3.2.
    """
    entropy = _entropy(logits, target, known)
    amount = entropy.numel() if known is None else int(known.sum())
    # Unknown pixels carry 0, the least a cross-entropy can be: they never push a known one out.
    hardest = entropy.flatten().topk(max(1, math.ceil(share * amount)), sorted=False).values
    return hardest.mean()


def _is_background(logits: Tensor) -> Tensor:
    """``(K, 1, …)`` true for class 0 alone."""
    classes = torch.arange(logits.shape[1], device=logits.device)
    return (classes == 0).view(-1, *(1,) * (logits.ndim - 2))


def _entropy(logits: Tensor, target: Tensor, known: Tensor | None) -> Tensor:
    """Cross-entropy of each pixel, 0 with no gradient where unknown."""
    logits = wide(logits)
    if is_soft(target):
        return F.cross_entropy(logits, class_shares(target, known, like=logits), reduction="none")
    target = target.long()
    if known is not None:
        target = target.masked_fill(~known, _UNKNOWN)
    return F.cross_entropy(logits, target, reduction="none")
