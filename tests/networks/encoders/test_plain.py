"""The plain encoder."""

import torch

from unetkit.networks.encoders.plain import PlainEncoder
from unetkit.records.plan import NetworkPlan


def test_features_halve_and_widen_stage_by_stage():
    plan = NetworkPlan(
        widths=(3, 5, 7),
        blocks=(1, 2, 3),
        decoder_blocks=(1, 1),
        kernels=((1, 3), (3, 3), (3, 3)),
        strides=((1, 1), (1, 2), (2, 2)),
    )
    encoder = PlainEncoder(plan, 2, 2)
    features = encoder(torch.randn(1, 2, 8, 8))
    assert [tuple(feature.shape) for feature in features] == [(1, 3, 8, 8), (1, 5, 8, 4), (1, 7, 4, 2)]
    assert encoder.channels == (3, 5, 7)
    assert encoder.strides == ((1, 1), (1, 2), (2, 2))
    assert [len(stage) for stage in encoder.stages] == [1, 2, 3]
    assert encoder.stages[0][0].conv.weight.shape == (3, 2, 1, 3)
