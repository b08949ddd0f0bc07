"""Matched statistics are those of the new images, by hand and by torch's own, and nothing else moves."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from unetkit.errors import UsageError
from unetkit.learning.adabn import match_statistics, statistic_norms
from unetkit.networks.unet import build
from unetkit.records.plan import NetworkPlan
from unetkit.runtimes.devices import Layout
from unetkit.spatial.layers import LAYERS, Pointwise


def unet(norm, rank=2, dropout=0.0):
    torch.manual_seed(0)
    plan = NetworkPlan(
        norm=norm,
        widths=(4, 8),
        blocks=(1, 1),
        decoder_blocks=(1,),
        kernels=((3,) * rank,) * 2,
        strides=((1,) * rank, (2,) * rank),
        dropout=dropout,
    )
    return build(plan, rank=rank, in_channels=1, classes=2).eval()


def batches(rank=2, count=3):
    generator = torch.Generator().manual_seed(1)
    return [2 + 3 * torch.randn(2, 1, *(8,) * rank, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("rank", [2, 3])
def test_they_are_torchs_own_and_weights_stay(rank):
    network = unet("batch", rank)
    other, before = copy.deepcopy(network), copy.deepcopy(network.state_dict())
    assert match_statistics(network, iter(batches(rank)), Layout()) == 3
    update_bn(batches(rank), other)
    statistics = [name for name in before if "running_" in name]
    assert len(statistics) == 2 * len(statistic_norms(network)) == 6
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])
        if "running_" not in name and "num_batches" not in name:
            assert torch.equal(tensor, before[name])
    assert all(not torch.equal(network.state_dict()[name], before[name]) for name in statistics)
    assert not any(module.training for module in network.modules())


def test_the_first_norm_by_hand_and_its_momentum_is_put_back():
    norm: Any = LAYERS[2].batch_norm(1)
    images = [torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[[5.0, 11.0]]]])]
    match_statistics(nn.Sequential(norm), images, Layout())
    assert norm.running_mean.item() == (2 + 8) / 2
    assert norm.running_var.item() == (2 + 18) / 2  # unbiased in each batch, as torch gathers it
    assert norm.momentum == 0.1


def test_dropout_is_off_while_looking():
    plain, dropped = unet("batch"), unet("batch", dropout=0.5)
    for network in (plain, dropped):
        match_statistics(network, batches(), Layout())
    one, other = (dict(net.named_buffers()) for net in (plain, dropped))
    assert len(one) == len(other) == 9
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_what_a_camera_adds_and_multiplies_is_taken_out():
    torch.manual_seed(0)
    first, second = Pointwise(1, 4), Pointwise(4, 2)
    nn.init.ones_(first.weight)
    network = nn.Sequential(first, LAYERS[2].batch_norm(4), nn.LeakyReLU(0.01), second)
    match_statistics(network, batches(), Layout())
    wanted = [network(batch) for batch in batches()]
    brighter = [7 * batch + 5 for batch in batches()]
    assert not torch.allclose(network(brighter[0]), wanted[0], atol=0.1)
    match_statistics(network, brighter, Layout())
    for batch, answer in zip(brighter, wanted, strict=True):
        torch.testing.assert_close(network(batch), answer, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("norm", ["instance", "group"])
def test_where_nothing_is_kept_nothing_can_be_matched(norm):
    with pytest.raises(UsageError, match=r"so there is nothing to match.*--method replay"):
        match_statistics(unet(norm), batches(), Layout())
