"""Patches of one batch mixed with one another, on their device: pasted, boxed in, blended.

Every way has its own random numbers, which follow from seed and step alone: switching one on changes what no
other draws. A patch takes from its partner as that one was before the same way was applied to anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from unetkit.data.augment import decode
from unetkit.records.plan import AugmentationPlan

_SHARES = 1 << 16
"""Blends are whole multiples of its inverse: the shares of two classes then sum to exactly 1."""


class _Way(IntEnum):
    """Which random numbers are whose; 0 are those that cut the patches."""

    PASTE = 1
    BOX = 2
    BLEND = 3


@dataclass(frozen=True)
class Mixed:
    """What became of the labels of a batch.

    Args:
        target: ``(B, *S)`` int64 class ids, or ``(B, K, *S)`` float32 shares where anything was blended.
        known: ``(B, *S)`` bool, None when every pixel is known.
        borrowed: ``(B,)`` float32, how much of each patch is its partner's: pasted pixels over all pixels,
            and the partner's share of a blend.
    """

    target: Tensor
    known: Tensor | None
    borrowed: Tensor


def mixes(plan: AugmentationPlan) -> bool:
    """Whether a plan mixes patches at all."""
    return max(plan.mixup, plan.cutmix, plan.copy_paste) > 0


def mix(
    pixels: Tensor,
    coded: Tensor,
    plan: AugmentationPlan,
    *,
    rarity: Sequence[float],
    seed: int,
    step: int,
) -> Mixed:
    """Mix the patches of a batch, in place; what is unknown stays so wherever its pixels go.

    Args:
        pixels: ``(B, C, *S)`` float32.
        coded: ``(B, *S)`` int64, 0 unknown and ``k + 1`` for class ``k``.
        plan: Probabilities and Beta distributions.
        rarity: ``(K,)`` chance that a class of the partner is pasted, the background's included.
        seed: Of the plan.
        step: Counted from 0.

    Example:
        >>> x, ids = torch.tensor([[[0.0, 0.0]], [[1.0, 1.0]]]), torch.tensor([[1, 1], [2, 2]])
        >>> mixed = mix(x, ids, AugmentationPlan(copy_paste=1.0), rarity=(0, 1), seed=0, step=0)
        >>> x.tolist(), mixed.target.tolist()
        ([[[1.0, 1.0]], [[1.0, 1.0]]], [[1, 1], [1, 1]])
    """
    batch, size = len(pixels), tuple(pixels.shape[2:])
    kept = torch.ones(batch, device=pixels.device)
    if plan.copy_paste:
        random = _random(seed, step, _Way.PASTE)
        items, partners = _pairs(plan.copy_paste, batch, random)
        taken = random.random((batch, len(rarity))) < np.asarray(rarity)
        if items:
            kept[items] = 1 - paste(pixels, coded, items=items, partners=partners, taken=taken[items])
    if plan.cutmix:
        random = _random(seed, step, _Way.BOX)
        items, partners = _pairs(plan.cutmix, batch, random)
        shares = random.beta(plan.cutmix_alpha, plan.cutmix_alpha, batch)
        places = random.random((batch, len(size)))
        boxes = [draw_box(float(shares[item]), size, places[item]) for item in items]
        paste_boxes(pixels, coded, items=items, partners=partners, boxes=boxes)
        for item, box in zip(items, boxes, strict=True):
            kept[item] *= 1 - box_share(box, size)
    if plan.mixup:
        random = _random(seed, step, _Way.BLEND)
        items, partners = _pairs(plan.mixup, batch, random)
        shares = np.rint(random.beta(plan.mixup_alpha, plan.mixup_alpha, batch) * _SHARES) / _SHARES
        if items:
            share = torch.from_numpy(shares[items]).float().to(pixels.device)
            target, known = blend(
                pixels, coded, items=items, partners=partners, share=share, classes=len(rarity)
            )
            kept[items] *= share
            return Mixed(target, known, 1 - kept)
    return Mixed(*decode(coded), 1 - kept)


def paste(
    pixels: Tensor, coded: Tensor, *, items: Sequence[int], partners: Sequence[int], taken: np.ndarray
) -> Tensor:
    """Paste the pixels of some classes of a partner over patches, in place.

    Args:
        pixels: ``(B, C, *S)`` float32.
        coded: ``(B, *S)`` int64, 0 unknown.
        items: Which patches are pasted over.
        partners: From which, one for each.
        taken: ``(n, K)`` bool, which classes of each partner.

    Returns:
        ``(n,)`` pasted pixels over all pixels.

    Reference:
        Olsson et al., ClassMix, WACV 2021; Ghiasi et al., Simple Copy-Paste, CVPR 2021.
    """
    index, other = _index(items, pixels), _index(partners, pixels)
    # unknown pixels, coded 0, are never pasted
    table = torch.from_numpy(np.pad(taken, ((0, 0), (1, 0)))).to(pixels.device)
    ids = coded.index_select(0, other)
    mask = table.gather(1, ids.flatten(1)).view(ids.shape)
    image = torch.where(mask.unsqueeze(1), pixels.index_select(0, other), pixels.index_select(0, index))
    coded.index_copy_(0, index, torch.where(mask, ids, coded.index_select(0, index)))
    pixels.index_copy_(0, index, image)
    return mask.flatten(1).float().mean(dim=1)


def draw_box(share: float, size: Sequence[int], places: Sequence[float]) -> tuple[slice, ...]:
    """A box in the proportions of the patch that fills a share of it and lies wholly inside.

    The paper draws the middle anywhere and clips the box, which then fills less than was asked for; here
    the corner is drawn so that nothing is clipped. The last edge makes up for the rounding of the others.

    Args:
        share: Wanted share of the pixels, 0…1.
        size: ``*S``.
        places: One number in 0…1 per axis: where the box lies.

    Reference:
        Yun et al., CutMix, ICCV 2019, equation 2.

    Example:
        >>> draw_box(0.25, (8, 8), (0.0, 0.99))
        (slice(0, 4, None), slice(4, 8, None))
    """
    edges = [max(1, round(length * share ** (1 / len(size)))) for length in size[:-1]]
    edges.append(min(size[-1], round(share * math.prod(size) / math.prod(edges))))
    starts = [int(u * (length - edge + 1)) for u, length, edge in zip(places, size, edges, strict=True)]
    return tuple(slice(start, start + edge) for start, edge in zip(starts, edges, strict=True))


def box_share(box: Sequence[slice], size: Sequence[int]) -> float:
    """Pixels of a box over all pixels."""
    return math.prod(cut.stop - cut.start for cut in box) / math.prod(size)


def paste_boxes(
    pixels: Tensor,
    coded: Tensor,
    *,
    items: Sequence[int],
    partners: Sequence[int],
    boxes: Sequence[tuple[slice, ...]],
) -> None:
    """Paste a box of a partner, pixels and labels, over the same place of patches, in place.

    Args:
        pixels: ``(B, C, *S)`` float32.
        coded: ``(B, *S)`` int64, 0 unknown.
        items: Which patches are pasted over.
        partners: From which, one for each.
        boxes: Where, one for each.
    """
    sources = [
        (pixels[(partner, slice(None), *box)].clone(), coded[(partner, *box)].clone())
        for partner, box in zip(partners, boxes, strict=True)
    ]
    for item, box, (image, ids) in zip(items, boxes, sources, strict=True):
        pixels[(item, slice(None), *box)] = image
        coded[(item, *box)] = ids


def blend(
    pixels: Tensor,
    coded: Tensor,
    *,
    items: Sequence[int],
    partners: Sequence[int],
    share: Tensor,
    classes: int,
) -> tuple[Tensor, Tensor | None]:
    """Blend patches with their partners, in place; a pixel is known where it is known in both.

    Args:
        pixels: ``(B, C, *S)`` float32.
        coded: ``(B, *S)`` int64, 0 unknown.
        items: Which patches are blended.
        partners: With which, one for each.
        share: ``(n,)`` what is kept of a patch, 0…1; the rest is its partner's.
        classes: ``K``.

    Returns:
        Shares of the classes ``(B, K, *S)`` float32, 0 where unknown, and known ``(B, *S)`` bool or None.

    Reference:
        Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018, equation 1.
    """
    index, other = _index(items, pixels), _index(partners, pixels)
    weight = share.view(-1, *(1,) * (pixels.ndim - 1))
    image = pixels.index_select(0, other).mul_(1 - weight)
    pixels.index_copy_(0, index, image.addcmul_(pixels.index_select(0, index), weight))
    ids = (coded - 1).clamp_(min=0).unsqueeze(1)
    kept = share.new_ones(len(pixels)).index_copy_(0, index, share).view(-1, *(1,) * (ids.ndim - 1))
    target = pixels.new_zeros(len(pixels), classes, *ids.shape[2:])
    target.scatter_(1, ids, kept.expand(ids.shape))
    mixed = target.index_select(0, index)
    mixed.scatter_add_(1, ids.index_select(0, other), (1 - weight).expand(len(index), *ids.shape[1:]))
    target.index_copy_(0, index, mixed)
    known = coded > 0
    known.index_copy_(0, index, known.index_select(0, index) & known.index_select(0, other))
    return (target, None) if bool(known.all()) else (target.mul_(known.unsqueeze(1)), known)


def _random(seed: int, step: int, way: _Way) -> np.random.Generator:
    """Philox's counter is 256 bits wide: its last word keeps the ways apart."""
    key = np.array([seed & (2**64 - 1), step], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, 0, way], np.uint64)))


