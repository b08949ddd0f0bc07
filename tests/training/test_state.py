from __future__ import annotations

import pytest
import torch
from torch import nn

from unetkit.errors import DataError
from unetkit.training.horizon import Horizon
from unetkit.training.state import State, load_network


def stepped(small, steps: int = 3, **values) -> State:
    state = State.fresh(
        small.small_network().to(memory_format=torch.channels_last), small.training_plan(**values)
    )
    for step in range(steps):
        state.network(torch.ones(1, 1, 8, 8)).square().sum().backward()
        state.optimizer.step()
        state.optimizer.zero_grad()
        state.average.update(step)
    return state


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_everything_comes_back(small, optimizer):
    state = stepped(small, optimizer=optimizer)
    state.step, state.best, state.best_step, state.judged, state.judged_step = 3, 0.5, 2, 1, 2
    state.horizon, state.seconds = Horizon(40, 2, 0.05), 1.5
    saved = {name: tensor.clone().contiguous() for name, tensor in state.tensors().items()}
    other = State.fresh(small.small_network(), small.training_plan(optimizer=optimizer))
    other.load(saved, state.numbers(), where="x")
    assert small.differing(state.tensors(), other.tensors()) == []
    assert other.numbers() == state.numbers()
    assert other.horizon == Horizon(40, 2, 0.05)
    memory = "exp_avg" if optimizer == "adamw" else "momentum_buffer"
    for weight in other.network.parameters():
        assert other.optimizer.state[weight][memory].stride() == weight.stride()


def test_the_optimizers_memory_is_in_it(small):
    assert {name.split(".")[2] for name in stepped(small).tensors() if name.startswith("optimizer")} == {
        "exp_avg", "exp_avg_sq", "step",
    }  # fmt: skip


def test_another_optimizer_is_refused(small):
    state = stepped(small, optimizer="sgd")
    other = State.fresh(small.small_network(), small.training_plan(optimizer="adamw"))
    with pytest.raises(DataError, match=r"^last: this resume point was made with the optimizer 'sgd'"):
        other.load(state.tensors(), state.numbers(), where="last")


def test_another_network_is_refused_by_the_name_of_the_weight(small):
    tensors = dict(small.small_network().state_dict())
    with pytest.raises(DataError, match=r"'0.weight': \(5, 1, 3, 3\) expected, \(6, 1, 3, 3\) found"):
        load_network(nn.Sequential(nn.Conv2d(1, 5, 3), *small.small_network()[1:]), tensors, where="last")
    with pytest.raises(DataError, match=r"belongs to another network.*'4.bias' is in one of the two only"):
        load_network(nn.Sequential(*small.small_network()[:4]), tensors, where="last")


def test_an_optimizer_memory_without_a_weight_is_refused(small):
    state = stepped(small)
    tensors = state.tensors() | {"optimizer.99.exp_avg": torch.zeros(1)}
    with pytest.raises(DataError, match="a network with more weights"):
        state.load(tensors, state.numbers(), where="last")
