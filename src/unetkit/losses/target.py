"""What a loss is measured against: the class of each pixel, or shares of several classes.

A soft target comes from blending two patches (Mixup), a label with a doubt or another network. With shares
of 0 and 1 every loss answers what it answers for class ids. Where a loss compares areas, what a prediction
``p`` and a target ``t`` share is ``Σ min(p, t)``: for shares of 0 and 1 that is the usual ``Σ p · t``, and
unlike that product it makes the loss 0 exactly where ``p = t``, not where ``p`` is harder than ``t``.

Reference:
    Wang, Popordanoska, Bertels, Lemmens and Blaschko, Dice Semimetric Losses: Optimizing the Dice Score with
    Soft Labels, MICCAI 2023, equation 7.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Integer
from torch import Tensor

Target = Integer[Tensor, " b *s"] | Float[Tensor, "b k *s"]
"""Class ids ``0..K-1``, or shares of the classes that sum to 1; anything where unknown."""


def is_soft(target: Tensor) -> bool:
    """Whether a target holds shares of classes instead of class ids."""
    return target.is_floating_point()


def wide(logits: Tensor) -> Tensor:
    """At least float32; float64 stays."""
    return logits if logits.dtype == torch.float64 else logits.float()


def class_shares(target: Tensor, known: Tensor | None, *, like: Tensor) -> Tensor:
    """How much of each pixel is of each class: 0 or 1 for class ids.

    Args:
        target: ``(B, *S)`` class ids, or ``(B, K, *S)`` shares.
        known: ``(B, *S)`` bool, None for all.
        like: ``(B, K, *S)`` whose type and device the answer has.

    Returns:
        ``(B, K, *S)``; 0 for every class where unknown.

    Example:
        >>> class_shares(torch.tensor([[1, 0]]), torch.tensor([[True, False]]), like=torch.zeros(1, 2, 2))
        tensor([[[0., 0.],
                 [1., 0.]]])
    """
    if is_soft(target):
        target = target.to(like.dtype)
        return target if known is None else target.masked_fill(~known.unsqueeze(1), 0.0)
    shares = torch.zeros_like(like)
    if known is None:
        return shares.scatter_(1, target.long().unsqueeze(1), 1.0)
    counted = known.unsqueeze(1).to(like.dtype)
    return shares.scatter_(1, target.long().masked_fill(~known, 0).unsqueeze(1), counted)


def count_known(logits: Tensor, known: Tensor | None) -> Tensor | int:
    """Number of known pixels, at least 1, to divide by.

    Args:
        logits: ``(B, K, *S)``.
        known: ``(B, *S)`` bool, None for all.
    """
    return max(1, logits.numel() // logits.shape[1]) if known is None else known.sum().clamp(min=1)
