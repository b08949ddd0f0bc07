"""Pixels of one byte in, class ids out: the same answers as the network for normalised pixels."""

import copy

import numpy as np
import pytest
import torch

from unetkit.networks.ends import FromPixels, ToClasses, with_ends
from unetkit.networks.unet import build
from unetkit.records.case import Intensity
from unetkit.records.plan import EXAMPLE, InferencePlan, NetworkPlan
from unetkit.spatial.intensity import apply_intensity

SCALED = Intensity(-np.inf, np.inf, 0.0, 1 / 255)
SHIFTED = Intensity(-np.inf, np.inf, 97.0, 1 / 31)
CUT = Intensity(20.0, 240.0, 97.0, 1 / 31)


def network_of(rank=2, channels=1, classes=3, **changes):
    torch.manual_seed(0)
    plan = {**EXAMPLE["network"], "kernels": ((3,) * rank,) * 2, "strides": ((1,) * rank, (2,) * rank)}
    network = build(NetworkPlan(**{**plan, **changes}), rank=rank, in_channels=channels, classes=classes)
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.1 * torch.randn_like(value))
    return network.eval()


def pixels_of(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def asked(network, pixels, intensity):
    """The network for pixels that were normalised outside, as a predictor does it."""
    ready = np.stack([apply_intensity(each, intensity) for each in pixels])
    with torch.no_grad():
        return network(torch.from_numpy(ready)).numpy()


def own(whole, pixels):
    with torch.no_grad():
        return whole(torch.from_numpy(pixels)).numpy()


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("rules", [(SCALED, SCALED), (SHIFTED, SCALED), (CUT, SHIFTED)])
def test_it_answers_as_for_normalised_pixels_up_to_the_border(rank, rules):
    network, pixels = network_of(rank, channels=2), pixels_of(2, 2, *(11,) * rank)
    before = copy.deepcopy(network.state_dict())
    whole = FromPixels(network, rules)
    assert whole.folded
    wanted = asked(network, pixels, rules)
    np.testing.assert_allclose(own(whole, pixels), wanted, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_an_offset_in_the_bias_would_be_wrong_at_the_border_and_only_there():
    """Why the offset is not folded: a convolution pads with 0, which is not what a black pixel is."""
    convolution = network_of(norm="batch").encoder.stages[0][0].conv
    pixels = pixels_of(1, 1, 9, 9)
    with torch.no_grad():
        wanted = convolution(torch.from_numpy(apply_intensity(pixels[0], (SHIFTED,)))[None])
        kernel = convolution.weight * SHIFTED.scale
        bias = convolution.bias - SHIFTED.shift * kernel.sum(dim=(1, 2, 3))
        folded = torch.conv2d(torch.from_numpy(pixels).float(), kernel, bias, padding=1)
    apart = (folded - wanted).abs()
    assert apart[..., 1:-1, 1:-1].max() < 1e-3
    assert apart.max() > 0.1


@pytest.mark.parametrize("rule", [SCALED, SHIFTED, CUT])
def test_without_folding_all_256_values_are_normalised_bit_for_bit(rule):
    network = network_of(pyramid="input")  # the image is pooled as well
    whole = FromPixels(network, [rule])
    assert not whole.folded
    seen = []
    whole.network.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    assert np.array_equal(own(whole, pixels), asked(network, pixels, (rule,)))
    assert np.array_equal(seen[0].numpy()[0], apply_intensity(pixels[0], (rule,)))


def test_pixels_as_they_are_take_nothing():
    network = network_of()
    whole = FromPixels(network, [Intensity(-np.inf, np.inf, 0.0, 1.0)])
    pixels = pixels_of(1, 1, 8, 8)
    assert not whole.folded
    assert torch.equal(whole.network.heads[0].weight, network.heads[0].weight)
    assert np.array_equal(own(whole, pixels), asked(network, pixels, (Intensity(-np.inf, np.inf, 0.0, 1.0),)))


def test_classes_are_those_of_the_largest_logit_and_the_first_of_equals():
    network, pixels = network_of(), pixels_of(2, 1, 7, 9)
    inference = InferencePlan(tile_size=(8, 8), network_input="uint8", network_output="classes")
    found = own(with_ends(network, inference, [SCALED]), pixels)
    assert found.dtype == np.uint8
    assert np.array_equal(found, asked(network, pixels, (SCALED,)).argmax(axis=1))
    equal = torch.tensor([2.0, 5.0, 5.0]).reshape(1, 3, 1, 1)
    assert ToClasses(torch.nn.Identity(), 3)(equal).item() == 1
    many = torch.zeros(1, 300, 1, 1)
    many[0, 299] = 1
    assert ToClasses(torch.nn.Identity(), 300)(many).item() == 299


def test_without_ends_the_network_is_written_as_it_is():
    network = network_of()
    assert with_ends(network, InferencePlan(tile_size=(8, 8)), ()) is network
