import numpy as np
import pytest
import torch
from torch import nn

from unetkit.compression.channels import Channels, follow, trace
from unetkit.networks.unet import build
from unetkit.records.plan import EXAMPLE, NetworkPlan


def found_in(network: nn.Module, size: tuple[int, ...] = (2, 3, 8, 8)) -> Channels:
    program = torch.export.export(network.eval(), (torch.zeros(size),), strict=False)
    return follow(program, network.state_dict())


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        x = self.first(x)
        y = x + self.second(torch.relu(x))
        return self.head(torch.cat((y, torch.sigmoid(x)), 1))


def test_an_addition_makes_one_channel_of_two_and_a_concatenation_puts_them_side_by_side():
    axes = found_in(Residual()).axes
    made = axes["first.weight", 0]
    assert len(set(made.tolist())) == 4
    for other in (("second.weight", 0), ("second.weight", 1), ("second.bias", 0)):
        assert axes[other].tolist() == made.tolist()
    assert axes["head.weight", 1].tolist() == [*made.tolist(), *made.tolist()]


def test_image_and_classes_have_to_stay_and_the_rest_is_one_bundle():
    found = found_in(Residual())
    assert set(found.axes["first.weight", 1].tolist()) <= found.fixed
    assert set(found.axes["head.weight", 0].tolist()) <= found.fixed
    (bundle,) = [each for each in found.bundles if ("second.weight", 0) in each.on]
    assert not bundle.fixed
    assert bundle.on["head.weight", 1] == 2
    assert sorted(bundle.channels.tolist()) == sorted(found.axes["first.weight", 0].tolist())
    assert set(found.makers) == {("first.weight", 0), ("second.weight", 0), ("head.weight", 0)}


def test_the_network_is_left_as_it_was_and_its_mode_does_not_matter():
    plan = NetworkPlan(**{**EXAMPLE["network"], "norm": "group"})
    network = build(plan, rank=2, in_channels=1, classes=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    network.encoder.eval()
    modes = [module.training for module in network.modules()]
    found = trace(network)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert found.norm_groups["encoder.stages.0.0.norm.weight", 0] == 8
    again = trace(network.eval())
    assert all(np.array_equal(places, again.axes[axis]) for axis, places in found.axes.items())


@pytest.mark.parametrize("rank", [2, 3])
def test_every_axis_of_every_weight_is_known(rank):
    plan = NetworkPlan(
        widths=(4, 8),
        blocks=(1, 1),
        decoder_blocks=(1,),
        kernels=((3,) * rank,) * 2,
        strides=((1,) * rank, (2,) * rank),
        norm="batch",
    )
    network = build(plan, rank=rank, in_channels=1, classes=2)
    axes = trace(network).axes
    for name, value in network.state_dict().items():
        for axis, length in enumerate(value.shape):
            assert len(axes[name, axis]) == length
