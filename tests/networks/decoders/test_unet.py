"""The U-Net decoder."""

import torch

from unetkit.networks.decoders.unet import UnetDecoder
from unetkit.networks.encoders.plain import PlainEncoder
from unetkit.records.plan import NetworkPlan

PLAN = NetworkPlan(
    widths=(3, 5, 7),
    blocks=(1, 1, 1),
    decoder_blocks=(1, 2),
    kernels=((1, 3), (3, 3), (3, 3)),
    strides=((1, 1), (1, 2), (2, 2)),
)


def test_outputs_have_the_size_and_width_of_the_skips():
    encoder = PlainEncoder(PLAN, 2, 1)
    decoder = UnetDecoder(PLAN, 2, encoder)
    features = encoder(torch.randn(2, 1, 8, 8))
    outputs = decoder(features)
    assert [output.shape for output in outputs] == [feature.shape for feature in features[:-1]]
    assert decoder.channels == (3, 5)
    assert [len(blocks) for blocks in decoder.blocks] == [1, 2]
    assert decoder.ups[1].weight.shape == (7, 5, 2, 2)  # kernel = stride
    assert decoder.blocks[0][0].conv.weight.shape == (3, 6, 1, 3)  # kernel of its own stage


def test_every_feature_reaches_the_finest_output():
    decoder = UnetDecoder(PLAN, 2, PlainEncoder(PLAN, 2, 1))
    features = [torch.randn(1, *shape, requires_grad=True) for shape in ((3, 8, 8), (5, 8, 4), (7, 4, 2))]
    pulls = torch.autograd.grad(decoder(features)[0].square().sum(), features)
    assert all(pull.abs().max() > 0 for pull in pulls)
