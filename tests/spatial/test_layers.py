"""Layers: each equals torch's own, in both memory formats, with its gradients."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unetkit.spatial.layers import (
    GroupNorm,
    Pointwise,
    Upsampling,
    average_pool,
    convolution,
    dropout,
    evened,
    normalization,
)
from unetkit.spatial.memory_format import arranged, memory_format

SHAPES = {2: (3, 5, 7, 9), 3: (2, 5, 4, 6, 5)}
CONVOLVE = {2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {2: F.conv_transpose2d, 3: F.conv_transpose3d}


def pixels(rank: int, name: str, *, dtype: torch.dtype = torch.float32, offset: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(rank)
    x = torch.randn(SHAPES[rank], generator=generator, dtype=torch.float64) + offset
    return arranged(x.to(dtype), name)


@pytest.mark.parametrize("kind", ["instance", "group"])
@pytest.mark.parametrize("rank", [2, 3])
def test_a_large_mean_does_not_drown_the_variance(rank, kind):
    x = pixels(rank, "channels_last", dtype=torch.float64, offset=300.0)
    exact = normalization(kind, 5, rank=rank)[0].double()(x)
    got = normalization(kind, 5, rank=rank)[0](x.float())
    # float32 itself places 300 ± 1 only to 2e-5
    torch.testing.assert_close(got.double(), exact, rtol=0, atol=2e-3)


@pytest.mark.parametrize("kind", ["instance", "batch", "group"])
@pytest.mark.parametrize("name", ["contiguous", "channels_last"])
@pytest.mark.parametrize("rank", [2, 3])
def test_norms_keep_the_memory_format_forth_and_back(rank, name, kind):
    layer, activation = normalization(kind, 5, rank=rank, slope=0.01)
    x = pixels(rank, name).requires_grad_()
    y = activation(layer(x))
    assert memory_format(y) == memory_format(x)
    (gradient,) = torch.autograd.grad(y.square().sum(), x)
    assert kind == "group" or memory_format(gradient) == memory_format(x)


@pytest.mark.parametrize("kind", ["instance", "batch", "group"])
@pytest.mark.parametrize("rank", [2, 3])
def test_norm_then_activation_is_the_activation_of_the_norm(rank, kind):
    x = pixels(rank, "channels_last")
    fused, activation = normalization(kind, 5, rank=rank, slope=0.01)
    bare, nothing = normalization(kind, 5, rank=rank)
    assert isinstance(nothing, nn.Identity)
    torch.testing.assert_close(activation(fused(x)), F.leaky_relu(bare(x), 0.01))


@pytest.mark.parametrize("rank", [2, 3])
def test_group_norm_equals_torch(rank):
    layer = GroupNorm(1, 5)
    for name in ("contiguous", "channels_last"):
        torch.testing.assert_close(layer(pixels(rank, name)), F.group_norm(pixels(rank, "contiguous"), 1))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", ["contiguous", "channels_last"])
@pytest.mark.parametrize("rank", [2, 3])
def test_pointwise_is_a_convolution_of_kernel_one(rank, name, bias):
    layer = Pointwise(5, 3, bias=bias)
    if layer.bias is not None:
        nn.init.normal_(layer.bias)
    x = pixels(rank, name).requires_grad_()
    kernel = layer.weight[(..., *[None] * rank)]
    wanted = CONVOLVE[rank](x, kernel, layer.bias)
    got = layer(x)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
    assert memory_format(got) == memory_format(x)
    pull = torch.randn_like(wanted)
    for mine, theirs in zip(
        torch.autograd.grad(got, (x, layer.weight), pull),
        torch.autograd.grad(wanted, (x, layer.weight), pull),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_an_exporter_sees_a_convolution_for_pointwise():
    for rank, name in ((2, "conv2d"), (3, "conv3d")):
        graph = torch.export.export(Pointwise(5, 3), (pixels(rank, "contiguous"),)).graph
        assert any(name in str(node.target) for node in graph.nodes)


@pytest.mark.parametrize("rank", [2, 3])
def test_average_pool_is_the_mean_of_blocks_in_the_same_format(rank):
    shape = (2, 3, *(4,) * rank)
    x = torch.arange(np.prod(shape), dtype=torch.float32).view(shape)
    wanted = x
    for axis in range(2, 2 + rank):
        wanted = wanted.unflatten(axis, (2, 2)).mean(axis + 1)
    for name in ("contiguous", "channels_last"):
        got = average_pool((2,) * rank)(arranged(x, name))
        torch.testing.assert_close(got, wanted)
        assert memory_format(got) == memory_format(arranged(x, name))


def test_average_pool_gives_each_pixel_of_a_block_its_share_of_the_gradient():
    for name in ("contiguous", "channels_last"):
        x = arranged(torch.randn(2, 3, 4, 6, 2), name).requires_grad_()
        (gradient,) = torch.autograd.grad(average_pool((1, 3, 2))(x).sum(), x)
        torch.testing.assert_close(gradient, torch.full_like(x, 1 / 6))
        assert memory_format(gradient) == memory_format(x)


def test_convolution_keeps_or_divides_the_size():
    x = torch.zeros(1, 2, 7, 10)
    assert convolution(2, 3, kernel=(3, 1), stride=(1, 1))(x).shape == (1, 3, 7, 10)
    assert convolution(2, 3, kernel=(3, 3), stride=(2, 1))(x).shape == (1, 3, 4, 10)


def test_upsampling_makes_each_pixel_its_own_block():
    layer = Upsampling(1, 1, stride=(1, 2, 2))
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.bias.zero_()
    x = torch.arange(4.0).view(1, 1, 1, 2, 2)
    torch.testing.assert_close(layer(x), x.repeat_interleave(2, 3).repeat_interleave(2, 4))


@pytest.mark.parametrize("stride", [(2, 2), (1, 3), (2, 2, 2), (1, 2, 3)])
@pytest.mark.parametrize("name", ["contiguous", "channels_last"])
def test_upsampling_is_a_transposed_convolution(name, stride):
    rank = len(stride)
    layer = Upsampling(5, 4, stride=stride)
    nn.init.normal_(layer.bias)
    x = pixels(rank, name).requires_grad_()
    wanted = TRANSPOSED[rank](x, layer.weight, layer.bias, stride)
    got = layer(x)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
    assert memory_format(got) == memory_format(x)
    pull = torch.randn_like(wanted)
    leaves = (x, layer.weight, layer.bias)
    pairs = zip(*(torch.autograd.grad(y, leaves, pull) for y in (got, wanted)), strict=True)
    for mine, theirs in pairs:
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_dropout_of_nothing_is_nothing():
    assert isinstance(dropout(0.0, rank=2), nn.Identity)
    x = torch.ones(1, 50, 2, 2, 2)
    dropped = dropout(0.5, rank=3)(x).flatten(2)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert (dropped == dropped[:, :, :1]).all()


@pytest.mark.parametrize("name", ["contiguous", "channels_last"])
@pytest.mark.parametrize("stride", [(2, 2), (1, 3), (2, 2, 2), (1, 2, 4)])
def test_what_halves_unevenly_ends_with_its_last_pixel_again(stride, name):
    x = pixels(len(stride), name)
    got = evened(x, stride)
    grow = [-size % step for size, step in zip(x.shape[2:], stride, strict=True)]
    wanted = np.pad(x.numpy(), [(0, 0), (0, 0), *((0, more) for more in grow)], mode="edge")
    np.testing.assert_array_equal(got.numpy(), wanted)
    assert memory_format(got) == memory_format(x)
    assert evened(got, stride) is got


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_a_strided_convolution_sees_no_zero_behind_the_last_pixel(rank, kernel):
    """An image that goes on as it ends answers, inside, as the larger image it could be a part of."""
    torch.manual_seed(0)
    layer = convolution(2, 3, kernel=(kernel,) * rank, stride=(2,) * rank)
    even = torch.randn(1, 2, *(8,) * rank)
    for axis in range(2, 2 + rank):
        even.narrow(axis, 7, 1).copy_(even.narrow(axis, 6, 1))
    odd = even[(slice(None), slice(None), *(slice(0, 7),) * rank)]
    assert layer(odd).shape[2:] == (4,) * rank
    torch.testing.assert_close(layer(odd), layer(even))


@pytest.mark.parametrize("stride", [(2, 2), (1, 2), (3, 2), (2, 2, 2), (1, 2, 4)])
@pytest.mark.parametrize("size", [(6, 8, 4), (5, 7, 3), (1, 1, 1)])
def test_an_exported_pool_is_the_pool(stride, size):
    x, pool = torch.randn(2, 3, *size[: len(stride)]), average_pool(stride)
    graph = torch.export.export(pool, (x,), strict=False).module()
    torch.testing.assert_close(graph(x), pool(x))
