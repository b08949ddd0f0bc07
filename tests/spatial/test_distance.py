"""Signed distances: every pair of pixels, and both ways of finding them."""

import numpy as np
import pytest
import torch

from unetkit.spatial.distance import _on_device, signed_distance


def naive(inside: np.ndarray, known: np.ndarray) -> np.ndarray:
    field = np.zeros(inside.shape)
    ins, outs = np.argwhere(inside & known), np.argwhere(~inside & known)
    if len(ins) and len(outs):
        for place in outs:
            field[tuple(place)] = np.sqrt(((ins - place) ** 2).sum(1)).min()
        for place in ins:
            field[tuple(place)] = 1 - np.sqrt(((outs - place) ** 2).sum(1)).min()
    return field


@pytest.mark.parametrize("size", [(11,), (9, 8), (6, 5, 7)])
@pytest.mark.parametrize("chance", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("masked", [False, True])
def test_both_ways_agree_with_a_search_of_every_pair(size, chance, masked):
    rng = np.random.default_rng(int(100 * chance))
    inside = rng.random((3, *size)) < chance
    inside[0] = False
    inside[0][tuple(slice(n // 3, 2 * n // 3 + 1) for n in size)] = True
    known = rng.random(inside.shape) < 0.6 if masked else np.ones_like(inside)
    wanted = np.stack([naive(own, mask) for own, mask in zip(inside, known, strict=True)])
    mask = torch.from_numpy(known) if masked else None
    for way in (signed_distance, _on_device):
        field = way(torch.from_numpy(inside), mask)
        assert field.dtype == torch.float32
        np.testing.assert_allclose(field.numpy(), wanted, rtol=1e-6, atol=1e-6)


def test_without_a_boundary_nothing_is_far():
    for way in (signed_distance, _on_device):
        for value in (False, True):
            assert (way(torch.full((1, 4, 5), value)) == 0).all()
