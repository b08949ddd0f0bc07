"""The unified focal loss: by the paper's formulas, pixel by pixel, and by identity."""

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax

from unetkit.losses.pixel import cross_entropy
from unetkit.losses.unified import unified_focal


@pytest.fixture(params=[(2, 3, 4, 5), (2, 2, 3, 4, 3)], ids=["rank2", "rank3"])
def batch(request):
    generator = torch.Generator().manual_seed(3)
    shape = request.param
    logits = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    target = torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator)
    known = torch.rand(target.shape, generator=generator) > 0.3
    return logits, target, known


def naive(logits, target, known, *, asymmetric, weight, delta, gamma) -> float:
    """Modified focal loss and modified focal Tversky loss as the paper writes them."""
    probability, entropies, tversky = softmax(logits.numpy(), axis=1), [], []
    for place in np.ndindex(*target.shape):
        if known[place]:
            k = int(target[place])
            p = probability[place[0]][(k, *place[1:])]
            focus = 1.0 if asymmetric and k else (1 - p) ** gamma
            entropies.append((delta if k else 1 - delta) * focus * -math.log(p))
    for row in range(len(logits)):
        for k in range(logits.shape[1]):
            here, mask = (target[row] == k).numpy(), known[row].numpy()
            p = probability[row, k]
            both, missed = (p * here)[mask].sum(), ((1 - p) * here)[mask].sum()
            extra = (p * ~here)[mask].sum()
            loss = 1 - (both + 1e-7) / (both + delta * missed + (1 - delta) * extra + 1e-7)
            tversky.append(loss if asymmetric and not k else loss ** (1 - gamma))
    return weight * float(np.mean(tversky)) + (1 - weight) * float(np.mean(entropies))


@pytest.mark.parametrize("asymmetric", [0, 1])
@pytest.mark.parametrize(("weight", "delta", "gamma"), [(0.5, 0.6, 0.5), (0.3, 0.7, 0.2), (1, 0.6, 0.75)])
def test_by_the_formulas_of_the_paper(batch, asymmetric, weight, delta, gamma):
    options = {"asymmetric": asymmetric, "weight": weight, "delta": delta, "gamma": gamma}
    assert unified_focal(*batch, **options).item() == pytest.approx(naive(*batch, **options), rel=1e-9)


def test_without_focus_and_with_even_prices_it_is_half_the_cross_entropy(batch):
    even = {"weight": 0, "delta": 0.5, "gamma": 0}
    for asymmetric in (0, 1):
        loss = unified_focal(*batch, asymmetric=asymmetric, **even)
        assert loss.item() == pytest.approx(cross_entropy(*batch).item() / 2)
