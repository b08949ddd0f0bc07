"""Faults put into what the first stage of a cascade found, so that the second one does not copy it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from unetkit.records.plan import AugmentationPlan
from unetkit.spatial.regions import components, dilate_ball, erode_ball, sizes

_PER_CLASS = 0.5
_OPERATIONS = ((dilate_ball,), (erode_ball,), (erode_ball, dilate_ball), (dilate_ball, erode_ball))


def change_previous(channels: Tensor, plan: AugmentationPlan, *, generator: torch.Generator) -> None:
    """Change, in place, where the first stage found each class.

    Training cases are predicted by networks that had not seen them, which make other mistakes than the one
    that answers later: objects too large, too small, frayed, filled in, or missed.

    Args:
        channels: ``(B, K - 1, *S)`` float32, 0 or 1; between them where patches were turned or zoomed, which
            makes them 0 or 1 again.
        plan: Probabilities and ranges.
        generator: On the CPU.

    Reference:
        Isensee et al., nnU-Net, Nature Methods 2021, supplementary note on augmentation (cascade).
    """
    channels.copy_(channels > 0.5)
    chance = torch.rand((len(channels), 2), generator=generator, dtype=torch.float64).numpy()
    draws = torch.rand((*channels.shape[:2], 5), generator=generator, dtype=torch.float64).numpy()
    wanted = chance < np.array([plan.cascade_morphology, plan.cascade_removal])
    for item in np.flatnonzero(wanted.any(axis=1)):
        masks = channels[item].cpu().numpy() > 0.5
        if wanted[item, 0]:
            _deform(masks, draws[item, :, :3], plan.cascade_radius)
        if wanted[item, 1]:
            _remove(masks, draws[item, :, 3:], plan.cascade_removal_share)
        channels[item] = torch.from_numpy(masks.astype(np.float32)).to(channels.device)


def _deform(masks: np.ndarray, draws: np.ndarray, radius: tuple[int, int]) -> None:
    """Dilate, erode, open or close classes by a ball; a pixel that one class gains the others lose."""
    for place, (chosen, kind, far) in enumerate(draws):
        if chosen >= _PER_CLASS:
            continue
        mask, reach = masks[place], radius[0] + int(far * (radius[1] - radius[0] + 1))
        changed = mask
        for step in _OPERATIONS[int(len(_OPERATIONS) * kind)]:
            changed = step(changed, reach)
        gained = changed & ~mask
        masks[place] = changed
        for other in range(len(masks)):
            if other != place:
                masks[other] &= ~gained


def _remove(masks: np.ndarray, draws: np.ndarray, share: float) -> None:
    """Take away one object of some classes."""
    for mask, (chosen, which) in zip(masks, draws, strict=True):
        if chosen >= _PER_CLASS:
            continue
        numbered, count = components(mask)
        small = 1 + np.flatnonzero(sizes(numbered, count) < share * mask.size)
        if len(small):
            mask[numbered == small[int(which * len(small))]] = False
