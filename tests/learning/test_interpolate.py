"""The line between two models: its ends are the models, its best place is found by looking."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unetkit.errors import UsageError
from unetkit.learning.interpolate import best_alpha, interpolated


def test_the_ends_are_the_models_and_the_middle_is_the_mean(small):
    old, new = small.small_network().state_dict(), small.weights_of(small.small_network())
    new = {name: tensor + 1 for name, tensor in new.items()}
    for alpha, wanted in ((0.0, old), (1.0, new)):
        found = interpolated(old, new, alpha)
        assert all(
            torch.equal(found[name], wanted[name]) for name in wanted if found[name].is_floating_point()
        )
    middle = interpolated(old, new, 0.25)
    torch.testing.assert_close(middle["0.weight"], 0.75 * old["0.weight"] + 0.25 * new["0.weight"])
    torch.testing.assert_close(middle["1.running_mean"], old["1.running_mean"] + 0.25)
    assert torch.equal(middle["1.num_batches_tracked"], new["1.num_batches_tracked"])


def test_the_best_place_is_the_one_that_was_judged_best():
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 2.0)
    old = {"weight": torch.zeros(1, 1)}
    best, tried = best_alpha(network, old, lambda net: -abs(net.weight.item() - 0.6))
    assert best == 0.3
    assert network.weight.item() == pytest.approx(0.6)
    assert len(tried) == 11
    assert tried[1.0] == pytest.approx(-1.4)


def test_of_equals_the_newest_is_taken():
    network = nn.Linear(1, 1, bias=False)
    before = network.weight.item()
    assert best_alpha(network, {"weight": torch.zeros(1, 1)}, lambda _: 1.0)[0] == 1.0
    assert network.weight.item() == before


def test_two_architectures_have_no_line_between_them():
    with pytest.raises(UsageError, match=r"'bias' is in one of them only.*--method replay"):
        interpolated({"weight": torch.zeros(1)}, {"weight": torch.zeros(1), "bias": torch.zeros(1)}, 0.5)
    with pytest.raises(UsageError, match="'weight' is in one of them only or of another shape"):
        interpolated({"weight": torch.zeros(1)}, {"weight": torch.zeros(2)}, 0.5)
