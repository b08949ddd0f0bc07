"""The network as a whole: sizes, counts, exact identities, and what it refuses."""

import re
from itertools import pairwise

import pytest
import torch

from unetkit.errors import UsageError
from unetkit.networks.unet import build
from unetkit.records.plan import EXAMPLE, NetworkPlan
from unetkit.spatial.instance_norm import InstanceNorm
from unetkit.spatial.memory_format import arrange_weights, arranged, channels_last, memory_format

REFERENCE = NetworkPlan(
    widths=(32, 64, 128, 256),
    blocks=(2, 2, 2, 2),
    decoder_blocks=(2, 2, 2),
    kernels=((3, 3, 3),) * 4,
    strides=((1, 1, 1), *(((2, 2, 2),) * 3)),
)


def plan(**changes) -> NetworkPlan:
    return NetworkPlan(**{**EXAMPLE["network"], **changes})


def deep(rank: int, **changes) -> NetworkPlan:
    flat, half = (1,) * rank, (2,) * rank
    stages = {"widths": (4, 6, 8), "blocks": (1, 1, 1), "decoder_blocks": (1, 1), "deep_supervision": 2}
    return NetworkPlan(**{**stages, "kernels": ((3,) * rank,) * 3, "strides": (flat, half, half), **changes})


def test_parameters_of_the_reference_network_are_what_the_formula_says():
    def conv(before: int, after: int, kernel: int = 27) -> int:
        return kernel * before * after + after

    widths, norm = (32, 64, 128, 256), 2
    total = sum(
        conv(before, after) + conv(after, after) + 2 * norm * after
        for before, after in zip((1, *widths), widths, strict=False)
    )
    for fine, coarse in pairwise(widths):
        total += conv(coarse, fine, 8) + conv(2 * fine, fine) + conv(fine, fine) + 2 * norm * fine
    total += conv(32, 3, 1)
    with torch.device("meta"):
        network = build(REFERENCE, rank=3, in_channels=1, classes=3)
    assert sum(value.numel() for value in network.parameters()) == total == 5_602_595


@pytest.mark.parametrize("encoder", ["plain", "residual"])
@pytest.mark.parametrize("norm", ["instance", "batch", "group"])
def test_rank_three_with_flat_kernels_is_rank_two(encoder, norm):
    flat = {"encoder": encoder, "norm": norm, "deep_supervision": 1}
    two = build(deep(2, **flat), rank=2, in_channels=2, classes=3)
    kernels, strides = ((1, 3, 3),) * 3, ((1, 1, 1), (1, 2, 2), (1, 2, 2))
    three = build(deep(3, **flat, kernels=kernels, strides=strides), rank=3, in_channels=2, classes=3)
    lifted = {
        name: value.unsqueeze(2) if value.ndim == 4 else value for name, value in two.state_dict().items()
    }
    three.load_state_dict(lifted)
    x = torch.randn(2, 2, 13, 10, dtype=torch.float64)
    assert torch.equal(three.double()(x.unsqueeze(2)).squeeze(2), two.double()(x))


