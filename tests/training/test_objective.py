from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from unetkit.data.patches import Batch
from unetkit.errors import UsageError
from unetkit.losses.overlap import dice
from unetkit.losses.pixel import cross_entropy
from unetkit.records.plan import LossTerm, ObjectivePlan
from unetkit.runtimes.devices import Layout
from unetkit.training.objective import (
    at_size,
    build_objective,
    deep_supervision_weights,
    output_weights,
    outputs,
)


class Fixed(nn.Module):
    """Answers with logits that were given to it, whatever it is shown."""

    def __init__(self, *logits):
        super().__init__()
        self.logits = [nn.Parameter(level) for level in logits]

    def forward(self, pixels):
        return self.logits[0] if len(self.logits) == 1 else self.logits


def batch_of(*size: int, known: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(1)
    target = torch.randint(0, 3, (2, *size), generator=generator)
    mask = torch.rand(2, *size, generator=generator) > 0.4 if known else None
    return Batch(torch.zeros(2, 1, *size), target, mask, ("a", "b"))


def logits_of(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(8, 8), (4, 6, 8)])
def test_one_output_is_the_weighted_losses(size):
    plan = ObjectivePlan(
        losses=(LossTerm(name="dice", weight=0.7), LossTerm(name="cross_entropy", weight=0.3))
    )
    batch, logits = batch_of(*size, known=True), logits_of(*size)
    terms = build_objective(plan, Layout()).terms(Fixed(logits), batch)
    torch.testing.assert_close(terms["dice"], 0.7 * dice(logits, batch.target, batch.known))
    torch.testing.assert_close(terms["cross_entropy"], 0.3 * cross_entropy(logits, batch.target, batch.known))
    assert all(term.dtype == torch.float32 and term.ndim == 0 for term in terms.values())


def test_deep_outputs_are_weighted_by_halves_and_the_coarsest_is_left_out():
    batch = batch_of(8, 12)
    levels = [logits_of(8, 12), logits_of(4, 6, seed=1), logits_of(2, 3, seed=2)]
    network = Fixed(*levels)
    plan = ObjectivePlan(losses=(LossTerm(name="cross_entropy"),))
    total = build_objective(plan, Layout()).terms(network, batch)["cross_entropy"]
    by_hand = 2 / 3 * nn.functional.cross_entropy(levels[0], batch.target)
    by_hand += 1 / 3 * nn.functional.cross_entropy(levels[1], batch.target[:, ::2, ::2])
    torch.testing.assert_close(total, by_hand)
    total.backward()
    assert network.logits[2].grad is None


def test_outputs_of_a_nested_decoder_count_alike_against_the_whole_label():
    batch = batch_of(8, 12, known=True)
    levels = [logits_of(8, 12, seed=seed) for seed in range(4)]
    network = Fixed(*levels)
    plan = ObjectivePlan(losses=(LossTerm(name="cross_entropy"),))
    total = build_objective(plan, Layout()).terms(network, batch)["cross_entropy"]
    by_hand = sum(cross_entropy(level, batch.target, batch.known) for level in levels) / 4
    torch.testing.assert_close(total, by_hand)
    total.backward()
    assert all(level.grad.abs().max() > 0 for level in network.logits)


def test_outputs_of_one_resolution_share_its_weight():
    sizes = [(8, 8), (8, 8), (4, 4), (2, 2)]
    assert output_weights(sizes) == pytest.approx((1 / 3, 1 / 3, 1 / 3, 0))
    distinct = [(16, 9), (8, 9), (4, 5), (2, 3), (1, 2)]
    assert output_weights(distinct) == deep_supervision_weights(5)


def test_weights_of_the_resolutions_by_hand():
    assert deep_supervision_weights(1) == (1.0,)
    assert deep_supervision_weights(2) == pytest.approx((2 / 3, 1 / 3))
    assert deep_supervision_weights(3) == pytest.approx((2 / 3, 1 / 3, 0))
    # nnU-Net: 1, 1/2, 1/4, 1/8, 0 over 15/8
    assert deep_supervision_weights(5) == pytest.approx((8 / 15, 4 / 15, 2 / 15, 1 / 15, 0))


@settings(deadline=None, max_examples=40)
@given(count=st.integers(1, 12))
def test_weights_of_the_resolutions_sum_to_one_and_fall(count):
    weights = deep_supervision_weights(count)
    assert sum(weights) == pytest.approx(1.0)
    assert list(weights) == sorted(weights, reverse=True)


