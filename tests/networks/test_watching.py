import threading

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules import module as hooks

from unetkit.networks.watching import plain_name, watched
from unetkit.spatial.layers import Pointwise


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 1)

    def forward(self, x):
        return torch.cat((F.relu(x), F.relu(self.layer(x)) + x), 1)


def names_of(network, x):
    seen = []

    def note(op):
        seen.append((op.name, op.kind))
        return op()

    with watched(network, note):
        network(x)
    return [name for name, kind in seen if kind != "other"]


def test_operations_are_named_by_module_kind_and_number():
    names = names_of(nn.Sequential(Twice()), torch.zeros(1, 1, 2, 2))
    assert names == ["0:rectify", "0.layer:conv", "0:rectify2", "0:add", "0:cat"]


def test_a_layer_with_several_ways_takes_the_plain_one():
    assert names_of(nn.Sequential(Pointwise(1, 2)), torch.zeros(1, 1, 2, 2))[-1] == "0:conv"


def test_what_is_answered_is_what_the_network_goes_on_with():
    network = nn.Sequential(nn.ReLU(), nn.ReLU())
    with watched(network, lambda op: op() + 1 if op.kind == "rectify" else op()):
        assert network(torch.zeros(1)).item() == 2.0


def test_nothing_is_left_behind_and_other_threads_are_left_alone():
    network, before = Twice(), len(hooks._global_forward_hooks)
    seen = []

    def note(op):
        seen.append(op.name)
        return op()

    with watched(network, note):
        thread = threading.Thread(target=lambda: network(torch.zeros(1, 1, 2, 2)))
        thread.start()
        thread.join()
        assert seen == []
        network(torch.zeros(1, 1, 2, 2))
    assert len(hooks._global_forward_hooks) == before
    assert "layer:conv" in seen


def test_a_name_has_no_rank_and_says_nothing_of_place():
    functions = (F.conv2d, F.conv3d, torch.Tensor.add_, torch.Tensor.__getitem__)
    assert [plain_name(each) for each in functions] == ["conv", "conv", "add", "__getitem__"]
