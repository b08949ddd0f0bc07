"""Named networks: their parameters against the published counts, each difference accounted for."""

import importlib.util

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from unetkit.networks.encoders import ENCODERS
from unetkit.networks.presets import PRESETS
from unetkit.networks.unet import UNet, build
from unetkit.spatial.instance_norm import InstanceNorm
from unetkit.spatial.layers import GroupNorm, Upsampling

NORMS = (torch.nn.modules.batchnorm._BatchNorm, InstanceNorm, GroupNorm)


def made(name: str, **changes) -> UNet:
    preset = PRESETS[name]
    plan = preset.plan(preset.rank)
    if plan.encoder == "timm" and (plan.encoder not in ENCODERS or not importlib.util.find_spec("timm")):
        pytest.skip("needs the timm encoder")
    with torch.device("meta"):
        return build(
            plan.model_copy(update=changes),
            rank=preset.rank,
            in_channels=preset.in_channels,
            classes=preset.classes,
        )


def count(network: torch.nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


def of_norms(network: torch.nn.Module) -> int:
    return sum(count(module) for module in network.modules() if isinstance(module, NORMS))


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("rank", [2, 3])
def test_every_preset_is_a_plan_in_two_and_three_axes(name, rank):
    plan = PRESETS[name].plan(rank)
    assert all(len(entry) == rank for key in ("kernels", "strides") for entry in getattr(plan, key))
    assert len(plan.widths) == len(plan.blocks) == len(plan.strides)


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.parameters])
def test_parameters_are_close_to_the_published_count(name):
    tolerance = 0.05 if name == "attention_2018" else 0.001
    assert count(made(name)) == pytest.approx(PRESETS[name].parameters, rel=tolerance)


def test_unet_2015_is_exact_without_norms():
    network = made("unet_2015")  # 31.0 M; the usual Keras port counts 31,031,685 with two more head layers
    assert count(network) - of_norms(network) == 31_030_658


def test_volumetric_unet_2016_is_exact_as_the_paper_counts():
    network = made("unet_2016")
    biases = sum(up.bias.numel() for up in network.modules() if isinstance(up, Upsampling))
    assert count(network) - of_norms(network) - biases == 19_069_955  # section 2 of the paper


def test_unetpp_2018_is_exact_without_norms_and_with_one_head():
    network = made("unetpp_2018", deep_supervision=1)
    assert count(network) - of_norms(network) == 9_041_601  # as the authors' code says


def test_attention_2018_differs_by_what_is_left_out():
    plain, gated = made("attention_2018", fusion="concat"), made("attention_2018")
    assert count(plain) - of_norms(plain) == 5_884_050  # 5.88 M: U-Net in the same table
    ours = sum(10 * width**2 + 2 * width + 1 for width in (16, 32, 64, 128))
    assert count(gated) - count(plain) == ours
    # Theirs, on the three coarser skips: two gates with 1×1 projections and norms, and what combines them.
    theirs = sum(
        2 * (10 * width**2 + 2 * width + 1 + width**2 + 3 * width) + 2 * width**2 + 3 * width
        for width in (32, 64, 128)
    )
    assert count(plain) + theirs == pytest.approx(6.40e6, rel=0.002)


def test_resenc_l_is_what_its_formula_says():
    network = made("resenc_l", deep_supervision=1)
    assert count(network) == 102_348_160 + 2 * (32 + 1)


def test_unet3p_2020_is_exact_to_the_published_digits():
    network = made("unet3p_2020", deep_supervision=1)
    assert count(network) == 26_968_896 + 320 + 1


def work(network: UNet, channels: int) -> int:
    """Multiply-adds of one image of 512 × 512."""
    with FlopCounterMode(display=False) as counter:
        network.eval()(torch.empty(1, channels, 512, 512, device="meta"))
    return counter.get_total_flops() // 2


