"""Erosion and dilation against scipy, and their gradients against torch's pooling."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional as F

from unetkit.spatial.morphology import dilate, erode

SHAPES = [(2, 3, 7, 5), (2, 2, 4, 5, 6), (1, 1, 1, 4), (1, 2, 3, 1, 2)]
POOL = {2: F.max_pool2d, 3: F.max_pool3d}


def maps(shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def pooled_erosion(x):
    rank = x.ndim - 2
    lines = []
    for axis in range(rank):
        kernel = [3 if other == axis else 1 for other in range(rank)]
        lines.append(-POOL[rank](-x, kernel, 1, [size // 2 for size in kernel]))
    return torch.stack(lines).amin(0)


@pytest.mark.parametrize("shape", SHAPES)
def test_values_agree_with_scipy(shape):
    x = maps(shape)
    cross = ndimage.generate_binary_structure(x.ndim - 2, 1)
    for image, eroded, dilated in zip(
        x.flatten(0, 1), *(f(x).flatten(0, 1) for f in (erode, dilate)), strict=True
    ):
        least = ndimage.grey_erosion(image.numpy(), footprint=cross, mode="constant", cval=np.inf)
        most = ndimage.grey_dilation(image.numpy(), size=(3,) * image.ndim, mode="constant", cval=-np.inf)
        assert np.array_equal(eroded.numpy(), least)
        assert np.array_equal(dilated.numpy(), most)


@pytest.mark.parametrize("shape", SHAPES[:2])
def test_gradients_agree_with_pooling(shape):
    x, weight = maps(shape).requires_grad_(), maps(shape).flip(-1)
    rank = len(shape) - 2
    for own, torchs in ((erode, pooled_erosion), (dilate, lambda x: POOL[rank](x, 3, 1, 1))):
        found, wanted = (torch.autograd.grad((f(x) * weight).sum(), x)[0] for f in (own, torchs))
        torch.testing.assert_close(found, wanted)


def test_ties_share_the_gradient():
    x = torch.tensor([1.0, 0.0, 0.0]).view(1, 1, 1, 3).requires_grad_()
    (gradient,) = torch.autograd.grad(erode(x).sum(), x)
    assert gradient.flatten().tolist() == [0.0, 1 + 0.5 + 0.5, 0.5 + 0.5]


def test_the_memory_format_stays():
    x = maps((2, 3, 6, 5)).contiguous(memory_format=torch.channels_last)
    assert erode(x).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(dilate(x), dilate(x.contiguous()))
