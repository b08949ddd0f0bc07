"""The MedNeXt decoder."""

import pytest
import torch
from torch import nn

from unetkit.networks.decoders.convnext import ConvNextDecoder
from unetkit.networks.encoders.plain import PlainEncoder
from unetkit.records.plan import NetworkPlan


def decoder(rank: int, **changes) -> ConvNextDecoder:
    values = {
        "widths": (4, 6, 8),
        "blocks": (1, 1, 1),
        "decoder_blocks": (2, 1),
        "kernels": ((3,) * rank,) * 3,
        "strides": ((1,) * rank, (2,) * rank, (2,) * rank),
        "expansion": (3, 2, 2),
    }
    plan = NetworkPlan(**{**values, **changes})
    return ConvNextDecoder(plan, rank, PlainEncoder(plan, rank, 1))


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("fusion", ["add", "concat"])
def test_outputs_have_the_size_of_the_skips_odd_or_even(rank, fusion):
    network = decoder(rank, fusion=fusion)
    sizes = ((7, 10, 5)[:rank], (4, 5, 3)[:rank], (2, 3, 2)[:rank])
    skips = [torch.randn(2, width, *size) for width, size in zip((4, 6, 8), sizes, strict=True)]
    outputs = network(skips)
    assert [output.shape for output in outputs] == [skip.shape for skip in skips[:2]]
    assert [len(blocks) for blocks in network.blocks] == [2, 1]
    assert network.ups[0].branch.widen.weight.shape == (18, 6)  # the expansion of where it leads to
    narrow = nn.Identity if fusion == "add" else type(network.ups[0].branch.widen)
    assert all(type(layer) is narrow for layer in network.narrows)


def test_with_addition_and_new_blocks_it_is_skips_plus_steps_up():
    network = decoder(2, fusion="add")
    for stage in network.blocks:
        for block in stage:
            block.become_neutral()
    fine, middle, coarse = (torch.randn(1, w, s, s) for w, s in ((4, 8), (6, 4), (8, 2)))
    outputs = network([fine, middle, coarse])
    wanted = middle + network.ups[1](coarse)
    torch.testing.assert_close(outputs[1], wanted)
    torch.testing.assert_close(outputs[0], fine + network.ups[0](wanted))


def test_widths_of_its_own():
    network = decoder(2, fusion="add", decoder_widths=(3, 5))
    outputs = network([torch.randn(1, w, s, s) for w, s in ((4, 7), (6, 4), (8, 2))])
    assert [tuple(output.shape) for output in outputs] == [(1, 3, 7, 7), (1, 5, 4, 4)]
    assert network.channels == (3, 5)
