"""Layers for pictures made to fit any size and volumes: against torch's own layers, and exact identities."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unetkit.spatial.inflation import (
    BlockConvolution,
    inflate,
    inflated_kernel,
    round_up_sizes,
    uninflatable,
)
from unetkit.spatial.layers import average_pool


def both(name):
    """Convolve and stride along the new axis as along the others."""
    return True, True


@pytest.mark.parametrize("size", [(8, 12), (9, 5), (2, 3), (1, 1)])
def test_a_cut_block_is_completed_with_its_last_pixels(size):
    conv = nn.Conv2d(2, 3, 4, stride=4)
    net = nn.Sequential(conv)
    round_up_sizes(net)
    x = torch.randn(1, 2, *size)
    got = net(x)
    assert got.shape[2:] == tuple(-(-length // 4) for length in size)
    whole = [-(-length // 4) * 4 for length in size]
    rows, columns = ((torch.arange(n).clamp(max=m - 1)) for n, m in zip(whole, size, strict=True))
    assert torch.equal(got, conv(x[:, :, rows][..., columns]))


def test_pools_round_up_too():
    net = nn.Sequential(nn.MaxPool2d(2, 2), nn.AvgPool2d(2, 2), nn.MaxPool2d(3, 2, padding=1))
    round_up_sizes(net)
    assert net(torch.randn(1, 1, 13, 17)).shape[2:] == (2, 3)


def test_names_of_weights_stay():
    net = nn.Sequential(nn.Conv2d(2, 3, 2, stride=2), nn.BatchNorm2d(3))
    before = set(net.state_dict())
    round_up_sizes(net)
    inflate(net, both)
    assert set(net.state_dict()) == before


def filled(net, flat):
    """The inflated ``net`` with the weights of the picture one."""
    state = {}
    for name, value in net.state_dict().items():
        before = flat[name]
        state[name] = inflated_kernel(before, value.shape[2]) if value.ndim == 5 else before
    net.load_state_dict(state)
    return net.eval()


def layers():
    return [
        nn.Conv2d(2, 4, 7, stride=2, padding=3),
        nn.BatchNorm2d(4),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.Conv2d(4, 4, 5, padding=4, dilation=2, groups=4),
        nn.AvgPool2d(2, 2),
        nn.Conv2d(4, 6, 2, stride=2),
        nn.Conv2d(6, 6, 1, stride=2),
    ]


@pytest.mark.parametrize("along", [(True, True), (True, False), (False, True), (False, False)])
def test_an_image_constant_along_the_new_axis_gives_what_the_picture_gives(along):
    """Everywhere, the border of the new axis included, whatever the size."""
    net = nn.Sequential(*layers()).eval()
    net[1].running_mean.normal_()
    net[1].weight.data.normal_()
    flat = {name: value.clone() for name, value in net.state_dict().items()}
    round_up_sizes(net)
    x = torch.randn(2, 2, 37, 29)
    wanted = net(x)
    got = filled(inflate(net, lambda name: along), flat)(x.unsqueeze(2).expand(-1, -1, 21, -1, -1))
    assert got.shape[2] == (1 if along[1] else 21)
    torch.testing.assert_close(got, wanted.unsqueeze(2).expand_as(got), rtol=1e-4, atol=1e-5)


def test_slices_are_seen_alone_where_nothing_goes_along_the_new_axis():
    net = nn.Sequential(*layers()).double().eval()
    flat = {name: value.clone() for name, value in net.state_dict().items()}
    round_up_sizes(net)
    x = torch.randn(1, 2, 5, 16, 23, dtype=torch.float64)
    wanted = torch.stack([net(x[:, :, i]) for i in range(5)], 2)
    got = filled(inflate(net, lambda name: (False, False)).double(), flat)(x)
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


def test_a_kernel_in_the_middle_and_a_kernel_spread():
    kernel = torch.randn(4, 2, 3, 3)
    middle = inflated_kernel(kernel, 5)
    assert torch.equal(middle[:, :, 2], kernel)
    assert middle[:, :, [0, 1, 3, 4]].count_nonzero() == 0
    torch.testing.assert_close(inflated_kernel(kernel, 4).sum(2), kernel)
    assert torch.equal(inflated_kernel(kernel, 2, repeated=True), torch.stack([kernel, kernel], 2))


def test_a_repeated_kernel_is_right_for_a_transposed_convolution():
    kernel, x = torch.randn(3, 2, 2, 2), torch.randn(1, 3, 4, 5)
    wanted = F.conv_transpose2d(x, kernel, stride=2)
    volume = x.unsqueeze(2).expand(-1, -1, 3, -1, -1)
    got = F.conv_transpose3d(volume, inflated_kernel(kernel, 2, repeated=True), stride=2)
    torch.testing.assert_close(got, wanted.unsqueeze(2).expand_as(got))


def test_kinds_that_cannot_be_carried_over_are_named():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.PixelShuffle(2), nn.Sequential(nn.InstanceNorm2d(1)))
    assert uninflatable(net) == ["InstanceNorm2d", "PixelShuffle"]
    assert uninflatable(nn.Sequential(*layers(), nn.ReLU(), nn.GELU())) == []


def test_groups_and_bias_of_block_convolutions():
    weight, bias = nn.Parameter(torch.randn(4, 1, 2, 2)), nn.Parameter(torch.randn(4))
    x = torch.randn(1, 4, 6, 6)
    wanted = F.conv2d(x, weight, bias, stride=2, groups=4)
    assert torch.equal(BlockConvolution(weight, bias, groups=4)(x), wanted)


@pytest.mark.parametrize("size", [(1, 5, 3), (2, 1, 1)])
def test_an_average_of_a_volume_thinner_than_its_block(size):
    x = torch.randn(1, 2, *size)
    padded = x[:, :, torch.arange(2).clamp(max=size[0] - 1)]  # a cut block of two is its one pixel twice
    padded = F.pad(padded, (0, size[2] % 2, 0, size[1] % 2, 0, 0), mode="replicate")
    torch.testing.assert_close(average_pool((2, 2, 2))(x), F.avg_pool3d(padded, 2))
