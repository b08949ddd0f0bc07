"""The U-Net 3+ decoder."""

import torch
from torch.nn import functional as F

from unetkit.networks.decoders.unet3p import Unet3pDecoder
from unetkit.networks.encoders.plain import PlainEncoder
from unetkit.records.plan import NetworkPlan

PLAN = NetworkPlan(
    decoder="unet3p",
    widths=(3, 5, 7),
    blocks=(1, 1, 1),
    decoder_blocks=(1, 1),
    kernels=((3, 3),) * 3,
    strides=((1, 1), (2, 2), (2, 2)),
)
ENCODER = PlainEncoder(PLAN, 2, 1)


def features() -> list[torch.Tensor]:
    return [torch.randn(2, *size, requires_grad=True) for size in ((3, 9, 9), (5, 5, 5), (7, 3, 3))]


def up(x, size, factor):
    """Align-corners interpolation is linear with pixels at multiples of the stride."""
    return F.interpolate(
        x, size=[(n - 1) * factor + 1 for n in x.shape[2:]], mode="bilinear", align_corners=True
    )[..., :size, :size]


def test_every_stage_sees_every_scale_as_published():
    decoder = Unet3pDecoder(PLAN, 2, ENCODER)
    shallow, middle, deep = features()
    fine, low = decoder.branches
    parts = [low[2](up(deep, 5, 2)), low[0](F.max_pool2d(shallow, 2, ceil_mode=True)), low[1](middle)]
    second = decoder.blocks[1](torch.cat(parts, 1))
    parts = [fine[1](up(second, 9, 2)), fine[2](up(deep, 9, 4)), fine[0](shallow)]
    first = decoder.blocks[0](torch.cat(parts, 1))
    got = decoder([shallow, middle, deep])
    torch.testing.assert_close(got[1], second, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got[0], first, rtol=1e-3, atol=1e-4)
    assert decoder.channels == (9, 9)  # 3 scales of the first stage's 3 channels


def test_a_given_width_is_shared_among_the_scales():
    decoder = Unet3pDecoder(PLAN.model_copy(update={"decoder_widths": (6, 12)}), 2, ENCODER)
    assert [output.shape[1] for output in decoder(features())] == [6, 12]
    assert [branch[0].conv.weight.shape[0] for branch in decoder.branches] == [2, 4]
