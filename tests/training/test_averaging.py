from __future__ import annotations

import copy

import pytest
import torch

from unetkit.training.averaging import Average


@pytest.mark.parametrize("decay", [0.5, 0.99])
def test_the_average_equals_a_naive_loop(small, decay):
    network = small.small_network()
    average = Average(network, decay)
    naive = {name: weight.detach().double() for name, weight in network.named_parameters()}
    for step in range(30):
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(step)))
        average.update(step)
        share = min(decay, (1 + step) / (10 + step))
        for name, weight in network.named_parameters():
            naive[name] = share * naive[name] + (1 - share) * weight.detach().double()
    for name, value in average.tensors().items():
        torch.testing.assert_close(value.double(), naive[name], rtol=1e-5, atol=1e-6)


def test_the_first_update_by_hand():
    network = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        network.weight.fill_(2.0)
    average = Average(network, 0.99)
    with torch.no_grad():
        network.weight.fill_(7.0)
    average.update(0)  # decay (1 + 0) / (10 + 0) = 0.1: 0.1 · 2 + 0.9 · 7 = 6.5
    assert average.tensors()["weight"].item() == pytest.approx(6.5)


def test_in_place_exchanges_pointers_and_gives_back_what_was_there(small):
    network = small.small_network()
    average = Average(network, 0.9)
    with torch.no_grad():
        network[0].weight.add_(1.0)
    own, averaged = network[0].weight.data_ptr(), average.tensors()["0.weight"].data_ptr()

    def fail_inside():
        with average.in_place():
            assert (network[0].weight.data_ptr(), average.tensors()["0.weight"].data_ptr()) == (averaged, own)
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail_inside()
    assert (network[0].weight.data_ptr(), average.tensors()["0.weight"].data_ptr()) == (own, averaged)


def test_buffers_stay_the_networks_own(small):
    network = small.small_network()
    average = Average(network, 0.9)
    network.train()(torch.randn(2, 1, 8, 8))
    before = network[1].running_mean.clone()
    with average.in_place():
        assert torch.equal(network[1].running_mean, before)
    assert not any("running" in name for name in average.tensors())


def test_frozen_weights_are_not_averaged(small):
    network = small.small_network()
    network[0].weight.requires_grad_(False)
    assert "0.weight" not in Average(network, 0.9).tensors()


def test_decay_zero_averages_nothing(small):
    network = small.small_network()
    before = copy.deepcopy(network.state_dict())
    average = Average(network, 0.0)
    average.update(0)
    with average.in_place():
        assert small.differing(before, network.state_dict()) == []
    assert average.tensors() == {}


def test_what_was_saved_is_what_is_loaded(small):
    one, two = small.small_network(), small.small_network()
    first, second = Average(one, 0.9), Average(two, 0.9)
    with torch.no_grad():
        one[0].weight.add_(1.0)
    first.update(0)
    second.load({name: tensor.clone() for name, tensor in first.tensors().items()})
    assert small.differing(first.tensors(), second.tensors()) == []
    second.load({})  # averaging switched on on resume: it starts from the network's weights
    assert torch.equal(second.tensors()["0.weight"], two[0].weight)
