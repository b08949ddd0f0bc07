"""The U-Net++ decoder: its graph, node by node."""

import torch
from torch import nn

from unetkit.networks.decoders.unetpp import UnetppDecoder
from unetkit.networks.encoders.plain import PlainEncoder
from unetkit.records.plan import NetworkPlan

PLAN = NetworkPlan(
    decoder="unetpp",
    widths=(3, 5, 7),
    blocks=(1, 1, 1),
    decoder_blocks=(2, 1),
    kernels=((3, 3),) * 3,
    strides=((1, 1), (1, 2), (2, 2)),
)
ENCODER = PlainEncoder(PLAN, 2, 1)


def features() -> list[torch.Tensor]:
    sizes = ((3, 5, 9), (5, 5, 5), (7, 3, 3))
    return [torch.randn(2, *size, requires_grad=True) for size in sizes]


def test_nodes_are_joined_as_published():
    decoder = UnetppDecoder(PLAN, 2, ENCODER)
    shallow, middle, deep = features()
    nodes = decoder.nodes

    def node(name, below, *before):
        up = nodes[name].up(below)[..., : before[0].shape[2], : before[0].shape[3]]
        return nodes[name].blocks(torch.cat((up, *before), 1))

    first = node("0_1", middle, shallow)
    low = node("1_1", deep, middle)
    second = node("0_2", low, shallow, first)
    got = decoder([shallow, middle, deep])
    assert len(got) == 2
    assert torch.equal(got[0], second)
    assert torch.equal(got[1], first)
    assert decoder.channels == (3, 3)
    assert decoder.nested


def test_a_shallow_output_knows_nothing_of_deeper_features():
    decoder, given = UnetppDecoder(PLAN, 2, ENCODER), features()
    deepest, shallowest = decoder(given)
    pulls = torch.autograd.grad(deepest.square().sum(), given, retain_graph=True)
    assert all(pull.abs().max() > 0 for pull in pulls)
    pulls = torch.autograd.grad(shallowest.square().sum(), given, allow_unused=True)
    assert [pull is not None for pull in pulls] == [True, True, False]


def test_widths_of_its_own():
    plan = PLAN.model_copy(update={"decoder_widths": (2, 4), "upsampling": "linear"})
    decoder = UnetppDecoder(plan, 2, ENCODER)
    assert [output.shape[1] for output in decoder(features())] == [2, 2]
    first = next(module for module in decoder.nodes["0_2"].modules() if isinstance(module, nn.Conv2d))
    assert first.weight.shape[:2] == (2, 4 + 3 + 2)  # from below, the feature, the node before
