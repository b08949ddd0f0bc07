"""Pixel losses: by hand, by a naive loop, by identity."""

import math

import numpy as np
import pytest
import torch

from unetkit.losses.pixel import cross_entropy, focal, top_k

LOG_ODDS = math.log(3.0)  # softmax of (0, log 3) is (1/4, 3/4)


def by_hand() -> tuple[torch.Tensor, torch.Tensor]:
    """Two pixels that say (1/4, 3/4); the first is of class 1, the second of class 0."""
    logits = torch.tensor([0.0, LOG_ODDS]).view(1, 2, 1, 1).expand(1, 2, 1, 2)
    return logits, torch.tensor([[[1, 0]]])


def naive(logits: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> list[tuple[float, float, int]]:
    """For each known pixel: cross-entropy, probability of the true class, the true class."""
    rows = []
    for place in np.ndindex(*target.shape):
        if known[place]:
            values = logits[place[0]][(slice(None), *place[1:])].double().numpy()
            shares = np.exp(values - values.max())
            share = (shares / shares.sum())[int(target[place])]
            rows.append((-math.log(share), share, int(target[place])))
    return rows


@pytest.fixture(params=[(2, 3, 4, 5), (1, 4, 3, 2, 4)], ids=["rank2", "rank3"])
def batch(request) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = request.param
    logits = 3 * torch.randn(shape, generator=generator)
    target = torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator)
    known = torch.rand(target.shape, generator=generator) > 0.3
    return logits, target, known


def test_cross_entropy_by_hand():
    logits, target = by_hand()
    assert cross_entropy(logits, target).item() == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)
    only_first = torch.tensor([[[True, False]]])
    assert cross_entropy(logits, target, only_first).item() == pytest.approx(math.log(4 / 3))


def test_cross_entropy_by_loop(batch):
    wanted = np.mean([entropy for entropy, _, _ in naive(*batch)])
    assert cross_entropy(*batch).item() == pytest.approx(wanted, rel=1e-5)


def test_focal_by_hand():
    logits, target = by_hand()
    wanted = (math.log(4 / 3) / 4**2 + math.log(4) * (3 / 4) ** 2) / 2
    assert focal(logits, target).item() == pytest.approx(wanted)
    weighted = (0.9 * math.log(4 / 3) / 4**2 + 0.1 * math.log(4) * (3 / 4) ** 2) / 2
    assert focal(logits, target, alpha=0.9).item() == pytest.approx(weighted)


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, None), (0.5, 0.25), (3.0, 0.75)])
def test_focal_by_loop(batch, gamma, alpha):
    def weight(k: int) -> float:
        return 1.0 if alpha is None else alpha if k else 1 - alpha

    wanted = np.mean([weight(k) * (1 - share) ** gamma * entropy for entropy, share, k in naive(*batch)])
    assert focal(*batch, gamma=gamma, alpha=alpha).item() == pytest.approx(wanted, rel=1e-5)


def test_focal_without_focus_is_cross_entropy(batch):
    assert focal(*batch, gamma=0.0).item() == pytest.approx(cross_entropy(*batch).item(), rel=1e-6)


def test_focal_of_a_certain_pixel_has_a_finite_gradient():
    logits = torch.tensor([0.0, 90.0]).view(1, 2, 1, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(focal(logits, torch.ones(1, 1, 1, dtype=torch.long), gamma=0.5), logits)
    assert gradient.isfinite().all()


def test_top_k_by_hand():
    logits, target = by_hand()
    assert top_k(logits, target, share=0.5).item() == pytest.approx(math.log(4))
    assert top_k(logits, target, share=0.51).item() == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.4, 1.0])
def test_top_k_by_loop(batch, share):
    hardest = sorted((entropy for entropy, _, _ in naive(*batch)), reverse=True)
    wanted = np.mean(hardest[: max(1, math.ceil(share * len(hardest)))])
    assert top_k(*batch, share=share).item() == pytest.approx(wanted, rel=1e-5)


def test_top_k_of_everything_is_cross_entropy(batch):
    assert top_k(*batch, share=1.0).item() == pytest.approx(cross_entropy(*batch).item(), rel=1e-5)
