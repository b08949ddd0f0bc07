"""Atrous spatial pyramid pooling."""

import pytest
import torch
from torch.nn import functional as F

from unetkit.networks.blocks import initialize
from unetkit.networks.bottlenecks.aspp import RATES, AsppBottleneck
from unetkit.records.plan import NetworkPlan
from unetkit.spatial.layers import LAYERS, SLOPE


def plan(rank: int, **changes) -> NetworkPlan:
    values = {
        "bottleneck": "aspp",
        "widths": (4, 8),
        "blocks": (1, 1),
        "decoder_blocks": (1,),
        "kernels": ((3,) * rank,) * 2,
        "strides": ((1,) * rank, (2,) * rank),
    }
    return NetworkPlan(**{**values, **changes})


def disturbed(rank: int, channels: int = 8, **changes) -> AsppBottleneck:
    bottleneck = AsppBottleneck(plan(rank, **changes), rank, channels)
    with torch.no_grad():
        for value in bottleneck.parameters():
            value.add_(0.3 * torch.randn_like(value))
    return bottleneck


def with_holes(kernel: torch.Tensor, rate: int) -> torch.Tensor:
    """The kernel as an ordinary one, with zeros between its taps."""
    rank = kernel.ndim - 2
    wide = torch.zeros(*kernel.shape[:2], *((size - 1) * rate + 1 for size in kernel.shape[2:]))
    wide[(..., *(slice(None, None, rate),) * rank)] = kernel
    return wide


@pytest.mark.parametrize("rank", [2, 3])
def test_it_is_the_pyramid_written_down_with_ordinary_kernels(rank):
    torch.manual_seed(0)
    aspp, convolve = disturbed(rank), LAYERS[rank].convolve
    x = torch.randn(2, 8, *(6, 5, 4)[:rank])
    places = [torch.einsum("kc,bc...->bk...", aspp.branches[0][0].weight, x)]
    for branch, rate in zip(list(aspp.branches)[1:], RATES, strict=True):
        places.append(convolve(x, with_holes(branch[0].weight, rate), None, 1, rate))
    branches = zip(places, aspp.branches, strict=True)
    normed = [F.instance_norm(y, weight=b[1].weight, bias=b[1].bias) for y, b in branches]
    joined = torch.cat([F.leaky_relu(y, SLOPE) for y in normed], 1)
    joined = torch.einsum("kc,bc...->bk...", aspp.project.weight, joined)
    mean = F.leaky_relu(x.flatten(2).mean(2) @ aspp.pool.weight.t() + aspp.pool.bias, SLOPE)
    whole = (mean @ aspp.project_pool.weight.t()).reshape(2, 8, *(1,) * rank)
    wanted = F.instance_norm(joined, weight=aspp.norm.weight, bias=aspp.norm.bias) + whole
    torch.testing.assert_close(aspp(x), F.leaky_relu(wanted, SLOPE), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["instance", "batch", "group"])
@pytest.mark.parametrize("rank", [2, 3])
def test_the_whole_picture_counts_under_every_norm(norm, rank):
    """A constant cannot be seen behind instance normalisation; the mean must come later."""
    aspp = disturbed(rank, norm=norm).eval()
    x = torch.randn(1, 8, *(3, 4, 5)[:rank], requires_grad=True)
    aspp(x).sum().backward()
    assert aspp.pool.weight.grad.abs().max() > 1e-3


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("norm", ["instance", "group"])
def test_one_sample_of_one_place_trains(rank, norm):
    aspp = AsppBottleneck(plan(rank, norm=norm), rank, 8)
    initialize(aspp)
    x = torch.randn(1, 8, *(1,) * rank)
    y = aspp.train()(x)
    assert y.shape == x.shape
    assert y.isfinite().all()


def test_it_reads_every_place_of_small_features():
    aspp = disturbed(2, kernels=((3, 3), (3, 3)))
    x = torch.randn(1, 8, 8, 8)
    centre = aspp.branches[3][0](x)
    moved = x.clone()
    moved[..., 0, 0] += 1
    assert (aspp.branches[3][0](moved) - centre)[..., 4, 4].abs().max() > 0  # 4 places away: rate 4
    assert (aspp.branches[1][0](moved) - aspp.branches[1][0](x))[..., 4, 4].abs().max() == 0


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_few_channels_are_enough(channels):
    assert AsppBottleneck(plan(2), 2, channels)(torch.randn(2, channels, 3, 2)).shape == (2, channels, 3, 2)
