from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from unetkit.errors import UsageError
from unetkit.training.optimizer import (
    OPTIMIZERS,
    aligned_gradient,
    build_optimizer,
    clip,
    cosine,
    learning_rate,
    poly,
    set_learning_rate,
)


def test_poly_is_nnunets_schedule(small):
    training = small.training_plan(optimizer="sgd", learning_rate=0.01)
    for epoch in (0, 1, 500, 999):
        expected = 0.01 * (1 - epoch / 1000) ** 0.9  # PolyLRScheduler of nnU-Net 2
        assert learning_rate(training, epoch / 1000) == pytest.approx(expected, rel=1e-12)
    assert poly(0.5) == pytest.approx(0.535887, abs=1e-6)


def test_cosine_agrees_with_torch_and_with_the_hand():
    assert cosine(0.0) == 1.0
    assert cosine(0.5) == pytest.approx(0.5)
    assert cosine(1.0, 0.1) == pytest.approx(0.0)
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    for step in range(20):
        assert cosine(step / 20) == pytest.approx(theirs.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        theirs.step()


def test_warm_up_rises_in_a_straight_line_and_joins_the_cosine():
    assert cosine(0.0, 0.1) == pytest.approx(0.01)
    assert cosine(0.05, 0.1) == pytest.approx(0.01 + 0.99 / 2)
    assert cosine(0.1 - 1e-9, 0.1) == pytest.approx(1.0, abs=1e-6)
    assert cosine(0.1, 0.1) == 1.0
    falling = [cosine(progress, 0.1) for progress in np.linspace(0.1, 1.0, 50)]
    assert falling == sorted(falling, reverse=True)


def test_an_unknown_optimizer_is_answered_with_the_nearest(small):
    with pytest.raises(UsageError, match=r"there is no optimizer 'adam'.*use 'adamw'"):
        learning_rate(small.training_plan(optimizer="adam"), 0.0)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_sgd_takes_nnunets_step(small, memory_format):
    """v = 0.99 v + g + w λ;  w = w - lr (g + w λ + 0.99 v), written out in float64."""
    network = nn.Conv2d(3, 4, 3).to(memory_format=memory_format)
    optimizer = build_optimizer(network, small.training_plan(optimizer="sgd", weight_decay=3e-5))
    weights = [weight.detach().double() for weight in network.parameters()]
    speeds = [torch.zeros_like(weight) for weight in weights]
    for step in range(5):
        rate = set_learning_rate(optimizer, 0.01 * (1 - step / 5) ** 0.9)
        for index, weight in enumerate(network.parameters()):
            made = torch.randn(weight.shape, generator=torch.Generator().manual_seed(10 * step + index))
            weight.grad = torch.empty_like(weight).copy_(made)
            slope = made.double() + 3e-5 * weights[index]
            speeds[index] = 0.99 * speeds[index] + slope
            weights[index] = weights[index] - rate * (slope + 0.99 * speeds[index])
        optimizer.step()
    for weight, expected in zip(network.parameters(), weights, strict=True):
        torch.testing.assert_close(weight.detach().double(), expected, rtol=1e-5, atol=1e-6)


def test_adamw_takes_loshchilovs_step_and_spares_norms_and_biases(small):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    optimizer = build_optimizer(network, small.training_plan(optimizer="adamw", weight_decay=0.1))
    set_learning_rate(optimizer, 0.01)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    for weight in network.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    for name, weight in network.named_parameters():
        decay = 0.1 if weight.ndim > 1 else 0.0
        expected = before[name] * (1 - 0.01 * decay) - 0.01  # first step: m / sqrt(v) = 1
        torch.testing.assert_close(weight.detach(), expected, rtol=1e-5, atol=1e-6)
    decays = {group["weight_decay"]: len(group["params"]) for group in optimizer.param_groups}
    assert decays == {0.1: 1, 0.0: 3}


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer_lowers_a_loss_and_leaves_frozen_weights(small, name):
    network = small.small_network().eval()
    network[0].bias.requires_grad_(False)
    frozen = network[0].bias.clone()
    optimizer = build_optimizer(network, small.training_plan(optimizer=name))
    losses = []
    for _ in range(20):
        loss = network(torch.ones(1, 1, 8, 8)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert torch.equal(network[0].bias, frozen)


def test_a_weight_without_a_gradient_at_first_does_not_upset_sgd(small):
    network = small.small_network()
    optimizer = build_optimizer(network, small.training_plan(optimizer="sgd"))
    network[0].weight.grad = torch.ones_like(network[0].weight)
    optimizer.step()
    for weight in network.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    assert all(bool(weight.isfinite().all()) for weight in network.parameters())


def test_clip_equals_torchs_own(small):
    for limit in (0.1, 1e6, 0.0):
        ours, theirs = small.small_network(), small.small_network()
        for network in (ours, theirs):
            network.eval()(torch.ones(1, 1, 8, 8)).square().sum().backward()
        norm = clip(ours.parameters(), limit, torch.tensor(1.0))
        expected = nn.utils.clip_grad_norm_(theirs.parameters(), limit or math.inf)
        assert norm == pytest.approx(float(expected), rel=1e-6)
        for mine, its in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, its.grad)
    flat = torch.cat([weight.grad.flatten() for weight in ours.parameters()])
    assert norm == pytest.approx(float(np.linalg.norm(flat.numpy().astype(np.float64))), rel=1e-5)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_shows_in_the_norm(small, loss):
    network = small.small_network()
    network[0].weight.grad = torch.ones_like(network[0].weight)
    assert not math.isfinite(clip(network.parameters(), 1.0, torch.tensor(loss)))


def test_a_gradient_in_another_memory_order_is_put_right(small):
    """Torch's fused CPU step takes no notice of strides; ours must not depend on who made the gradient."""
    results = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        network = nn.Conv2d(3, 4, 3, bias=False).to(memory_format=memory_format)
        optimizer = build_optimizer(network, small.training_plan(optimizer="sgd"))
        network.weight.grad = torch.arange(108.0).reshape(4, 3, 3, 3)
        assert aligned_gradient(network.weight).stride() == network.weight.stride()
        optimizer.step()
        results.append(network.weight.detach().contiguous())
    torch.testing.assert_close(*results)
