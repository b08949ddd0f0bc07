"""Losses that compare areas: what is shared, what is missed, what is too much."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unetkit.losses.areas import LEAST, Areas, mean_present, measure_areas, power, tversky_index
from unetkit.losses.target import Target, class_shares, is_soft, wide


def dice(
    logits: Float[Tensor, "b k *s"],
    target: Target,
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
        target: ``(B, *S)`` class ids ``0..K-1`` or ``(B, K, *S)`` shares; anything where unknown.
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
    losses = 1 - (2 * areas.shared + smooth) / (both + smooth).clamp(min=LEAST)
    return mean_present(losses, areas.actual, areas.weights, absent=absent)


def tversky(
    logits: Float[Tensor, "b k *s"],
    target: Target,
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
        target: ``(B, *S)`` class ids ``0..K-1`` or ``(B, K, *S)`` shares; anything where unknown.
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
    losses = 1 - tversky_index(areas, alpha=alpha, beta=beta, smooth=smooth)
    return mean_present(losses, areas.actual, areas.weights)


def focal_tversky(
    logits: Float[Tensor, "b k *s"],
    target: Target,
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
        target: ``(B, *S)`` class ids ``0..K-1`` or ``(B, K, *S)`` shares; anything where unknown.
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
    losses = power(1 - tversky_index(areas, alpha=alpha, beta=beta, smooth=1e-5), 1 / gamma)
    return mean_present(losses, areas.actual, areas.weights)


def lovasz(
    logits: Float[Tensor, "b k *s"],
    target: Target,
    known: Bool[Tensor, " b *s"] | None = None,
    *,
    background: float = 1,
) -> Float[Tensor, ""]:
    """The Lovász-Softmax loss: a convex stand-in for one minus IoU, averaged over the classes present.

    Args:
        logits: ``(B, K, *S)``.
        target: ``(B, *S)`` class ids ``0..K-1`` or ``(B, K, *S)`` shares; anything where unknown.
        known: ``(B, *S)``, None for all.
        background: 0 to leave class 0 out.

    Returns:
        A scalar in 0…1; 0 when nothing is known or no counted class is present.

    Reference:
        Berman, Rannen Triki and Blaschko, The Lovász-Softmax loss, CVPR 2018, algorithm 1.
    """
    shares, soft = wide(logits).softmax(dim=1).movedim(1, -1), is_soft(target)
    truth = target.to(shares.dtype).movedim(1, -1) if soft else target
    last = -2 if soft else -1
    pixels, truth = (
        (shares.flatten(0, -2), truth.flatten(0, last)) if known is None else (shares[known], truth[known])
    )
    losses = []
    for k in range(0 if background else 1, logits.shape[1]):
        here = truth[:, k] if soft else truth == k
        if here.any():
            losses.append(_soft_extension(pixels[:, k], here) if soft else _extension(pixels[:, k], here))
    return torch.stack(losses).mean() if losses else (pixels * 0).sum()


def _extension(shares: Tensor, here: Tensor) -> Tensor:
    """``Σ errors · slope`` with the errors in falling order; slopes are the steps of the Jaccard loss."""
    errors, order = torch.where(here, 1 - shares, shares).sort(descending=True)
    here = here[order]
    total = here.sum()
    missed = here.cumsum(0)  # whole numbers: exact beyond 2^24 pixels, which a float32 sum is not
    extra = (~here).cumsum(0)
    return errors @ _slopes((total - missed).to(errors.dtype), (total + extra).to(errors.dtype))


def _soft_extension(shares: Tensor, truth: Tensor) -> Tensor:
    """The same where a pixel is part of a class: it may lose as much as it has or gain what it lacks.

    That much is the pixel's weight and the share of it that went wrong is its error, so that the loss is
    ``1 - Σ min / Σ max`` wherever every pixel is right or as wrong as it can be.
    """
    missing = shares < truth
    room = torch.where(missing, truth, 1 - truth).clamp(min=torch.finfo(truth.dtype).eps)
    errors, order = ((truth - shares).abs() / room).sort(descending=True)
    exact = torch.float32 if truth.device.type == "mps" else torch.float64
    room, missing = room[order].to(exact), missing[order]
    total = truth.sum(dtype=exact)
    missed, extra = (room * missing).cumsum(0), (room * ~missing).cumsum(0)
    return errors @ _slopes(total - missed, total + extra).to(errors.dtype)


def _slopes(kept: Tensor, union: Tensor) -> Tensor:
    """How much each further pixel, going wrong, adds to one minus IoU."""
    jaccard = 1 - kept / union
    return torch.cat((jaccard[:1], jaccard[1:] - jaccard[:-1]))


def _areas(logits: Tensor, target: Tensor, known: Tensor | None, *, batch: float, background: float) -> Areas:
    shares = wide(logits).softmax(dim=1)
    truth = class_shares(target, known, like=shares)
    return measure_areas(shares, truth, known, soft=is_soft(target), batch=batch, background=background)
