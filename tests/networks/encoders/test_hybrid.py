"""The convolutional half of R50-ViT."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unetkit.networks.blocks import initialize
from unetkit.networks.encoders.hybrid import BottleneckUnit, HybridEncoder, StandardizedConv
from unetkit.networks.presets import PRESETS
from unetkit.records.plan import NetworkPlan
from unetkit.spatial.layers import LAYERS
from unetkit.spatial.scale import max_pooled_wide


def plan(rank: int, **changes) -> NetworkPlan:
    values = {
        "encoder": "hybrid",
        "widths": (4, 8, 16, 6),
        "blocks": (1, 1, 2, 1),
        "decoder_blocks": (1,) * 3,
        "kernels": ((3,) * rank,) * 4,
        "strides": ((2,) * rank,) * 4,
    }
    return NetworkPlan(**{**values, **changes})


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_features_at_2_4_8_and_16(rank, channels):
    encoder = HybridEncoder(plan(rank), rank, channels)
    features = encoder(torch.randn(1, channels, *(33, 16, 17)[:rank]))
    assert [feature.shape[1] for feature in features] == [4, 8, 16, 6]
    assert [feature.shape[2] for feature in features] == [17, 9, 5, 3]
    assert [feature.shape[3] for feature in features] == [8, 4, 2, 1]
    assert encoder.channels == (4, 8, 16, 6)
    assert encoder.stages[0][0].weight.shape == (4, channels, *(7,) * rank)
    assert encoder.stages[3][-1].weight.shape == (6, 32)


def test_r50_has_the_published_parameters():
    with torch.device("meta"):
        encoder = HybridEncoder(PRESETS["transunet_2021"].plan(2), 2, 3)

    def unit(before: int, after: int, *, projected: bool = False) -> int:
        inner = after // 4
        kernels = before * inner + 9 * inner**2 + inner * after
        norms = 2 * (2 * inner + after)
        return kernels + norms + projected * (before * after + 2 * after)

    root = 49 * 3 * 64 + 2 * 64
    stages = ((64, 256, 3), (256, 512, 4), (512, 1024, 9))
    body = sum(unit(a, b, projected=True) + (n - 1) * unit(b, b) for a, b, n in stages)
    tokens = 1024 * 768 + 768
    assert sum(value.numel() for value in encoder.parameters()) == root + body + tokens == 12_682_048


def test_kernels_are_standardised():
    layer = StandardizedConv(3, 5, kernel=(3, 3), stride=(2, 2))
    x = torch.randn(2, 3, 6, 8)
    rows = layer.weight.flatten(1)
    mean, deviation = rows.mean(1, keepdim=True), rows.std(1, correction=0, keepdim=True)
    kernel = ((rows - mean) / deviation).reshape(layer.weight.shape)
    torch.testing.assert_close(layer(x), F.conv2d(x, kernel, None, 2, 1), rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        wanted = layer(x)
        layer.weight.mul_(10).add_(3)
    torch.testing.assert_close(layer(x), wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("step", [1, 2])
def test_a_unit_is_the_residual_bottleneck_of_torchs_layers(rank, step):
    unit = BottleneckUnit(8, 16, kernel=(3,) * rank, stride=(step,) * rank)
    with torch.no_grad():
        for value in unit.parameters():
            value.add_(0.2 * torch.randn_like(value))

    def convolved(x, layer, stride, padding):
        rows = layer.weight.flatten(1)
        rows = (rows - rows.mean(1, keepdim=True)) / (rows.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
        return LAYERS[rank].convolve(x, rows.reshape(layer.weight.shape), None, stride, padding)

    def normed(x, norm, groups):
        return F.group_norm(x, groups, norm.weight, norm.bias)

    x = torch.randn(2, 8, *(6, 8, 4)[:rank])
    y = F.relu(normed(convolved(x, unit.narrow, 1, 0), unit.norms[0], 4))
    y = F.relu(normed(convolved(y, unit.spatial, step, 1), unit.norms[1], 4))
    y = normed(convolved(y, unit.widen, 1, 0), unit.norms[2], 16)
    skip = normed(convolved(x, unit.skip[0], step, 0), unit.skip[1], 16)
    torch.testing.assert_close(unit(x), F.relu(y + skip), rtol=1e-4, atol=1e-5)


def test_a_unit_starts_as_its_skip():
    unit = BottleneckUnit(8, 8, kernel=(3, 3), stride=(1, 1))
    initialize(unit)
    x = torch.randn(1, 8, 4, 4).abs()
    assert torch.equal(unit(x), x)


@pytest.mark.parametrize("size", [(6, 7), (1, 2), (5, 9)])
def test_the_pool_looks_at_three_pixels_from_every_second(size):
    x = torch.randn(1, 2, *size)
    pooled = max_pooled_wide(x, (2, 2))
    assert pooled.shape[2:] == tuple(-(-length // 2) for length in size)
    for i, j in torch.cartesian_prod(*(torch.arange(length) for length in pooled.shape[2:])).tolist():
        window = x[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        assert torch.equal(pooled[:, :, i, j], window.amax((2, 3)))


def test_volumes_of_one_slice_are_pictures():
    two = HybridEncoder(plan(2), 2, 2).double()
    flat = {"kernels": ((1, 3, 3),) * 4, "strides": ((1, 2, 2),) * 4}
    three = HybridEncoder(plan(3, **flat), 3, 2).double()
    three.load_state_dict(
        {name: value.unsqueeze(2) if value.ndim == 4 else value for name, value in two.state_dict().items()}
    )
    x = torch.randn(1, 2, 19, 16, dtype=torch.float64)
    for mine, theirs in zip(three(x.unsqueeze(2)), two(x), strict=True):
        torch.testing.assert_close(mine.squeeze(2), theirs)


def test_all_of_it_is_in_one_of_its_stages():
    encoder = HybridEncoder(plan(2), 2, 1)
    stages = encoder.blocks_by_stage()
    counted = sum(value.numel() for stage in stages for value in nn.ModuleList(stage).parameters())
    assert len(stages) == 4
    assert counted == sum(value.numel() for value in encoder.parameters())
