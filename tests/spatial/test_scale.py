"""Scales: against scipy and by hand, on odd sizes, on single axes, in both memory formats."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from unetkit.spatial.memory_format import arranged, channels_last, memory_format
from unetkit.spatial.scale import enlarged, gaussian_taps, max_pooled, reduced, spread_blocks, subsampled

STRIDES = {2: [(2, 2), (1, 2), (3, 1), (1, 1)], 3: [(2, 2, 2), (1, 2, 2), (1, 4, 2)]}
CASES = [(rank, stride) for rank, strides in STRIDES.items() for stride in strides]


def pixels(rank: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(rank)
    return torch.randn(2, 3, *(7, 9, 10)[:rank], generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("rank", "stride"), CASES)
def test_a_pyramid_level_is_scipys_gaussian_at_every_strideth_pixel(rank, stride):
    x = pixels(rank)
    sigma = [step / 2 if step > 1 else 0.0 for step in stride]
    radius = [int(np.ceil(1.5 * step)) if step > 1 else 0 for step in stride]
    wanted = ndimage.gaussian_filter(x.numpy(), [0, 0, *sigma], mode="nearest", radius=[0, 0, *radius])
    where = (slice(None), slice(None), *(slice(None, None, step) for step in stride))
    np.testing.assert_allclose(reduced(x, stride), wanted[where], rtol=1e-10, atol=1e-12)


def test_the_gaussian_at_stride_two_has_the_variance_of_the_published_kernel():
    taps = gaussian_taps(1.0, radius=3)
    assert sum(taps) == pytest.approx(1.0)
    published = [1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16]
    assert sum(tap * at**2 for at, tap in zip(range(-2, 3), published, strict=True)) == 1.0
    assert sum(tap * at**2 for at, tap in zip(range(-3, 4), taps, strict=True)) == pytest.approx(1, rel=0.03)


@pytest.mark.parametrize(("rank", "stride"), CASES)
def test_enlarging_is_linear_between_pixels_at_multiples_of_the_stride(rank, stride):
    size = (7, 9, 10)[:rank]
    x = subsampled(pixels(rank), stride)
    where = np.meshgrid(
        *(np.minimum(np.arange(n) / s, -(-n // s) - 1) for n, s in zip(size, stride, strict=True)),
        indexing="ij",
    )
    got = enlarged(x, stride, size)
    for channel in range(3):
        wanted = ndimage.map_coordinates(x[0, channel].numpy(), where, order=1, mode="nearest")
        np.testing.assert_allclose(got[0, channel], wanted, rtol=1e-10, atol=1e-12)
    assert torch.equal(subsampled(got, stride), x)


@pytest.mark.parametrize(("rank", "stride"), CASES)
def test_max_pooling_is_a_loop_over_blocks(rank, stride):
    x = pixels(rank)
    got = max_pooled(x, stride)
    assert got.shape[2:] == tuple(-(-n // s) for n, s in zip(x.shape[2:], stride, strict=True))
    for place in np.ndindex(*got.shape[2:]):
        block = tuple(slice(i * s, (i + 1) * s) for i, s in zip(place, stride, strict=True))
        wanted = x[(slice(None), slice(None), *block)].flatten(2).amax(2)
        assert torch.equal(got[(slice(None), slice(None), *place)], wanted)


@pytest.mark.parametrize("rank", [2, 3])
def test_pooling_and_enlarging_keep_channels_last(rank):
    x = arranged(torch.randn(2, 3, *(4, 8, 8)[-rank:]), "channels_last")
    for y in (max_pooled(x, (2,) * rank), enlarged(x, (2,) * rank, (8, 16, 16)[-rank:]).contiguous()):
        assert y.shape[:2] == (2, 3)
    assert memory_format(max_pooled(x, (2,) * rank)) == channels_last(rank)


def test_a_single_pixel_is_its_own_pyramid():
    x = torch.full((1, 1, 1, 1), 3.0)
    torch.testing.assert_close(reduced(x, (2, 2)), x)
    assert enlarged(x, (2, 2), (2, 1)).flatten().tolist() == [3.0, 3.0]


@pytest.mark.parametrize("block", [(2, 2), (1, 2), (3, 1), (2, 1, 3)])
def test_blocks_of_a_convolution_are_those_of_a_transposed_one(block):
    rank = len(block)
    x = pixels(rank)
    kernel = torch.randn(3, 4, *block, dtype=torch.float64)
    transposed = {2: torch.nn.functional.conv_transpose2d, 3: torch.nn.functional.conv_transpose3d}[rank]
    flat = kernel.movedim(0, -1).flatten(0, -2)  # (4 · block, 3)
    blocks = torch.einsum("kc,bc...->bk...", flat, x)
    torch.testing.assert_close(spread_blocks(blocks, block), transposed(x, kernel, stride=block))
