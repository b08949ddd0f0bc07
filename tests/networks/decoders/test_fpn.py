"""The light feature pyramid, and what it costs on MobileNetV2's features."""

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from unetkit.networks.decoders.fpn import FpnDecoder
from unetkit.networks.encoders.plain import PlainEncoder
from unetkit.networks.presets import PRESETS
from unetkit.records.plan import NetworkPlan

PLAN = NetworkPlan(
    decoder="fpn",
    fusion="add",
    widths=(3, 5, 7),
    blocks=(1, 1, 1),
    decoder_blocks=(1, 2),
    decoder_widths=(4, 6),
    kernels=((3, 3),) * 3,
    strides=((1, 1), (1, 2), (2, 2)),
)
MOBILENET = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2))
"""Table 2 of Sandler et al., CVPR 2018: expansion, width, blocks, stride; then one block of width 320."""

UNET_WORK = 512**2 * 64**2 * (9 * (1 / 64 + 1) + 4 * 9 * 3 / 2 + 4 * (27 + 2)) + 512**2 * 64 * 2
"""U-Net 2015: per encoder stage w² · 9 · (1/2 + 1) · pixels, per decoder stage 27 and 2 for the step up."""


def mobilenet(size: int) -> tuple[int, int]:
    """Parameters and multiply-adds of MobileNetV2 up to width 320, norms with two numbers per channel."""
    pixels, before = (size // 2) ** 2, 32
    weights, work = 27 * 32 + 64, 27 * 32 * pixels
    for expansion, width, blocks, stride in (*MOBILENET, (6, 320, 1, 1)):
        for block in range(blocks):
            inner = before * expansion
            if expansion > 1:
                weights, work = weights + before * inner + 2 * inner, work + before * inner * pixels
            pixels //= (stride if block == 0 else 1) ** 2
            weights += 9 * inner + 2 * inner + inner * width + 2 * width
            work += (9 * inner + inner * width) * pixels
            before = width
    return weights, work


def test_projections_interpolation_and_separable_blocks():
    decoder = FpnDecoder(PLAN, 2, PlainEncoder(PLAN, 2, 1))
    features = [torch.randn(2, *size, requires_grad=True) for size in ((3, 5, 9), (5, 5, 5), (7, 3, 3))]
    outputs = decoder(features)
    assert [tuple(output.shape) for output in outputs] == [(2, 4, 5, 9), (2, 6, 5, 5)]
    wide = F.interpolate(features[2], size=(5, 5), mode="bilinear", align_corners=True)
    low = decoder.ups[1](wide) + decoder.laterals[1](features[1])  # projecting commutes with interpolation
    torch.testing.assert_close(outputs[1], decoder.blocks[1](low), rtol=1e-3, atol=1e-4)
    pulls = torch.autograd.grad(outputs[0].square().sum(), features)
    assert all(pull.abs().max() > 0 for pull in pulls)


def test_on_mobilenet_it_keeps_the_promise_of_the_mobile_preset():
    encoder_weights, encoder_work = mobilenet(512)
    assert encoder_weights == 1_811_712  # 2,223,872 features of timm and torchvision less 1280 · (320 + 2)
    plan = PRESETS["mobile"].plan(2)
    sizes = [512 // 2**stage for stage in range(1, 6)]
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        decoder = FpnDecoder(plan, 2, PlainEncoder(plan, 2, 3))
        decoder([torch.empty(1, w, n, n) for w, n in zip(plan.widths, sizes, strict=True)])
    weights = encoder_weights + sum(value.numel() for value in decoder.parameters())
    work = encoder_work + counter.get_total_flops() // 2
    assert weights < 31_030_658 / 5
    assert work < UNET_WORK / 40
    assert counter.get_total_flops() / 2 < 0.3 * encoder_work  # smp's own decoder takes 88 %
