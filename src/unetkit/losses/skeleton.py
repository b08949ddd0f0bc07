"""A loss that compares centre lines: for vessels, roads, cracks and other tubes."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from unetkit.losses.areas import LEAST, foreground_of, mean_present, row_weights, summed
from unetkit.losses.target import Target, class_shares, is_soft, wide
from unetkit.spatial.morphology import dilate, erode


def cldice(
    logits: Float[Tensor, "b k *s"],
    target: Target,
    known: Bool[Tensor, " b *s"] | None = None,
    *,
    iterations: float = 3,
    smooth: float = 1.0,
    batch: float = 0,
    background: float = 0,
) -> Float[Tensor, ""]:
    """One minus the soft centre-line Dice, averaged over the classes present.

    The share of the predicted centre line that lies in the target and the share of the target's centre line
    that lies in the prediction, as a harmonic mean: a gap in a tube costs its length, not its area. Widths
    are hardly seen: a loss of areas belongs beside this one.

    Args:
        logits: ``(B, K, *S)``.
        target: ``(B, *S)`` class ids ``0..K-1`` or ``(B, K, *S)`` shares; anything where unknown.
        known: ``(B, *S)``, None for all.
        iterations: Times the tubes are thinned by a pixel on each side; at least the widest tube's radius.
        smooth: Added above and below both shares, pixels.
        batch: 1: one coefficient over the whole batch; 0: one per sample.
        background: 1 to count class 0 as a class.

    Returns:
        A scalar in 0…1; 0 when nothing is known.

    Reference:
        Shit et al., clDice – a Novel Topology-Preserving Loss Function for Tubular Structure Segmentation,
        CVPR 2021, algorithms 1 and 2.

    Example:
        >>> line = torch.zeros(1, 7, 7, dtype=torch.long)
        >>> line[0, 3] = 1
        >>> right = 50.0 * torch.stack([1 - line, line], dim=1)
        >>> round(cldice(right, line).item(), 4), round(cldice(-right, line).item(), 4)
        (0.0, 0.913)
    """
    shares = wide(logits).softmax(dim=1)
    truth = foreground_of(class_shares(target, known, like=shares), background)
    shares = foreground_of(shares, background)
    counted = None if known is None else known.unsqueeze(1)
    line, true_line = (soft_skeleton(maps, counted, iterations=int(iterations)) for maps in (shares, truth))
    if counted is not None:
        shares = shares * counted
    shared = torch.minimum if is_soft(target) else torch.mul
    found, length = summed(shared(line, truth), batch=batch), summed(line, batch=batch)
    kept, true_length = summed(shared(true_line, shares), batch=batch), summed(true_line, batch=batch)
    precision = (found + smooth) / (length + smooth).clamp(min=LEAST)
    sensitivity = (kept + smooth) / (true_length + smooth).clamp(min=LEAST)
    losses = 1 - 2 * precision * sensitivity / (precision + sensitivity).clamp(min=LEAST)
    weights = row_weights(shares, known, batch=batch)
    return mean_present(losses, summed(truth, batch=batch), weights)


def soft_skeleton(maps: Tensor, known: Tensor | None, *, iterations: int) -> Tensor:
    """The centre lines of maps with values in 0…1: what opening takes away, collected while they are eroded.

    Args:
        maps: ``(B, C, *S)``.
        known: ``(B, 1, *S)`` bool, None for all: what is unknown counts as beyond the image's edge.
        iterations: Times the maps are eroded.

    Returns:
        ``(B, C, *S)``, at most ``maps``; 0 where unknown.

    Reference:
        Shit et al., CVPR 2021, algorithm 1.
    """
    unknown = None if known is None else ~known
    skeleton = torch.zeros_like(maps)
    for _ in range(iterations + 1):
        if unknown is not None:
            maps = maps.masked_fill(unknown, 1.0)
        eroded = erode(maps)
        if unknown is not None:
            eroded = eroded.masked_fill(unknown, 0.0)
        taken = F.relu(maps - dilate(eroded))
        skeleton = skeleton + taken - skeleton * taken
        maps = eroded
    return skeleton if known is None else skeleton * known
