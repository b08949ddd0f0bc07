"""Losses that compare areas: what is shared, what is missed, what is too much."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

_LEAST = 1e-8
"""Denominators stay above this, so that ``smooth=0`` cannot divide by zero."""


def dice(
    logits: Float[Tensor, "b k *s"],
    target: Integer[Tensor, " b *s"],
    known: Bool[Tensor, " b *s"] | None = None,
    *,
    batch: float = 0,
    smooth: float = 1e-5,
    background: float = 0,
    absent: float = 0,
) -> Float[Tensor, ""]:
    """One minus the soft Dice coefficient, averaged over the classes present.

    The coefficient of a class that is nowhere in the target is 0 whatever is predicted, and its gradient
    only pushes that class down: with many rare classes and small batches that drowns all others, and nothing
    is learned. Such classes are left out; a pixel loss beside this one sees where they are predicted wrongly.

    Args:
        logits: ``(B, K, *S)``.
        target: ``(B, *S)`` class ids ``0..K-1``; anything where unknown.
        known: ``(B, *S)``, None for all.
        batch: 1: one coefficient over the whole batch; 0: one per sample, averaged over the samples in which
            anything is known.
        smooth: Added above and below.
        background: 1 to count class 0 as a class.
        absent: 1 to count classes absent from the target too, as nnU-Net does.

    Returns:
        A scalar in 0…1; 0 when nothing is known.

    Reference:
        Milletari et al., V-Net, 3DV 2016; Drozdzal et al., arXiv:1608.04117.

    Example:
        >>> target = torch.tensor([[[0, 1], [1, 0]]])
        >>> right = 50.0 * torch.stack([1 - target, target], dim=1)
        >>> round(dice(right, target).item(), 4)
        0.0
    """
    areas = _areas(logits, target, known, batch=batch, background=background)
    both = areas.predicted + areas.actual
    losses = 1 - (2 * areas.shared + smooth) / (both + smooth).clamp(min=_LEAST)
    return _mean(losses, areas, absent=absent)


def tversky(
    logits: Float[Tensor, "b k *s"],
    target: Integer[Tensor, " b *s"],
    known: Bool[Tensor, " b *s"] | None = None,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    batch: float = 0,
    smooth: float = 1e-5,
    background: float = 0,
) -> Float[Tensor, ""]:
    """One minus the Tversky index over the classes present: Dice with prices for too much and for missed.

    Args:
        logits: ``(B, K, *S)``.
        target: ``(B, *S)`` class ids ``0..K-1``; anything where unknown.
        known: ``(B, *S)``, None for all.
        alpha: Price of a pixel predicted and not there.
        beta: Price of a pixel there and not predicted.
        batch: As in ``dice``.
        smooth: As in ``dice``.
        background: As in ``dice``.

    Returns:
        A scalar in 0…1; 0 when nothing is known.

    Reference:
        Salehi, Erdogmus and Gholipour, Tversky loss function, MLMI 2017.
    """
    areas = _areas(logits, target, known, batch=batch, background=background)
    return _mean(1 - _index(areas, alpha=alpha, beta=beta, smooth=smooth), areas)


def focal_tversky(
    logits: Float[Tensor, "b k *s"],
    target: Integer[Tensor, " b *s"],
    known: Bool[Tensor, " b *s"] | None = None,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 4 / 3,
    batch: float = 0,
    background: float = 0,
) -> Float[Tensor, ""]:
    """``(1 - Tversky index)^(1 / gamma)``, averaged over the classes present: hard classes count more.

    Args:
        logits: ``(B, K, *S)``.
        target: ``(B, *S)`` class ids ``0..K-1``; anything where unknown.
        known: ``(B, *S)``, None for all.
        alpha: Price of a pixel predicted and not there.
        beta: Price of a pixel there and not predicted.
        gamma: 1 is ``tversky``; the paper uses 1…3.
        batch: As in ``dice``.
        background: As in ``dice``.

    Returns:
        A scalar in 0…1; 0 when nothing is known.

    Reference:
        Abraham and Khan, A Novel Focal Tversky Loss Function, ISBI 2019, equation 4.
    """
    areas = _areas(logits, target, known, batch=batch, background=background)
    loss = 1 - _index(areas, alpha=alpha, beta=beta, smooth=1e-5)
    # A root's slope at 0 is infinite: below this a class is right and pulls no more.
    least = torch.finfo(loss.dtype).eps
    return _mean(torch.where(loss > least, loss.clamp(min=least) ** (1 / gamma), 0.0), areas)


def lovasz(
    logits: Float[Tensor, "b k *s"],
    target: Integer[Tensor, " b *s"],
    known: Bool[Tensor, " b *s"] | None = None,
    *,
    background: float = 1,
) -> Float[Tensor, ""]:
    """The Lovász-Softmax loss: a convex stand-in for one minus IoU, averaged over the classes present.

    Args:
        logits: ``(B, K, *S)``.
        target: ``(B, *S)`` class ids ``0..K-1``; anything where unknown.
        known: ``(B, *S)``, None for all.
        background: 0 to leave class 0 out.

    Returns:
        A scalar in 0…1; 0 when nothing is known or no counted class is present.

    Reference:
        Berman, Rannen Triki and Blaschko, The Lovász-Softmax loss, CVPR 2018, algorithm 1.
    """
    shares = _wide(logits).softmax(dim=1).movedim(1, -1)
    pixels, ids = (
        (shares.flatten(0, -2), target.flatten()) if known is None else (shares[known], target[known])
    )
    losses = []
    for k in range(0 if background else 1, logits.shape[1]):
        here = ids == k
        if here.any():
            losses.append(_lovasz_extension(torch.where(here, 1 - pixels[:, k], pixels[:, k]), here))
    return torch.stack(losses).mean() if losses else (pixels * 0).sum()


def _lovasz_extension(errors: Tensor, here: Tensor) -> Tensor:
    """``Σ errors · slope`` with the errors in falling order; slopes are the steps of the Jaccard loss."""
    errors, order = errors.sort(descending=True)
    here = here[order]
    total = here.sum()
    missed = here.cumsum(0)  # whole numbers: exact beyond 2^24 pixels, which a float32 sum is not
    extra = (~here).cumsum(0)
    jaccard = 1 - (total - missed).to(errors.dtype) / (total + extra).to(errors.dtype)
    slope = torch.cat((jaccard[:1], jaccard[1:] - jaccard[:-1]))
    return errors @ slope


@dataclass(frozen=True)
class _Areas:
    """Sums over pixels ``(rows, classes)``, a row being a sample or the whole batch; weights ``(rows,)``."""

    shared: Tensor
    predicted: Tensor
    actual: Tensor
    weights: Tensor


def _areas(
    logits: Tensor, target: Tensor, known: Tensor | None, *, batch: float, background: float
) -> _Areas:
    shares = _wide(logits).softmax(dim=1)
    truth = torch.zeros_like(shares)
    if known is None:
        weights = shares.new_ones(len(shares))
        truth.scatter_(1, target.long().unsqueeze(1), 1.0)
    else:
        weights = known.flatten(1).any(dim=1).to(shares.dtype)
        counted = known.unsqueeze(1).to(shares.dtype)
        truth.scatter_(1, target.long().masked_fill(~known, 0).unsqueeze(1), counted)
        shares = shares * counted
    first = 0 if background or logits.shape[1] == 1 else 1
    shares, truth = shares[:, first:].flatten(2), truth[:, first:].flatten(2)
    shared, predicted, actual = (shares * truth).sum(dim=2), shares.sum(dim=2), truth.sum(dim=2)
    if batch:
        shared, predicted, actual = (part.sum(dim=0, keepdim=True) for part in (shared, predicted, actual))
        weights = weights.amax(dim=0, keepdim=True)
    return _Areas(shared, predicted, actual, weights)


def _index(areas: _Areas, *, alpha: float, beta: float, smooth: float) -> Tensor:
    extra, missed = areas.predicted - areas.shared, areas.actual - areas.shared
    return (areas.shared + smooth) / (areas.shared + alpha * extra + beta * missed + smooth).clamp(min=_LEAST)


def _mean(losses: Tensor, areas: _Areas, *, absent: float = 0) -> Tensor:
    """Mean over the classes that count in a row, then over the rows in which any does."""
    counts = torch.ones_like(losses) if absent else (areas.actual > 0).to(losses.dtype)
    classes = counts.sum(dim=1)
    weights = areas.weights * (classes > 0)
    rows = (losses * counts).sum(dim=1) / classes.clamp(min=1)
    return (rows * weights).sum() / weights.sum().clamp(min=1)


def _wide(logits: Tensor) -> Tensor:
    """At least float32; float64 stays."""
    return logits if logits.dtype == torch.float64 else logits.float()
