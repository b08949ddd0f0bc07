"""The residual encoder."""

import torch

from unetkit.networks.encoders.residual import ResidualEncoder
from unetkit.records.plan import NetworkPlan


def test_a_stem_and_then_residual_blocks():
    plan = NetworkPlan(
        encoder="residual",
        widths=(4, 8),
        blocks=(1, 3),
        decoder_blocks=(1,),
        kernels=((1, 3, 3), (3, 3, 3)),
        strides=((1, 1, 1), (1, 2, 2)),
    )
    encoder = ResidualEncoder(plan, 3, 2)
    features = encoder(torch.randn(1, 2, 3, 8, 8))
    assert [tuple(feature.shape) for feature in features] == [(1, 4, 3, 8, 8), (1, 8, 3, 4, 4)]
    assert encoder.stem.conv.weight.shape == (4, 2, 1, 3, 3)
    assert [len(stage) for stage in encoder.stages] == [1, 3]
    assert [len(block.skip) for block in encoder.stages[1]] == [3, 0, 0]  # pool, project, norm
