"""Depthwise convolutions against torch's own, forth and back."""

import pytest
import torch

from unetkit.spatial.depthwise import Depthwise, DepthwiseUpsampling, PointUpsampling, depthwise
from unetkit.spatial.layers import LAYERS
from unetkit.spatial.memory_format import arranged, channels_last, memory_format

FORMATS = ["contiguous", "channels_last"]
KERNELS = {2: [(3, 3), (5, 3), (1, 3)], 3: [(3, 3, 3), (5, 3, 1), (1, 3, 5)]}
CASES = [(rank, kernel) for rank, kernels in KERNELS.items() for kernel in kernels]


def with_gradients(function, *values):
    leaves = [value.detach().clone(memory_format=torch.preserve_format).requires_grad_() for value in values]
    y = function(*leaves)
    weight = torch.sin(torch.arange(y.numel(), dtype=y.dtype)).reshape(y.shape)
    return y, torch.autograd.grad((y * weight).sum(), leaves)


def assert_alike(ours, theirs):
    torch.testing.assert_close(ours[0], theirs[0])
    for mine, other in zip(ours[1], theirs[1], strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("rank", "kernel"), CASES)
@pytest.mark.parametrize("step", [1, 2])
def test_it_is_torchs_convolution_with_as_many_groups_as_channels(rank, kernel, step, name):
    torch.manual_seed(0)
    x = arranged(torch.randn(2, 4, *(5, 6, 3)[:rank], dtype=torch.float64), name)
    weight, bias = torch.randn(4, 1, *kernel, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    stride, padding = (step,) * rank, [size // 2 for size in kernel]
    ours = with_gradients(lambda *values: depthwise(*values, stride=stride), x, weight, bias)
    theirs = with_gradients(
        lambda *values: LAYERS[rank].convolve(*values, stride, padding, 1, 4), x, weight, bias
    )
    assert_alike(ours, theirs)
    assert ours[0].shape[2:] == tuple(-(-length // step) for length in x.shape[2:])
    kept = depthwise(x.float(), weight.float(), bias.float(), stride=stride)
    assert memory_format(kept) == memory_format(x)


def test_gradients_by_finite_differences_where_the_kernel_is_larger_than_the_volume():
    torch.manual_seed(0)
    x = torch.randn(2, 2, 1, 3, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 1, 5, 3, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *values: depthwise(*values, stride=(1, 1, 1)), (x, weight, bias))


def test_a_frozen_kernel_gets_no_gradient():
    x = torch.randn(1, 2, 3, 3, 3, requires_grad=True)
    layer = Depthwise(2, kernel=(3, 3, 3), stride=(1, 1, 1)).requires_grad_(requires_grad=False)
    layer(x).sum().backward()
    assert layer.weight.grad is None
    assert x.grad is not None


@pytest.mark.parametrize("name", FORMATS)
def test_half_precision_is_worked_in_float(name):
    torch.manual_seed(0)
    layer = Depthwise(4, kernel=(3, 3, 3), stride=(1, 1, 1))
    x = arranged(torch.randn(1, 4, 5, 4, 6), name).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, layer(x.float()).bfloat16())
    y.float().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32
    whole = layer.bfloat16()
    assert whole(x).dtype == torch.bfloat16


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("rank", "kernel"), CASES)
def test_upsampling_is_torchs_transposed_convolution(rank, kernel, name):
    torch.manual_seed(0)
    layer = DepthwiseUpsampling(3, kernel=kernel, stride=(2, 3, 1)[:rank]).double()
    x = arranged(torch.randn(2, 3, *(3, 4, 2)[:rank], dtype=torch.float64), name)

    def ours(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    def theirs(x, weight, bias):
        padding = [size // 2 for size in kernel]
        return LAYERS[rank].convolve_transposed(x, weight, bias, layer.stride, padding, 0, 3)

    bias = torch.randn(3, dtype=torch.float64)
    results = with_gradients(ours, x, layer.weight, bias)
    assert_alike(results, with_gradients(theirs, x, layer.weight, bias))
    assert results[0].shape[2:] == (5, 10, 2)[:rank]
    assert memory_format(layer.float()(x.float())) == memory_format(x)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("rank", [2, 3])
def test_points_land_at_their_multiples_and_the_bias_between_them(rank, name):
    layer = PointUpsampling(3, 5, stride=(2,) * rank)
    with torch.no_grad():
        layer.bias.copy_(torch.arange(5.0))
    x = arranged(torch.randn(2, 3, *(3, 2, 4)[:rank]), name)
    y = layer(x)
    column = layer.bias[(..., *[None] * rank)]
    between = column.expand_as(y).clone()
    between[(..., *(slice(None, None, 2),) * rank)] += torch.einsum("kc,bc...->bk...", layer.weight, x)
    torch.testing.assert_close(y, between)
    assert memory_format(y) == memory_format(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16


def test_what_a_compiler_sees_is_the_same(monkeypatch):
    up = DepthwiseUpsampling(2, kernel=(3, 3, 3), stride=(2, 2, 2))
    layer = Depthwise(2, kernel=(3, 3, 3), stride=(1, 1, 1))
    x = torch.randn(1, 2, 3, 4, 5).contiguous(memory_format=channels_last(3))
    eager = layer(x), up(x)
    monkeypatch.setattr("unetkit.spatial.depthwise._plain", lambda _: True)
    for mine, plain in zip(eager, (layer(x), up(x)), strict=True):
        torch.testing.assert_close(mine, plain)