def test_mobile_is_a_fifth_of_unets_weights_and_a_fortieth_of_its_work():
    unet = made("unet_2015")
    assert work(unet, 1) == 192_384_335_872
    mobile = made("mobile")
    assert count(mobile) < count(unet) / 5
    assert work(mobile, 3) < work(unet, 1) / 40


MEDNEXT = {  # blocks and expansion of the five stages: table 1 of the paper; parameters: its table 1 too
    "s": ((2, 2, 2, 2, 2), (2, 2, 2, 2, 2), 5.6),
    "b": ((2, 2, 2, 2, 2), (2, 3, 4, 4, 4), 10.5),
    "m": ((3, 4, 4, 4, 4), (2, 3, 4, 4, 4), 17.6),
    "l": ((3, 4, 8, 8, 8), (3, 4, 8, 8, 8), 61.8),
}


@pytest.mark.parametrize("size", sorted(MEDNEXT))
@pytest.mark.parametrize("kernel", [3, 5])
def test_mednext_is_exact(size, kernel):
    """For volumes of 1 channel and the 3 classes of KiTS19, with a head on each decoder stage."""
    blocks, expansion, published = MEDNEXT[size]

    def block(before: int, after: int, wide: int) -> int:
        return (
            before * (kernel**3 + 1) + 2 * before + (before + 1) * wide * before + (wide * before + 1) * after
        )

    def step(before: int, after: int, wide: int) -> int:
        return block(before, after, wide) + (before + 1) * after

    widths = [32 * 2**stage for stage in range(5)]
    total = 2 * 32 + sum(3 * width + 3 for width in widths[:4])  # stem and heads
    stages = list(zip(widths, blocks, expansion, strict=True))
    total += sum(count * block(width, width, wide) for width, count, wide in stages)  # encoder
    total += sum(count * block(width, width, wide) for width, count, wide in stages[:4])  # decoder
    total += sum(step(width // 2, width, wide) for width, _, wide in stages[1:])
    total += sum(step(2 * width, width, wide) for width, _, wide in stages[:4])
    network = made(f"mednext_{size}", kernels=((kernel,) * 3,) * 5)
    assert count(network) == total
    if kernel == 3:
        assert round(total / 1e6, 1) == published
        fifth_head, without_use = 3 * 512 + 3, 1
        assert total + fifth_head + without_use == PRESETS[f"mednext_{size}"].parameters


def test_transunet_2021_is_exact_but_for_the_head_and_biases():
    network = made("transunet_2021")  # 105.3 M for 3 channels and the 9 classes of Synapse, 224 × 224 pixels

    def convolution(before: int, after: int) -> int:
        return 9 * before * after + 2 * after  # no bias, batch normalisation

    layer = 4 * 768**2 + 4 * 768 + 2 * 4 * 768**2 + 5 * 768 + 4 * 768
    vit = 14**2 * 768 + 12 * layer + 2 * 768
    stages = ((512, 512, 256), (256, 256, 128), (128, 64, 64), (64, 0, 16))
    cup = convolution(768, 512)
    cup += sum(convolution(up + skip, width) + convolution(width, width) for up, skip, width in stages)
    head = 9 * 16 * 9 + 9
    published = count(network.encoder) + vit + cup + head
    assert published == PRESETS["transunet_2021"].parameters == 105_277_081
    assert count(network.bottleneck) == vit
    biases, smaller_head = 512 + 2 * (256 + 128 + 64 + 16), 8 * 16 * 9
    assert count(network) == published + biases - smaller_head


@pytest.mark.parametrize("size", [(33, 40), (48, 31)])
def test_transunet_answers_at_the_images_size_whatever_it_is(size):
    plan = (
        PRESETS["transunet_2021"]
        .plan(2)
        .model_copy(
            update={
                "widths": (4, 16, 32, 24),
                "blocks": (1, 1, 1, 1),
                "bottleneck_blocks": 1,
                "decoder_widths": (2, 4, 6, 8),
            }
        )
    )
    network = build(plan, rank=2, in_channels=1, classes=3).eval()
    assert network(torch.randn(1, 1, *size)).shape == (1, 3, *size)
