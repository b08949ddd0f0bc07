"""Augmentation of whole batches on their device: one spatial pass, then intensities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from unetkit.records.plan import AugmentationPlan
from unetkit.spatial.warp import coarsen, gaussian_blur, positions, pull, smooth_field

_CONTROL_POINTS = 6
"""Per axis of an elastic field: with the default 5 % of the edge it cannot fold (slope at most 0.5)."""

_TRUNCATE = 4.0
_TINY = 1e-7


@dataclass(frozen=True)
class Moves:
    """What the spatial pass does to a batch: few items are resampled, some are mirrored, most stay.

    Args:
        moving: Batch positions of the items that are resampled.
        matrices: ``(M, r, r)`` from offsets in the patch to offsets in the source, pixels, mirroring too.
        elastic: ``(M, r, *G)`` control points of the displacement, pixels; None when no item has one.
        flips: ``(B, r)`` which axes of which item are mirrored.
    """

    moving: tuple[int, ...]
    matrices: np.ndarray
    elastic: Tensor | None
    flips: np.ndarray

    def reach(self, patch_size: Sequence[int]) -> np.ndarray:
        """How far from its middle each moving item looks, ``(M, r)`` pixels of the source."""
        half = (np.asarray(patch_size) - 1) / 2
        far = np.abs(self.matrices) @ half
        if self.elastic is not None:
            far = far + self.elastic.abs().flatten(2).amax(2).numpy()
        return far


def decode(coded: Tensor) -> tuple[Tensor, Tensor | None]:
    """Split labels in which 0 is unknown and ``k + 1`` is class ``k``.

    Args:
        coded: ``(B, *S)`` int64.

    Returns:
        Target ``(B, *S)`` int64, and known ``(B, *S)`` bool or None when all is known.

    Example:
        >>> decode(torch.tensor([[0, 1, 3]]))
        (tensor([[0, 0, 2]]), tensor([[False,  True,  True]]))
    """
    known = coded > 0
    if bool(known.all()):
        return coded - 1, None
    return (coded - 1).clamp_(min=0), known


def draw_moves(
    plan: AugmentationPlan, *, batch: int, patch_size: Sequence[int], generator: torch.Generator
) -> Moves:
    """Draw the spatial transforms of a batch, before its pixels are read.

    Args:
        plan: Probabilities and ranges.
        batch: Items.
        patch_size: ``*S``.
        generator: On the CPU.
    """
    rank = len(patch_size)
    drawn = torch.rand((batch, 12), generator=generator, dtype=torch.float64)
    draws, zooms = drawn.numpy(), _between(plan.scaling_range, drawn[:, 6]).numpy()
    flips = np.zeros((batch, rank), bool)
    for axis in plan.flip_axes:
        flips[:, axis] = draws[:, 12 - rank + axis] < 0.5
    degrees = plan.rotation_degrees if len(plan.rotation_degrees) > 1 else plan.rotation_degrees * 3
    rotated = (draws[:, 0] < plan.rotation) & any(degrees[: 1 if rank == 2 else 3])
    scaled, bent = draws[:, 1] < plan.scaling, draws[:, 2] < plan.elastic
    moving = tuple(int(item) for item in np.flatnonzero(rotated | scaled | bent))
    matrices = np.empty((len(moving), rank, rank))
    for matrix, item in zip(matrices, moving, strict=True):
        angles = [(2 * u - 1) * largest for u, largest in zip(draws[item, 3:6], degrees, strict=False)]
        turn = _rotation(angles, rank) if rotated[item] else np.eye(rank)
        zoom = zooms[item] if scaled[item] else 1.0
        matrix[...] = turn / zoom * np.where(flips[item], -1.0, 1.0)
    control = None
    if bent.any():
        points = (len(moving), rank, *(_CONTROL_POINTS,) * rank)
        control = torch.rand(points, generator=generator, dtype=torch.float64) * 2 - 1
        edge = np.asarray(patch_size) * plan.elastic_share * (bent * draws[:, 7])[list(moving), None]
        control *= torch.from_numpy(edge).reshape(*edge.shape, *(1,) * rank)
    return Moves(moving, matrices, control, flips)


def move(
    pixels: Tensor, coded: Tensor, moves: Moves, *, sources: tuple[Tensor, Tensor], centres: np.ndarray
) -> None:
    """Fill the moving items of a batch, in place, from larger sources.

    Args:
        pixels: ``(B, C, *S)`` float32.
        coded: ``(B, *S)`` int64, 0 unknown.
        moves: What moves and how.
        sources: Pixels ``(M, C, *N)`` and coded labels ``(M, *N)`` of the moving items.
        centres: ``(M, r)`` where the middle of each patch lies in its source, pixels.
    """
    shape, device = pixels.shape[2:], pixels.device
    matrix = torch.from_numpy(moves.matrices).float().to(device)
    centre = torch.from_numpy(centres).float().to(device)
    field = None
    if moves.elastic is not None:
        field = smooth_field(moves.elastic.float().to(device), shape)
    image, ids = pull(*sources, positions(matrix, centre, shape, field))
    index = torch.tensor(moves.moving, device=device)
    pixels.index_copy_(0, index, image)
    coded.index_copy_(0, index, ids)


def mirror(pixels: Tensor, coded: Tensor, moves: Moves) -> None:
    """Mirror, in place, the items that are not resampled anyway."""
    for item, flips in enumerate(moves.flips):
        if item in moves.moving or not flips.any():
            continue
        axes = [int(axis) for axis in np.flatnonzero(flips)]
        pixels[item] = pixels[item].flip([axis + 1 for axis in axes])
        coded[item] = coded[item].flip(axes)


def change_intensities(
    pixels: Tensor, plan: AugmentationPlan, *, generator: torch.Generator, alike: int = 1
) -> None:
    """Change, in place, the intensities of the items that draw a change.

    Each change has its own probability per item; its amount is drawn per item for noise, blur and
    resolution, and per channel for brightness, contrast and gamma.

    Args:
        pixels: ``(B, C, *S)`` float32, about zero mean and unit variance.
        plan: Probabilities and ranges.
        generator: On the CPU.
        alike: Channels in a row that are slices of one channel, and change by the same amount.

    Reference:
        Isensee et al., nnU-Net, Nature Methods 2021, supplementary note on augmentation (order and kinds).
    """
    batch, channels = pixels.shape[:2]
    chance = torch.rand((batch, 7), generator=generator, dtype=torch.float64)
    amounts = torch.rand((batch, channels // alike, 6), generator=generator, dtype=torch.float64)
    amounts = amounts.repeat_interleave(alike, dim=1)
    parts = (plan.noise, plan.blur, plan.brightness, plan.contrast, plan.low_resolution, plan.gamma)
    for column, probability in enumerate(parts):
        items = torch.nonzero(chance[:, column] < probability)[:, 0]
        if not len(items):
            continue
        amount = amounts[items, :, column]
        index = items.to(pixels.device)
        x = pixels.index_select(0, index)
        if column == 0:
            x = _noisy(x, amount[:, 0] * plan.noise_variance, generator)
        elif column == 1:
            sigma = _uniform(plan.blur_sigma, amount[:, 0])
            x = gaussian_blur(x, sigma, radius=max(1, int(_TRUNCATE * plan.blur_sigma[1] + 0.5)))
        elif column == 2:
            x.mul_(_spread(_uniform(plan.brightness_range, amount), x))
        elif column == 3:
            x = _contrasted(x, _spread(_uniform(plan.contrast_range, amount), x))
        elif column == 4:
            zooms = _uniform(plan.low_resolution_range, amount[:, 0]).tolist()
            x = torch.cat([coarsen(x[i : i + 1], zoom) for i, zoom in enumerate(zooms)])
        else:
            exponents = _between(plan.gamma_range, amount)
            inverted = (chance[items, 6] < plan.gamma_inverted)[:, None].expand(-1, channels)
            sign = torch.where(inverted, -1.0, 1.0)
            x = _gamma(x, _spread(exponents, x), _spread(sign, x))
        pixels.index_copy_(0, index, x)


def _rotation(angles_degrees: Sequence[float], rank: int) -> np.ndarray:
    """Rotations one after the other: in the one plane of rank 2, or about axes 0, 1, 2."""
    result = np.eye(rank)
    for (first, second), angle in zip([*combinations(range(rank), 2)][::-1], angles_degrees, strict=False):
        turn = np.eye(rank)
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        turn[first, first] = turn[second, second] = cosine
        turn[first, second], turn[second, first] = -sine, sine
        result = result @ turn
    return result


def _between(bounds: tuple[float, float], share: Tensor) -> Tensor:
    """Factors drawn evenly on a logarithmic scale, so that halving is as likely as doubling."""
    low, high = bounds
    return low * (high / low) ** share if low > 0 else _uniform(bounds, share)


def _uniform(bounds: tuple[float, float], share: Tensor) -> Tensor:
    return bounds[0] + (bounds[1] - bounds[0]) * share


def _spread(values: Tensor, x: Tensor) -> Tensor:
    """``(n, C)`` numbers shaped to meet ``(n, C, *S)``."""
    return values.to(x.dtype).to(x.device).reshape(*values.shape, *(1,) * (x.dim() - 2))


def _noisy(x: Tensor, variance: Tensor, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise, drawn on the tensor's own device."""
    if x.device.type != "cpu":
        seed = int(torch.randint(2**31, (), generator=generator))
        generator = torch.Generator(x.device).manual_seed(seed)
    noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    return x.addcmul_(noise, _spread(variance.sqrt()[:, None], x))


