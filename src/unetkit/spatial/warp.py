"""Bend, blur and coarsen batches of images on any device, for 2 and 3 axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unetkit.spatial.grid import spline_matrix

_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def positions(
    matrix: Tensor, centre: Tensor, shape: Sequence[int], displacement: Tensor | None = None
) -> Tensor:
    """Where every pixel of a patch comes from in its source: ``centre + matrix · offset + displacement``.

    Args:
        matrix: ``(B, r, r)``; offsets are counted in pixels from the middle of the patch.
        centre: ``(B, r)`` position of the patch's middle in the source, pixels.
        shape: ``*S`` of the patch.
        displacement: ``(B, r, *S)`` pixels, added at last.

    Returns:
        ``(B, r, *S)`` positions in pixels of the source, axes in array order.

    Example:
        >>> positions(torch.eye(2)[None], torch.tensor([[1.0, 5.0]]), (1, 2)).flatten().tolist()
        [1.0, 1.0, 4.5, 5.5]
    """
    batch, rank = centre.shape
    ones = (1,) * rank
    where = centre.reshape(batch, rank, *ones)
    for axis, length in enumerate(shape):
        offset = torch.arange(length, dtype=centre.dtype, device=centre.device) - (length - 1) / 2
        along = offset.reshape(*ones[:axis], length, *ones[axis + 1 :])
        where = where + matrix[:, :, axis].reshape(batch, rank, *ones) * along
    return where if displacement is None else where + displacement


def pull(pixels: Tensor, coded: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
    """Read images linearly and their labels by the nearest pixel, both at the same positions.

    Args:
        pixels: ``(B, C, *N)`` float32; outside, zeros go on.
        coded: ``(B, *N)`` integers below 2**24; outside is 0.
        where: ``(B, r, *S)`` positions in pixels.

    Returns:
        ``(B, C, *S)`` float32 and ``(B, *S)`` integers.

    Example:
        >>> line, ids = torch.tensor([[[[0.0, 2.0]]]]), torch.tensor([[[1, 7]]])
        >>> where = torch.tensor([0.0, 0.75]).reshape(1, 2, 1, 1)
        >>> [part.flatten().tolist() for part in pull(line, ids, where)]
        [[1.5], [7]]
    """
    length = torch.tensor(pixels.shape[2:], dtype=where.dtype, device=where.device)
    scale = (2 / length).reshape(-1, *(1,) * (where.dim() - 2))
    grid = ((where + 0.5) * scale - 1).flip(1).movedim(1, -1)
    image = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    ids = F.grid_sample(
        coded.unsqueeze(1).to(pixels.dtype), grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    return image, ids.squeeze(1).to(coded.dtype)


def smooth_field(control: Tensor, shape: Sequence[int]) -> Tensor:
    """Spread control points evenly over a patch as a cubic B-spline, which never leaves their range.

    Args:
        control: ``(B, r, *G)`` values, at least 2 per axis.
        shape: ``*S`` of the patch.

    Returns:
        ``(B, r, *S)``.

    Example:
        >>> smooth_field(torch.ones(1, 2, 4, 4), (5, 3)).shape
        torch.Size([1, 2, 5, 3])
    """
    for axis, length in enumerate(shape, start=2):
        points = control.shape[axis]
        along = np.linspace(0, points - 1, length) if length > 1 else np.array([(points - 1) / 2])
        weights = torch.from_numpy(spline_matrix(along, points, order=3, exact=False))
        weights = weights.to(control.dtype).to(control.device)
        control = (control.movedim(axis, -1) @ weights.T).movedim(-1, axis)
    return control


def gaussian_blur(x: Tensor, sigma: Tensor, *, radius: int) -> Tensor:
    """Blur every image with its own Gaussian, one axis after the other; the outermost pixel goes on.

    Args:
        x: ``(B, C, *S)``.
        sigma: ``(B,)`` pixels, above 0.
        radius: Half width of the kernel, pixels.

    Returns:
        ``(B, C, *S)``, a new tensor.

    Example:
        >>> gaussian_blur(torch.ones(1, 1, 3, 3), torch.ones(1), radius=2).unique().tolist()
        [1.0]
    """
    offset = torch.arange(radius + 1, dtype=torch.float64, device=sigma.device)
    weight = torch.exp(-0.5 * (offset / sigma.double()[:, None]) ** 2)
    weight = (weight / (2 * weight.sum(1) - weight[:, 0])[:, None]).to(x.dtype).to(x.device)
    taps = weight.reshape(len(weight), radius + 1, *(1,) * (x.dim() - 1)).unbind(1)
    for axis in range(2, x.dim()):
        length = x.shape[axis]
        if length == 1:
            continue
        around = [-1 if other != axis else radius for other in range(x.dim())]
        first, last = x.narrow(axis, 0, 1).expand(around), x.narrow(axis, length - 1, 1).expand(around)
        wide = torch.cat([first, x, last], axis)
        x = x * taps[0]
        for step in range(1, radius + 1):
            pair = wide.narrow(axis, radius - step, length) + wide.narrow(axis, radius + step, length)
            x.addcmul_(pair, taps[step])
    return x


def coarsen(x: Tensor, zoom: float) -> Tensor:
    """Show images as a coarser detector would have: fewer pixels (nearest), brought back linearly.

    Args:
        x: ``(B, C, *S)``.
        zoom: Share of the pixels kept per axis, 0…1; an axis keeps at least one.

    Returns:
        ``(B, C, *S)``.

    Example:
        >>> coarsen(torch.arange(4.0).reshape(1, 1, 1, 4), 0.5).flatten().tolist()
        [1.0, 1.5, 2.5, 3.0]
    """
    shape = x.shape[2:]
    small = [max(1, round(length * zoom)) for length in shape]
    return F.interpolate(
        F.interpolate(x, size=small, mode="nearest-exact"),
        size=shape,
        mode=_LINEAR[len(shape)],
        align_corners=False,
    )