@pytest.mark.parametrize("known", [False, True])
def test_unknown_pixels_have_no_say(known):
    batch = batch_of(8, 8, known=True)
    wrong = torch.where(batch.known, batch.target, (batch.target + 1) % 3)
    other = Batch(batch.pixels, wrong if known else batch.target, batch.known, batch.cases)
    objective = build_objective(ObjectivePlan(), Layout())
    networks = [Fixed(logits_of(8, 8), logits_of(4, 4, seed=1)) for _ in range(2)]
    for network, shown in zip(networks, (batch, other), strict=True):
        torch.stack(list(objective.terms(network, shown).values())).sum().backward()
    for mine, its in zip(networks[0].logits, networks[1].logits, strict=True):
        assert torch.equal(mine.grad, its.grad)
    unknown = ~batch.known[:, None].expand(-1, 3, -1, -1)
    assert float(networks[0].logits[0].grad[unknown].abs().max()) == 0.0


@settings(deadline=None, max_examples=60)
@given(length=st.integers(1, 40), halvings=st.integers(0, 3))
def test_labels_follow_strides_of_any_length(length, halvings):
    stride = 2**halvings
    wanted = -(-length // stride)
    labels = torch.arange(length).expand(2, 3, length)
    small = at_size(labels, (3, wanted))
    if wanted > 1:
        assert small[0, 0].tolist() == list(range(length))[::stride]
    assert small.shape == (2, 3, wanted)


def test_a_size_no_stride_explains_takes_the_nearest_centre():
    labels = torch.arange(7)[None]
    expected = [int((index + 0.5) * 7 / 5) for index in range(5)]  # pixel that holds the centre
    assert at_size(labels, (5,))[0].tolist() == expected
    volume = torch.arange(2 * 7 * 9 * 5).reshape(2, 7, 9, 5)
    rows = np.ix_([0, 1], expected, [0, 2, 4, 6, 8], range(5))
    assert np.array_equal(at_size(volume, (5, 5, 5)).numpy(), volume.numpy()[rows])


def test_autocast_covers_the_network_and_nothing_else():
    seen = []

    class Watching(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(1, 3, 1)

        def forward(self, pixels):
            seen.append((torch.is_autocast_enabled("cpu"), pixels.stride()))
            return self.layer(pixels)

    layout = Layout("bfloat16", "channels_last")
    network, batch = Watching(), batch_of(8, 8)
    assert outputs(network, batch.pixels, layout)[0].dtype == torch.bfloat16
    terms = build_objective(ObjectivePlan(), layout).terms(network, batch)
    assert seen[-1][0] is True
    assert not torch.is_autocast_enabled("cpu")
    assert all(term.dtype == torch.float32 for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    assert network.layer.weight.grad.dtype == torch.float32


def test_one_loss_twice_is_two_terms():
    plan = ObjectivePlan(losses=(LossTerm(name="dice"), LossTerm(name="dice", weight=2.0)))
    terms = build_objective(plan, Layout()).terms(Fixed(logits_of(8, 8)), batch_of(8, 8))
    assert sorted(terms) == ["dice", "dice_1"]
    torch.testing.assert_close(terms["dice_1"], 2 * terms["dice"])


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(UsageError, match=r"there is no objective 'supervise'.*use 'supervised'"):
        build_objective(ObjectivePlan(name="supervise"), Layout())
    with pytest.raises(UsageError, match=r"there is no loss 'dise'.*use 'dice'"):
        build_objective(ObjectivePlan(losses=(LossTerm(name="dise"),)), Layout())


@pytest.mark.parametrize("size", [(8, 8), (4, 6, 8)])
def test_shares_of_classes_are_seen_by_every_resolution(size):
    """A soft target of 0 and 1 trains like class ids, and a coarser output sees the shares at its pixels."""
    batch, half = batch_of(*size, known=True), tuple(length // 2 for length in size)
    hot = nn.functional.one_hot(batch.target, 3).movedim(-1, 1).float()
    soft = Batch(batch.pixels, hot, batch.known, batch.cases)
    coarse = at_size(hot, half)
    assert torch.equal(coarse.argmax(1), at_size(batch.target, half))
    assert torch.equal(coarse, hot[(..., *(slice(None, None, 2),) * len(size))])
    network, objective = (
        Fixed(logits_of(*size), logits_of(*half, seed=1)),
        build_objective(ObjectivePlan(), Layout()),
    )
    hard_terms, soft_terms = objective.terms(network, batch), objective.terms(network, soft)
    for name, term in hard_terms.items():
        torch.testing.assert_close(soft_terms[name], term)
