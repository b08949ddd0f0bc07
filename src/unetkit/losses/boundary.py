"""A loss that prices each pixel by how far it lies from the boundary of its class."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from unetkit.losses.areas import foreground_of
from unetkit.losses.target import Target, class_shares, count_known, wide
from unetkit.spatial.distance import signed_distance


def boundary(
    logits: Float[Tensor, "b k *s"],
    target: Target,
    known: Bool[Tensor, " b *s"] | None = None,
    *,
    background: float = 0,
) -> Float[Tensor, ""]:
    """Mean of ``(p - t) · distance``: what is wrong far from a boundary costs more than beside it.

    The distance is counted in pixels, negative inside an object, so that no product is negative. It grows
    with the object: a weight of about 0.01 beside a Dice of weight 1 is the paper's start. Of a soft target
    the object is where the class has more than half. A class that fills a sample, or none of it, has no
    boundary there and costs nothing: a loss of areas or pixels belongs beside this one.

    Args:
        logits: ``(B, K, *S)``.
        target: ``(B, *S)`` class ids ``0..K-1`` or ``(B, K, *S)`` shares; anything where unknown.
        known: ``(B, *S)``, None for all; an object's boundary is sought among known pixels only.
        background: 1 to count class 0 as a class.

    Returns:
        A scalar ≥ 0, pixels; 0 when nothing is known.

    Reference:
        Kervadec et al., Boundary loss for highly unbalanced segmentation, MIDL 2019, equation 5, with the
        constant that makes a right prediction 0 (equation 2).

    Example:
        >>> import torch
        >>> target = torch.tensor([[[0, 0, 1, 1]]])
        >>> wrong = 50.0 * torch.stack([target, 1 - target], dim=1)
        >>> boundary(wrong, target).item()  # distances 2, 1, 0, -1
        1.0
    """
    shares = wide(logits).softmax(dim=1)
    inside = foreground_of(class_shares(target, known, like=shares), background) > 0.5
    shares = foreground_of(shares, background)
    classes = inside.shape[1]
    mask = None if known is None else known.unsqueeze(1).expand_as(inside).flatten(0, 1)
    field = signed_distance(inside.flatten(0, 1), mask).view_as(shares).to(shares.dtype)
    return ((shares - inside.to(shares.dtype)) * field).sum() / (classes * count_known(logits, known))
