"""The boundary loss: by hand, by a search of every pair of pixels, by the paper's equation."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from unetkit.losses.boundary import boundary


def naive_field(inside: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Signed distances by asking every pixel about every other."""
    field = np.zeros(inside.shape)
    ins, outs = np.argwhere(inside & known), np.argwhere(~inside & known)
    if len(ins) and len(outs):
        for place in outs:
            field[tuple(place)] = np.sqrt(((ins - place) ** 2).sum(1)).min()
        for place in ins:
            field[tuple(place)] = 1 - np.sqrt(((outs - place) ** 2).sum(1)).min()
    return field


@pytest.mark.parametrize("shape", [(2, 3, 7, 6), (2, 2, 4, 5, 6)])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("background", [0, 1])
def test_by_a_search_of_every_pair(shape, masked, background):
    rng = np.random.default_rng(1)
    logits = rng.normal(size=shape)
    target = (rng.random((shape[0], *shape[2:])) < 0.3) * rng.integers(1, shape[1], (shape[0], *shape[2:]))
    known = rng.random(target.shape) > 0.4 if masked else np.ones(target.shape, bool)
    share, total = softmax(logits, axis=1), 0.0
    for row in range(shape[0]):
        for k in range(1 - background, shape[1]):
            here = target[row] == k
            total += ((share[row, k] - here) * naive_field(here, known[row])).sum()
    wanted = total / known.sum() / (shape[1] - 1 + background)
    mask = torch.from_numpy(known) if masked else None
    found = boundary(torch.from_numpy(logits), torch.from_numpy(target), mask, background=background)
    assert found.item() == pytest.approx(wanted, rel=1e-6)
    assert wanted > 0


def test_its_gradient_is_that_of_the_paper():
    """Equation 5: the sum of probability times distance; the constant has no slope."""
    target = torch.zeros(1, 9, 9, dtype=torch.long)
    target[0, 2:6, 3:8] = 1
    logits = torch.randn(1, 2, 9, 9, generator=torch.Generator().manual_seed(0), requires_grad=True)
    field = torch.from_numpy(naive_field(target[0].numpy() == 1, np.ones((9, 9), bool))).float()
    (wanted,) = torch.autograd.grad((logits.softmax(1)[0, 1] * field).mean(), logits)
    (found,) = torch.autograd.grad(boundary(logits, target), logits)
    torch.testing.assert_close(found, wanted)


def test_of_a_soft_target_the_object_is_where_a_class_has_more_than_half():
    share = torch.tensor([0.0, 0.4, 0.6, 1.0]).view(1, 1, 4, 1)
    soft = torch.cat((1 - share, share), dim=1)
    logits = torch.randn(1, 2, 4, 1, generator=torch.Generator().manual_seed(0))
    hard = torch.tensor([0, 0, 1, 1]).view(1, 4, 1)
    assert boundary(logits, soft).item() == boundary(logits, hard).item()


def test_a_class_without_a_boundary_costs_nothing():
    logits = torch.randn(1, 2, 5, 5)
    for k in (0, 1):
        assert boundary(logits, torch.full((1, 5, 5), k), background=1).item() == 0
