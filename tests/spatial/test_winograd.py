"""Convolutions with half the multiplications against torch's own, forth and back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from unetkit.spatial import winograd
from unetkit.spatial.layers import convolution
from unetkit.spatial.memory_format import arrange_weights, arranged, memory_format
from unetkit.spatial.tracing import plainly
from unetkit.spatial.winograd import convolve_halved, halves


def plain(x, weight, bias):
    return F.conv3d(x, weight, bias, padding=1)


def both(function, *values):
    """The result and its gradients by all values, pulled back by numbers that differ everywhere."""
    leaves = [value.detach().clone(memory_format=torch.preserve_format).requires_grad_() for value in values]
    y = function(*leaves)
    pull = torch.sin(torch.arange(y.numel(), dtype=y.dtype)).reshape(y.shape)
    return [y, *torch.autograd.grad((y * pull).sum(), leaves)]


def drawn(batch, channels, width, size, dtype=torch.float64):
    x = arranged(torch.randn(batch, channels, *size, dtype=dtype), "channels_last")
    weight = torch.randn(width, channels, 3, 3, 3, dtype=dtype) / (27 * channels) ** 0.5
    return x, weight, torch.randn(width, dtype=dtype)


@given(
    batch=st.integers(1, 3),
    channels=st.integers(2, 4),
    width=st.integers(2, 4),
    size=st.tuples(st.integers(1, 14), st.integers(1, 5), st.integers(2, 5)),
    block=st.integers(1, 2000),
)
def test_it_is_torchs_convolution_at_every_size_and_in_blocks_of_any_length(
    batch, channels, width, size, block
):
    torch.manual_seed(0)
    values = drawn(batch, channels, width, size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "BLOCK", block)
        ours = both(convolve_halved, *values)
    for mine, other in zip(ours, both(plain, *values), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)


def test_gradients_by_finite_differences():
    torch.manual_seed(0)
    values = [value.requires_grad_() for value in drawn(2, 2, 3, (5, 2, 3))]
    assert torch.autograd.gradcheck(convolve_halved, values)


def test_in_float32_it_is_off_by_a_few_millionths_of_the_largest_value():
    torch.manual_seed(0)
    values = drawn(2, 48, 32, (12, 20, 24), torch.float32)
    for mine, other in zip(both(convolve_halved, *values), both(plain, *values), strict=True):
        assert (mine - other).abs().max() < 3e-5 * other.abs().max()


def test_a_constant_is_added_once_and_none_where_there_is_none():
    x = arranged(torch.zeros(1, 2, 5, 3, 3), "channels_last")
    weight = torch.randn(2, 2, 3, 3, 3)
    assert convolve_halved(x, weight, torch.tensor([1.5, -2.0]))[0, :, :, 1, 2].unique().tolist() == [
        -2.0,
        1.5,
    ]
    assert convolve_halved(x, weight, None).abs().max() == 0


def test_a_frozen_kernel_gets_no_gradient():
    x, weight, bias = drawn(1, 2, 2, (4, 3, 3))
    convolve_halved(x.requires_grad_(), weight, bias).sum().backward()
    assert x.grad is not None
    assert weight.grad is None


def test_the_result_lies_as_the_input_does():
    x, weight, bias = drawn(2, 3, 4, (6, 3, 5))
    assert memory_format(convolve_halved(x, weight, bias)) == memory_format(x)


WIDE = (1, 32, 8, 24, 24)
"""A size at which it pays."""


def test_only_large_volumes_in_channels_last_are_worth_it():
    x = arranged(torch.zeros(WIDE), "channels_last")
    assert halves(x, 32)
    assert not halves(x.contiguous(), 32)
    assert not halves(x, 16)  # too narrow a result
    assert not halves(arranged(torch.zeros(1, 8, 8, 48, 48), "channels_last"), 32)  # too narrow an input
    assert not halves(x[:, :, :, :8, :8], 32)  # small slices
    assert not halves(x[:, :, :5], 32)  # eight slices for five
    assert not halves(x.double(), 32)
    with torch.autocast("cpu", torch.bfloat16):
        assert not halves(x, 32)
    with plainly():
        assert not halves(x, 32)


@pytest.mark.parametrize(
    ("kernel", "stride", "groups", "halved"),
    [
        ((3, 3, 3), (1, 1, 1), 1, True),
        ((1, 3, 3), (1, 1, 1), 1, False),
        ((3, 3, 3), (2, 2, 2), 1, False),
        ((3, 3, 3), (1, 1, 1), 2, False),
    ],
)
def test_a_layer_takes_it_where_it_fits_and_answers_the_same(monkeypatch, kernel, stride, groups, halved):
    torch.manual_seed(0)
    layer = convolution(32, 32, kernel=kernel, stride=stride, groups=groups)
    arrange_weights(layer, "channels_last")
    x = arranged(torch.randn(WIDE), "channels_last")
    with plainly():
        wanted = layer(x)
    seen = []
    monkeypatch.setattr(
        "unetkit.spatial.layers.convolve_halved",
        lambda *values: seen.append(1) or convolve_halved(*values),
    )
    torch.testing.assert_close(layer(x), wanted, rtol=0, atol=2e-5)
    assert bool(seen) == halved
    assert isinstance(layer, nn.Conv3d)