def _pairs(chance: float, batch: int, random: np.random.Generator) -> tuple[list[int], list[int]]:
    """Which patches are mixed and with which: each a fixed number of places on, never itself."""
    ahead = 1 + int(random.random() * (batch - 1))
    items = np.flatnonzero(random.random(batch) < chance)
    return items.tolist(), ((items + ahead) % batch).tolist()


def _index(items: Sequence[int], like: Tensor) -> Tensor:
    return torch.tensor(items, device=like.device)


def vote_shares(votes: Tensor, counts: Sequence[int]) -> Tensor:
    """The share of the readers who marked each pixel, as shares of background and class.

    Args:
        votes: ``(B, *S)`` int64.
        counts: How many read each item's case.

    Returns:
        ``(B, 2, *S)`` float32 that sums to 1.

    Reference:
        Silva and Oliveira, Using Soft Labels to Model Uncertainty in Medical Image Segmentation, BrainLes
        2021.

    Example:
        >>> vote_shares(torch.tensor([[0, 1, 4]]), [4]).tolist()
        [[[1.0, 0.75, 0.0], [0.0, 0.25, 1.0]]]
    """
    total = torch.tensor(counts, device=votes.device).view(-1, *[1] * (votes.ndim - 1))
    marked = votes / total
    return torch.stack([1 - marked, marked], dim=1).float()
