"""Layers: each equals torch's own, in both memory formats, with its gradients."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unetkit.spatial.layers import (
    LAYERS,
    GroupNorm,
    InstanceNorm,
    Pointwise,
    Upsampling,
    average_pool,
    convolution,
    dropout,
    instance_norm,
    memory_format,
    normalization,
)
from unetkit.spatial.memory_format import arranged, channels_last

SHAPES = {2: (3, 5, 7, 9), 3: (2, 5, 4, 6, 5)}
CONVOLVE = {2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {2: F.conv_transpose2d, 3: F.conv_transpose3d}


def pixels(rank: int, name: str, *, dtype: torch.dtype = torch.float32, offset: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(rank)
    x = torch.randn(SHAPES[rank], generator=generator, dtype=torch.float64) + offset
    return arranged(x.to(dtype), name)


def affine(channels: int = 5, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    weight, bias = torch.randn(2, channels, generator=generator, dtype=torch.float64).to(dtype)
    return weight.requires_grad_(), bias.requires_grad_()


def graded(function, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> list[torch.Tensor]:
    """The result and its gradients under a fixed, position-dependent pull."""
    leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y = function(leaf, weight, bias)
    pull = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view(y.shape)
    return [y.detach(), *torch.autograd.grad(y, (leaf, weight, bias), pull)]


@pytest.mark.parametrize("slope", [1.0, 0.01])
@pytest.mark.parametrize("name", ["contiguous", "channels_last"])
@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_instance_norm_and_its_gradients_equal_torch(rank, name, slope, dtype):
    x, (weight, bias) = pixels(rank, name, dtype=dtype), affine(dtype=dtype)

    def independent(x, weight, bias):
        return F.leaky_relu(F.instance_norm(x, weight=weight, bias=bias, eps=1e-5), slope)

    wanted = graded(independent, x, weight, bias)
    got = graded(lambda *parts: instance_norm(*parts, slope=slope), x, weight, bias)
    tolerance = 2e-5 if dtype == torch.float32 else 1e-11
    for mine, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance * theirs.abs().max().item())


@pytest.mark.parametrize("name", ["contiguous", "channels_last"])
def test_instance_norm_by_hand(name):
    # mean of 0, 2, 4, 6 is 3, variance (9 + 1 + 1 + 9) / 4 = 5; times 2, plus 1
    x = arranged(torch.tensor([0.0, 2.0, 4.0, 6.0]).view(1, 1, 2, 2).expand(1, 2, 2, 2), name)
    y = instance_norm(x, torch.full((2,), 2.0), torch.ones(2), eps=0.0, slope=0.5)
    plain = 2 * (np.array([0, 2, 4, 6]) - 3) / np.sqrt(5) + 1
    wanted = np.where(plain > 0, plain, plain / 2).reshape(2, 2)
    np.testing.assert_allclose(y[0, 0], wanted, rtol=1e-6)
    np.testing.assert_allclose(y[0, 1], wanted, rtol=1e-6)


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


def test_one_pixel_is_normalised_to_the_bias():
    for name in ("contiguous", "channels_last"):
        x = arranged(torch.randn(1, 3, 1, 1), name)
        y = instance_norm(x, torch.ones(3), torch.tensor([1.0, 2.0, 3.0]))
        torch.testing.assert_close(y.flatten(1), torch.tensor([[1.0, 2.0, 3.0]]), rtol=0, atol=2e-4)


@pytest.mark.parametrize("name", ["contiguous", "channels_last"])
def test_instance_norm_passes_gradcheck_once_and_twice(name):
    x = arranged(torch.randn(2, 3, 3, 2, dtype=torch.float64), name).requires_grad_()
    weight, bias = affine(3, torch.float64)
    assert torch.autograd.gradcheck(instance_norm, (x, weight, bias))
    assert torch.autograd.gradgradcheck(instance_norm, (x, weight, bias))


@pytest.mark.parametrize("name", ["contiguous", "channels_last"])
def test_instance_norm_in_bfloat16_stays_bfloat16(name):
    layer = InstanceNorm(5, slope=0.01)
    x = pixels(3, name)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x.bfloat16())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), layer(x), rtol=0.02, atol=0.03)


def test_an_exporter_sees_plain_instance_norm():
    graph = torch.export.export(InstanceNorm(5, slope=0.01), (pixels(2, "channels_last"),)).graph
    seen = {str(node.target) for node in graph.nodes if node.op == "call_function"}
    assert seen == {"aten.instance_norm.default", "aten.leaky_relu.default"}


def test_instance_norm_says_what_it_is():
    assert repr(InstanceNorm(4, slope=0.01)) == "InstanceNorm(4, eps=1e-05, slope=0.01)"


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


def test_memory_format_is_contiguous_where_both_hold():
    assert memory_format(torch.zeros(2, 1, 4, 4)) == torch.contiguous_format
    assert memory_format(torch.zeros(2, 4)) == torch.contiguous_format
    for rank in LAYERS:
        assert memory_format(pixels(rank, "channels_last")) == channels_last(rank)
