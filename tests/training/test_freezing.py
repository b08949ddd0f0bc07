"""Frozen stages keep every bit, statistics included; let go of, they learn; a resumed run is the same run."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from unetkit.errors import PreemptedError, UsageError
from unetkit.networks.unet import build
from unetkit.records.plan import NetworkPlan
from unetkit.records.run import Run
from unetkit.training.freezing import Freezing, encoder_stages, keeps_statistics, rate_factors
from unetkit.training.loop import fit
from unetkit.training.optimizer import OPTIMIZERS, build_optimizer, set_learning_rate


def unet(encoder="plain", norm="batch", rank=2):
    torch.manual_seed(0)
    plan = NetworkPlan(
        encoder=encoder,
        norm=norm,
        widths=(4, 4, 8),
        blocks=(1, 1, 1),
        decoder_blocks=(1, 1),
        kernels=((3,) * rank,) * 3,
        strides=((1,) * rank, *((2,) * rank,) * 2),
    )
    return build(plan, rank=rank, in_channels=1, classes=2)


def stage_of(network, name):
    """Number of the encoder stage a tensor of the state belongs to, None for the rest."""
    for number, blocks in enumerate(encoder_stages(network)):
        for block in blocks:
            prefix = next(path for path, module in network.named_modules() if module is block)
            if name.startswith(f"{prefix}."):
                return number
    return None


@pytest.mark.parametrize("encoder", ["plain", "residual"])
@pytest.mark.parametrize("rank", [2, 3])
def test_stages_hold_every_weight_of_the_encoder_once(encoder, rank):
    network = unet(encoder, rank=rank)
    stages = encoder_stages(network)
    weights = [weight for blocks in stages for block in blocks for weight in block.parameters()]
    assert len(stages) == 3
    assert len(weights) == len({id(weight) for weight in weights})
    assert {id(weight) for weight in weights} == {id(w) for w in network.encoder.parameters()}


@pytest.mark.parametrize("encoder", ["plain", "residual"])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_frozen_stages_keep_every_bit_and_the_others_learn(small, tmp_path, encoder, count, optimizer):
    network = unet(encoder)
    before = small.weights_of(network)
    training = small.training_plan(steps=3, freeze_blocks=count, optimizer=optimizer, ema_decay=0.5)
    fit(small.small_task(training, network=network), Run(tmp_path))
    kept = [name for name, tensor in network.state_dict().items() if torch.equal(tensor, before[name])]
    for name in before:
        stage = stage_of(network, name)
        assert (name in kept) == (stage is not None and stage < count), name


def test_statistics_stay_through_train_and_come_back_after():
    network = unet()
    freezing = Freezing(network, _plan(freeze_blocks=2, unfreeze_share=0.5))
    freezing.settle(0.0)
    network.train()
    norms = [module for module in network.modules() if keeps_statistics(module)]
    assert [norm.training for norm in norms] == [False, False, True, True, True]
    before = [norm.running_mean.clone() for norm in norms]
    network(torch.randn(2, 1, 8, 8) + 3)
    moved = [not torch.equal(norm.running_mean, old) for norm, old in zip(norms, before, strict=True)]
    assert moved == [False, False, True, True, True]
    clone = copy.deepcopy(network).train()
    assert [m.training for m in clone.modules() if keeps_statistics(m)] == [False, False, True, True, True]
    freezing.settle(0.75)
    assert all(norm.training for norm in norms)
    assert not any(norm.training for norm in network.eval().modules())
    assert all(weight.requires_grad for weight in network.parameters())


def test_stages_are_let_go_of_one_by_one_from_the_coarsest():
    network = unet(norm="instance")
    freezing = Freezing(network, _plan(freeze_blocks=3, unfreeze_share=0.25))
    for progress, learning in ((0.0, []), (0.24, []), (0.25, [2]), (0.5, [1, 2]), (0.75, [0, 1, 2])):
        freezing.settle(progress)
        found = [
            number
            for number, blocks in enumerate(encoder_stages(network))
            if all(weight.requires_grad for block in blocks for weight in block.parameters())
        ]
        assert found == learning, progress
    freezing.settle(0.3)  # a schedule never runs back, yet the state follows from the progress alone
    assert not any(weight.requires_grad for weight in network.encoder.stages[0].parameters())


def test_what_was_frozen_by_somebody_else_stays_so():
    network = unet(norm="instance")
    bias = network.encoder.stages[0][0].conv.bias.requires_grad_(False)
    freezing = Freezing(network, _plan(freeze_blocks=1, unfreeze_share=0.5))
    freezing.settle(0.0)
    freezing.settle(1.0)
    assert not bias.requires_grad


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
@pytest.mark.parametrize("cut", [2, 6, 7, 10])
def test_resumed_equals_uninterrupted_while_stages_are_let_go_of(small, tmp_path, optimizer, cut):
    training = small.training_plan(
        freeze_blocks=2, unfreeze_share=0.5, layer_decay=0.7, optimizer=optimizer, ema_decay=0.9,
        checkpoint_steps=2,
    )  # fmt: skip

    def once(folder, *, resume=False, stop=None):
        def before(step):
            if step == stop:
                raise PreemptedError("asked to stop", cure="go on")

        task = small.small_task(training, network=unet(), batches=small.SmallBatches(before))
        fit(task, Run(folder), resume=resume)
        return small.weights_of(task.network)

    whole = once(tmp_path / "whole")
    with pytest.raises(PreemptedError):
        once(tmp_path / "cut", stop=cut)
    assert small.differing(whole, once(tmp_path / "cut", resume=True)) == []


def test_rates_fall_by_the_same_factor_from_stage_to_stage():
    network = unet("residual", norm="instance")
    factors = rate_factors(network, 0.5)
    by_name = {name: factors.get(weight, 1.0) for name, weight in network.named_parameters()}
    for name, factor in by_name.items():
        stage = stage_of(network, name)
        assert factor == (1.0 if stage is None else 0.5 ** (2 - stage)), name
    optimizer = build_optimizer(network, _plan(layer_decay=0.5))
    assert set_learning_rate(optimizer, 0.1) == 0.1
    rates = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    for name, weight in network.named_parameters():
        assert rates[id(weight)] == pytest.approx(0.1 * by_name[name]), name
    assert rate_factors(nn.Linear(1, 1), 1.0) == {}


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_the_first_step_of_a_stage_is_its_factor_of_the_whole(small, optimizer):
    moved = []
    for decay in (1.0, 0.25):
        network = unet(norm="instance")
        values = {"layer_decay": decay, "optimizer": optimizer, "weight_decay": 0.0}
        made = build_optimizer(network, small.training_plan(**values))
        set_learning_rate(made, 0.01)
        before = [weight.detach().clone() for weight in network.encoder.stages[0].parameters()]
        for weight in network.parameters():
            weight.grad = torch.ones_like(weight)
        made.step()
        after = network.encoder.stages[0].parameters()
        moved.append([float((b - a).abs().mean().detach()) for a, b in zip(after, before, strict=True)])
    for whole, part in zip(*moved, strict=True):
        assert part == pytest.approx(whole * 0.25**2, rel=1e-3)


def test_more_stages_than_there_are_and_networks_without_any_are_refused():
    with pytest.raises(UsageError, match=r"freeze_blocks is 4, the encoder has 3 stages.* to 3 or less"):
        Freezing(unet(), _plan(freeze_blocks=4))
    with pytest.raises(UsageError, match=r"an encoder with 'blocks_by_stage', Linear has none"):
        Freezing(nn.Linear(1, 1), _plan(freeze_blocks=1))
    with pytest.raises(UsageError, match=r"layer-wise rates need an encoder.*layer_decay to 1"):
        build_optimizer(nn.Linear(1, 1), _plan(layer_decay=0.9))


def _plan(**values):
    from unetkit.records.plan import EXAMPLE, Plan

    return Plan.model_validate(EXAMPLE).training.model_copy(update=values)
