"""The encoder that widens in two steps."""

import torch

from unetkit.networks.encoders.doubling import DoublingEncoder
from unetkit.records.plan import NetworkPlan


def test_all_but_the_last_convolution_of_a_stage_have_half_its_width():
    plan = NetworkPlan(
        encoder="doubling",
        widths=(4, 8),
        blocks=(2, 3),
        decoder_blocks=(1,),
        kernels=((1, 3, 3), (3, 3, 3)),
        strides=((1, 1, 1), (1, 2, 2)),
    )
    encoder = DoublingEncoder(plan, 3, 1)
    features = encoder(torch.randn(1, 1, 3, 8, 6))
    assert [tuple(feature.shape) for feature in features] == [(1, 4, 3, 8, 6), (1, 8, 3, 4, 3)]
    assert [[block.conv.weight.shape[:2] for block in stage] for stage in encoder.stages] == [
        [(2, 1), (4, 2)],
        [(4, 4), (4, 4), (8, 4)],
    ]