def _contrasted(x: Tensor, factor: Tensor) -> Tensor:
    """Stretch about the mean; the range stays."""
    axes = tuple(range(2, x.dim()))
    mean, low, high = x.mean(axes, keepdim=True), x.amin(axes, keepdim=True), x.amax(axes, keepdim=True)
    return x.sub_(mean).mul_(factor).add_(mean).clamp_(low, high)


def _gamma(x: Tensor, exponent: Tensor, sign: Tensor) -> Tensor:
    """Raise the image, scaled to 0…1, to a power; the mean and the standard deviation stay."""
    axes = tuple(range(2, x.dim()))
    x.mul_(sign)
    low = x.amin(axes, keepdim=True)
    width = x.amax(axes, keepdim=True) - low
    x.sub_(low).div_(width + _TINY)
    mean, std = _centred(x, axes)
    x.add_(mean).clamp_(0, 1).pow_(exponent)
    _, new_std = _centred(x, axes)
    return x.mul_(std / (new_std + _TINY)).add_(mean).mul_(width).add_(low).mul_(sign)


def _centred(x: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Subtract the mean, in place; return it and the standard deviation (faster than ``std_mean``)."""
    mean = x.mean(axes, keepdim=True)
    x.sub_(mean)
    return mean, x.square().mean(axes, keepdim=True).sqrt_()
