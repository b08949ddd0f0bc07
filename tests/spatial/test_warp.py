"""Warp: exact identities, and scipy as the second opinion, for 2 and 3 axes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from unetkit.spatial.warp import coarsen, gaussian_blur, positions, pull, smooth_field


def image(shape, batch=1, channels=2, seed=0):
    return torch.rand((batch, channels, *shape), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(7, 9), (5, 6, 7)])
def test_identity_reads_the_same_pixels(shape):
    x, rank = image(shape), len(shape)
    ids = torch.randint(0, 300, (1, *shape))
    centre = (torch.tensor(shape, dtype=torch.float32) - 1)[None] / 2
    got, got_ids = pull(x, ids, positions(torch.eye(rank)[None], centre, shape))
    torch.testing.assert_close(got, x, atol=1e-5, rtol=0)
    assert torch.equal(got_ids, ids)


@pytest.mark.parametrize("shape", [(12, 15), (8, 9, 10)])
def test_pull_equals_scipy(shape):
    rank, out = len(shape), tuple(n - 2 for n in shape)
    x = image(shape, channels=1)
    matrix = torch.eye(rank) + 0.2 * torch.rand((rank, rank), generator=torch.Generator().manual_seed(1))
    centre = (torch.tensor(shape, dtype=torch.float32) - 1) / 2 + 0.3
    bend = image(out, channels=rank, seed=2) - 0.5
    where = positions(matrix[None], centre[None], out, bend)
    offsets = np.stack(np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in out], indexing="ij"))
    expected = np.einsum("ij,j...->i...", matrix.numpy(), offsets) + centre.numpy().reshape(-1, *(1,) * rank)
    expected += bend[0].numpy()
    np.testing.assert_allclose(where[0].numpy(), expected, atol=1e-5)
    got, _ = pull(x, torch.ones((1, *shape), dtype=torch.int64), where)
    scipys = ndimage.map_coordinates(x[0, 0].numpy(), expected, order=1, mode="grid-constant", cval=0.0)
    np.testing.assert_allclose(got[0, 0].numpy(), scipys, atol=1e-4)


def test_outside_is_zero_and_unknown():
    where = torch.tensor([[[[-0.6, -0.4, 1.4, 1.6]], [[0.0, 0.0, 0.0, 0.0]]]])
    x, ids = pull(torch.ones(1, 1, 2, 1), torch.full((1, 2, 1), 9), where)
    torch.testing.assert_close(x.flatten(), torch.tensor([0.4, 0.6, 0.6, 0.4]))
    assert ids.flatten().tolist() == [0, 9, 9, 0]


@pytest.mark.parametrize("shape", [(20, 30), (10, 1, 12)])
def test_blur_equals_scipy_with_a_sigma_per_item(shape):
    x, sigmas, axes = image(shape, batch=2), (0.6, 1.0), tuple(range(2, 2 + len(shape)))
    before = x.clone()
    got = gaussian_blur(x, torch.tensor(sigmas), radius=4)
    assert torch.equal(x, before)
    for item, sigma in enumerate(sigmas):
        for channel in range(2):
            single = x[item, channel].numpy().astype(np.float64)
            want = ndimage.gaussian_filter(single, sigma, mode="nearest", radius=4)
            np.testing.assert_allclose(got[item, channel].numpy(), want, atol=1e-5)
    torch.testing.assert_close(
        gaussian_blur(torch.ones(1, 1, *shape), torch.ones(1), radius=3).mean(axes), torch.ones(1, 1)
    )


@pytest.mark.parametrize("shape", [(8, 12), (4, 8, 12), (1, 8, 12)])
def test_coarsen_keeps_shape_constants_and_full_resolution(shape):
    x = image(shape)
    assert coarsen(x, 0.5).shape == x.shape
    torch.testing.assert_close(coarsen(x, 1.0), x)
    torch.testing.assert_close(coarsen(torch.full_like(x, 3.0), 0.6), torch.full_like(x, 3.0))
    assert coarsen(x, 0.5).var() < x.var()


@pytest.mark.parametrize("shape", [(9, 13), (1, 9, 13), (7, 8, 9)])
def test_smooth_field_stays_in_range_and_keeps_constants(shape):
    control = (
        torch.rand((3, len(shape), *(6,) * len(shape)), generator=torch.Generator().manual_seed(4)) * 2 - 1
    )
    field = smooth_field(control, shape)
    assert field.shape == (3, len(shape), *shape)
    assert field.abs().max() <= control.abs().max()
    torch.testing.assert_close(smooth_field(torch.ones_like(control), shape), torch.ones_like(field))


def test_flat_volumes_equal_pictures():
    x = image((16, 16))
    centre, turn = torch.tensor([[7.0, 8.0]]), torch.tensor([[[0.8, -0.6], [0.6, 0.8]]])
    solid = torch.eye(3)[None].clone()
    solid[:, 1:, 1:] = turn
    where = positions(turn, centre, (10, 10))
    deep = positions(solid, torch.cat([torch.zeros(1, 1), centre], 1), (1, 10, 10))
    flat = pull(x, torch.ones((1, 16, 16), dtype=torch.int64), where)
    thick = pull(x[:, :, None], torch.ones((1, 1, 16, 16), dtype=torch.int64), deep)
    torch.testing.assert_close(flat[0], thick[0][:, :, 0], atol=1e-5, rtol=0)
    assert torch.equal(flat[1], thick[1][:, 0])