@pytest.mark.parametrize("rank", [2, 3])
def test_no_made_up_pixel_enters_the_network(rank):
    """Every normalisation sees exactly the pixels of its stage: the size halved, rounding up."""
    network = build(deep(rank), rank=rank, in_channels=1, classes=2).eval()
    size, seen = (9, 6, 11)[:rank], set()
    for module in network.modules():
        if isinstance(module, InstanceNorm):
            module.register_forward_hook(lambda _, inputs, __: seen.add(tuple(inputs[0].shape[2:])))
    network(torch.randn(1, 1, *size))
    halved = [tuple(-(-length // 2**stage) for length in size) for stage in range(5)]
    assert seen <= set(halved)
    assert size in seen


def test_deep_supervision_while_training_only():
    network = build(deep(2), rank=2, in_channels=1, classes=5)
    x = torch.randn(2, 1, 16, 13)
    outputs = network(x)
    assert [tuple(output.shape) for output in outputs] == [(2, 5, 16, 13), (2, 5, 8, 7)]
    torch.testing.assert_close(network.eval()(x), outputs[0])


@pytest.mark.parametrize("encoder", ["plain", "residual"])
@pytest.mark.parametrize("rank", [2, 3])
def test_channels_last_stays_channels_last(rank, encoder):
    network = build(deep(rank, encoder=encoder), rank=rank, in_channels=2, classes=3)
    arrange_weights(network, "channels_last")
    seen = []

    def watch(module, given, output):
        for name, tensor in (("in", given[0]), ("out", output)):
            seen.append((type(module).__name__, name, memory_format(tensor)))

    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(watch)
    network(arranged(torch.randn(2, 2, 16, 16, 16)[(..., *[0] * (3 - rank))], "channels_last"))
    assert seen
    assert [row for row in seen if row[2] != channels_last(rank)] == []


@pytest.mark.parametrize("rank", [2, 3])
def test_both_memory_formats_agree_forth_and_back(rank):
    network = build(deep(rank, deep_supervision=1), rank=rank, in_channels=1, classes=2)
    x = torch.randn(2, 1, *(8, 12, 8)[:rank])
    results = []
    for name in ("contiguous", "channels_last"):
        network.zero_grad()
        arrange_weights(network, name)
        output = network(arranged(x, name))
        output.square().mean().backward()
        results.append([output, *(value.grad.clone() for value in network.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("last", [False, True])
def test_a_strided_encoder_answers_at_the_images_size(last):
    widths = (2, 4, 6) if last else ()
    strides = ((2, 2),) * 3
    network = build(deep(2, strides=strides, decoder_widths=widths), rank=2, in_channels=1, classes=3)
    fine, coarse = network(torch.randn(2, 1, 17, 14))
    assert fine.shape == (2, 3, 17, 14)
    assert coarse.shape == ((2, 3, 9, 7) if last else (2, 3, 5, 4))
    assert network.heads[0].weight.shape == ((3, 2) if last else (3, 4))


def test_interpolated_logits_lie_on_the_strided_ones():
    network = build(deep(2, strides=((2, 2),) * 3), rank=2, in_channels=1, classes=3).eval()
    x = torch.randn(1, 1, 12, 10)
    plain = network.heads[0](network.decoder(network.encoder(x))[0])
    torch.testing.assert_close(network(x)[..., ::2, ::2], plain)


def test_the_last_stage_is_not_shown_made_up_pixels():
    plan = deep(2, strides=((2, 2),) * 3, decoder_widths=(2, 4, 6))
    network = build(plan, rank=2, in_channels=1, classes=2).eval()
    seen = []
    network.last_stages[0].blocks[0].norm.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    network(torch.randn(1, 1, 13, 9))
    assert seen[0].shape == (1, 2, 13, 9)


def test_an_image_smaller_than_one_bottleneck_pixel_is_answered():
    network = build(deep(2), rank=2, in_channels=1, classes=2).eval()
    assert network(torch.randn(1, 1, 1, 3)).shape == (1, 2, 1, 3)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"blocks": (1,)}, r"network\.blocks has 1 entries, 2 were expected.*network\.blocks 2 entries"),
        ({"decoder_blocks": (1, 1)}, r"network\.decoder_blocks has 2 entries, 1 were expected"),
        (
            {"kernels": ((3, 3), (3,))},
            r"network\.kernels\[1\] is \[3\], 2 odd positive numbers were expected",
        ),
        ({"kernels": ((3, 3), (2, 3))}, r"network\.kernels\[1\] is \[2, 3\], 2 odd positive numbers"),
        ({"strides": ((1, 1), (0, 2))}, r"network\.strides\[1\] is \[0, 2\], 2 positive numbers"),
        ({"decoder_widths": (4, 8)}, r"decoder_widths has 2 entries, 1 were expected for 2 widths\. Do this"),
        (
            {"decoder_widths": (4, 8, 8), "strides": ((2, 2), (2, 2))},
            r"3 entries, 1 were expected for 2 widths, or 2 with a last stage.*decoder_widths 1 entries",
        ),
        ({"decoder_widths": (0,)}, r"network\.decoder_widths has an entry below 1"),
        ({"blocks": (0, 1)}, r"network\.blocks has an entry below 1.*correct network\.blocks"),
        ({"deep_supervision": 2}, r"deep_supervision is 2, the decoder has 1 outputs.*to 1 or less"),
        ({"encoder": "plane"}, r"there is no encoder 'plane'.*use 'plain'"),
        ({"fusion": "cat"}, r"there is no fusion 'cat'"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(changes, text):
    with pytest.raises(UsageError) as refusal:
        build(plan(**changes), rank=2, in_channels=1, classes=2)
    assert re.search(text, str(refusal.value))


def test_one_stage_is_not_a_network():
    single = {"widths": (4,), "blocks": (1,), "decoder_blocks": ()}
    single |= {"kernels": ((3, 3),), "strides": ((1, 1),)}
    with pytest.raises(UsageError, match="needs at least 2 stages, got 1"):
        build(plan(**single), rank=2, in_channels=1, classes=2)
