"""The cascaded upsampler of TransUNet."""

import pytest
import torch

from unetkit.networks.decoders.cup import CupDecoder
from unetkit.networks.encoders.plain import PlainEncoder
from unetkit.records.plan import NetworkPlan


@pytest.mark.parametrize("rank", [2, 3])
def test_it_is_a_convolution_and_then_a_unet_decoder(rank):
    plan = NetworkPlan(
        widths=(4, 6, 12),
        blocks=(1, 1, 1),
        decoder_blocks=(2, 2),
        decoder_widths=(3, 5),
        upsampling="linear",
        norm="batch",
        kernels=((3,) * rank,) * 3,
        strides=((2,) * rank,) * 3,
    )
    decoder = CupDecoder(plan, rank, PlainEncoder(plan, rank, 1))
    sizes = ((7, 8, 5)[:rank], (4, 4, 3)[:rank], (2, 2, 2)[:rank])
    features = [torch.randn(2, width, *size) for width, size in zip((4, 6, 12), sizes, strict=True)]
    outputs = decoder(features)
    assert [output.shape for output in outputs] == [(2, 3, *sizes[0]), (2, 5, *sizes[1])]
    assert decoder.channels == (3, 5)
    assert decoder.stem.conv.weight.shape == (10, 12, *(3,) * rank)  # twice the widest stage
    decoder.eval()
    again = decoder.decoder([*features[:-1], decoder.stem(features[-1])])
    assert torch.equal(decoder(features)[0], again[0])
