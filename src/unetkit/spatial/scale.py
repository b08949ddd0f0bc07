"""From one resolution to another: pool, take every n-th pixel, blur and take every n-th, interpolate back.

A strided convolution of odd kernel puts output ``i`` over input ``i · stride``, and so does everything here:
features, labels and images of one scale lie on top of each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from unetkit.spatial.layers import LAYERS, cropped
from unetkit.spatial.memory_format import memory_format
from unetkit.spatial.tracing import beyond, exported

_MAX_POOL = {2: F.max_pool2d, 3: F.max_pool3d}


def max_pooled(x: Tensor, stride: Sequence[int]) -> Tensor:
    """The largest value of each block, in the input's memory format; the last block may be a smaller one.

    Args:
        x: ``(B, C, *S)``.
        stride: Pixels per axis of a block.

    Returns:
        ``(B, C, *S / stride)``, rounded up.

    Example:
        >>> max_pooled(torch.arange(5.0).reshape(1, 1, 1, 5), (1, 2)).flatten().tolist()
        [1.0, 3.0, 4.0]
    """
    if all(step == 1 for step in stride):
        return x
    if exported():  # OpenVINO refuses a block larger than the image
        return _MAX_POOL[len(stride)](F.pad(x, beyond(x, stride), value=-math.inf), tuple(stride))
    pooled = _MAX_POOL[len(stride)](x, tuple(stride), ceil_mode=True)
    return pooled.contiguous(memory_format=memory_format(x))


def max_pooled_wide(x: Tensor, stride: Sequence[int]) -> Tensor:
    """The largest value of each window of ``stride + 1`` pixels from pixel ``i · stride`` on.

    Args:
        x: ``(B, C, *S)``.
        stride: Pixels per axis from one window to the next; an axis of stride 1 is left as it is.

    Returns:
        ``(B, C, *S / stride)``, rounded up, in the input's memory format.

    Example:
        >>> max_pooled_wide(torch.arange(6.0).reshape(1, 1, 1, 6), (1, 2)).flatten().tolist()
        [2.0, 4.0, 5.0]
    """
    if all(step == 1 for step in stride):
        return x
    behind = [number for step in reversed(stride) for number in (0, step if step > 1 else 0)]
    window = tuple(step + 1 if step > 1 else 1 for step in stride)
    pooled = _MAX_POOL[len(stride)](F.pad(x, behind, value=-math.inf), window, tuple(stride))
    return pooled.contiguous(memory_format=memory_format(x))


def subsampled(x: Tensor, stride: Sequence[int]) -> Tensor:
    """Every ``stride``-th pixel from the first one, as a view.

    Args:
        x: ``(B, C, *S)``.
        stride: Pixels per axis.

    Returns:
        ``(B, C, *S / stride)``, rounded up.

    Example:
        >>> subsampled(torch.arange(5.0).reshape(1, 1, 1, 5), (1, 2)).flatten().tolist()
        [0.0, 2.0, 4.0]
    """
    return x[(slice(None), slice(None), *(slice(None, None, step) for step in stride))]


def enlarged(x: Tensor, stride: Sequence[int], size: Sequence[int]) -> Tensor:
    """Interpolate linearly, so that pixel ``i`` comes to lie at ``i · stride``; the outermost pixel goes on.

    Args:
        x: ``(B, C, *S)``.
        stride: Pixels per axis between two pixels of ``x``.
        size: Pixels per axis of the result, at most ``S · stride``.

    Returns:
        ``(B, C, *size)``, in the input's memory format.

    Example:
        >>> enlarged(torch.tensor([0.0, 2.0, 6.0]).reshape(1, 1, 1, 3), (1, 2), (1, 5)).flatten().tolist()
        [0.0, 1.0, 2.0, 4.0, 6.0]
    """
    if all(step == 1 for step in stride):
        return cropped(x, size)
    edge = [number for step in reversed(stride) for number in (0, int(step > 1))]
    wide = [n * step + 1 if step > 1 else n for n, step in zip(x.shape[2:], stride, strict=True)]
    mode = LAYERS[len(stride)].interpolation
    around = F.pad(x, edge, mode="replicate")
    whole = F.interpolate(around, size=wide, mode=mode, align_corners=True)
    return cropped(whole, size).contiguous(memory_format=memory_format(x))


def spread_blocks(x: Tensor, block: Sequence[int]) -> Tensor:
    """Lay out channels that hold a block of pixels each as these pixels.

    Args:
        x: ``(B, K · block, *S)``, the pixels of a block in order behind one another.
        block: Pixels per axis of a block.

    Returns:
        ``(B, K, *S · block)``.

    Reference:
        Shi et al., Sub-Pixel Convolutional Neural Network, CVPR 2016 (arXiv:1609.05158).

    Example:
        >>> spread_blocks(torch.arange(6.0).reshape(1, 2, 1, 3), (1, 2)).flatten().tolist()
        [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    """
    rank = len(block)
    if rank == 2 and block[0] == block[1]:
        return F.pixel_shuffle(x, block[0])  # one operation for an engine
    x = x.unflatten(1, (-1, *block))
    order = [
        axis for pair in zip(range(2 + rank, 2 + 2 * rank), range(2, 2 + rank), strict=True) for axis in pair
    ]
    x = x.permute(0, 1, *order)
    for axis in range(2, 2 + rank):
        x = x.flatten(axis, axis + 1)
    return x


def reduced(x: Tensor, stride: Sequence[int]) -> Tensor:
    """The next level of a Gaussian pyramid: blur along the strided axes, then take every ``stride``-th pixel.

    The Gaussian has a standard deviation of half the stride (1 pixel at stride 2, which is that of the
    published kernel 1-4-6-4-1) and is cut at 3 of them; the outermost pixel goes on.

    Args:
        x: ``(B, C, *S)``.
        stride: Pixels per axis; an axis of stride 1 is left as it is.

    Returns:
        ``(B, C, *S / stride)``, rounded up.

    Reference:
        Burt and Adelson, The Laplacian Pyramid as a Compact Image Code, IEEE Trans. Communications 1983.

    Example:
        >>> reduced(torch.ones(1, 1, 5, 7), (1, 2)).shape
        torch.Size([1, 1, 5, 4])
    """
    for axis, step in enumerate(stride, start=2):
        if step == 1:
            continue
        taps = gaussian_taps(step / 2, radius=math.ceil(1.5 * step))
        radius, length = len(taps) // 2, x.shape[axis]
        sides = [-1 if other != axis else radius for other in range(x.dim())]
        first, last = x.narrow(axis, 0, 1).expand(sides), x.narrow(axis, length - 1, 1).expand(sides)
        wide, reach = torch.cat((first, x, last), axis), (length - 1) // step * step + 1
        before = (slice(None),) * axis
        rows = [wide[(*before, slice(tap, tap + reach, step))] for tap in range(len(taps))]
        x = rows[radius] * taps[radius]
        for offset in range(1, radius + 1):
            x = torch.add(x, rows[radius - offset] + rows[radius + offset], alpha=taps[radius + offset])
    return x


def gaussian_taps(sigma: float, *, radius: int) -> tuple[float, ...]:
    """A sampled Gaussian of sum 1.

    Args:
        sigma: Standard deviation, pixels.
        radius: Half width, pixels.

    Example:
        >>> [round(tap, 3) for tap in gaussian_taps(1.0, radius=1)]
        [0.274, 0.452, 0.274]
    """
    raw = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(-radius, radius + 1)]
    return tuple(value / sum(raw) for value in raw)
