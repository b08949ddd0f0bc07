"""Instance normalisation: equal to torch's, in both memory formats, with its gradients."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from unetkit.spatial.instance_norm import InstanceNorm, instance_norm
from unetkit.spatial.memory_format import arranged

SHAPES = {2: (3, 5, 7, 9), 3: (2, 5, 4, 6, 5)}


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
