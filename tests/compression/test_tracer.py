import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unetkit.compression.channels import Channels, follow


def traced(forward, *layers: nn.Module, size: tuple[int, ...] = (2, 3, 8, 8)) -> Channels:
    """The channels of ``forward(x, *layers)``."""

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(layers)

        def forward(self, x):
            return forward(x, *self.layers)

    network = Network().eval()
    program = torch.export.export(network, (torch.zeros(size),), strict=False)
    return follow(program, network.state_dict())


def free(found: Channels, layer: int) -> bool:
    """Whether the channels that a layer makes may be cut, and what reads them is known."""
    made = set(found.axes[f"layers.{layer}.weight", 0].tolist())
    read = set(found.axes[f"layers.{layer + 1}.weight", 1].tolist())
    return made <= read and not made & found.fixed


def convolutions() -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1)


@pytest.mark.parametrize(
    "step",
    [
        F.relu_,
        lambda x: F.leaky_relu(x, 0.01),
        lambda x: F.pad(x, (1, 1, 0, 1)),
        lambda x: F.pad(x, (1, 1, 0, 1), mode="replicate"),
        lambda x: F.max_pool2d(x, 2, ceil_mode=True),
        lambda x: F.avg_pool2d(x, 2),
        lambda x: F.avg_pool2d(x, 2) / F.avg_pool2d(torch.ones_like(x[:1, :1]), 2),
        lambda x: F.interpolate(x, size=(16, 16), mode="bilinear", align_corners=True),
        lambda x: x[:, :, ::2],
        lambda x: x.narrow(2, 0, 3),
        lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)),
        lambda x: torch.addcmul(x, x, x),
        lambda x: x.flatten(2).transpose(1, 2).contiguous().transpose(1, 2).unflatten(2, (8, 8)),
        lambda x: x.permute(0, 2, 3, 1).permute(0, 3, 1, 2),
    ],
)
def test_what_leaves_channels_alone_leaves_them_free(step):
    found = traced(lambda x, one, two: two(step(one(x))), *convolutions())
    assert free(found, 0)
    assert found.axes["layers.0.weight", 0].tolist() == found.axes["layers.1.weight", 1].tolist()


@pytest.mark.parametrize(
    "step",
    [
        lambda x: torch.softmax(x, 1),
        lambda x: x.cumsum(1),
        lambda x: F.layer_norm(x, x.shape[1:]),
        lambda x: x * x.mean(1, keepdim=True),
        lambda x: F.pad(x, (0, 0, 0, 0, 1, 0))[:, 1:],
        lambda x: x.unflatten(1, (2, 2)).flatten(1, 2),
    ],
)
def test_what_mixes_channels_or_is_not_known_ties_them_down(step):
    found = traced(lambda x, one, two: two(step(one(x))), *convolutions())
    assert set(found.axes["layers.0.weight", 0].tolist()) <= found.fixed


def test_layers_of_every_kind():
    layers = (nn.ConvTranspose2d(3, 4, 2, 2), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 2, 1))
    found = traced(lambda x, up, deep, head: head(deep(up(x))), *layers)
    made = found.axes["layers.0.weight", 1].tolist()
    assert found.axes["layers.1.weight", 0].tolist() == made
    assert found.axes["layers.2.weight", 1].tolist() == made
    assert not set(made) & found.fixed
    assert ("layers.0.weight", 1) in found.makers
    assert ("layers.1.weight", 0) in found.makers


def test_a_convolution_in_groups_ties_down_what_it_sees():
    layers = (nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 1, groups=2), nn.Conv2d(6, 2, 1))
    found = traced(lambda x, one, two, head: head(two(one(x))), *layers)
    assert set(found.axes["layers.0.weight", 0].tolist()) <= found.fixed
    assert set(found.axes["layers.2.weight", 1].tolist()) <= found.fixed


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True)])
def test_a_norm_belongs_to_the_channels_before_it(norm):
    one, two = convolutions()
    found = traced(lambda x, one, norm, two: two(norm(one(x))), one, norm, two)
    made = found.axes["layers.0.weight", 0].tolist()
    assert found.axes["layers.1.weight", 0].tolist() == made
    assert found.axes["layers.1.bias", 0].tolist() == made
    assert found.axes["layers.2.weight", 1].tolist() == made
    groups = {("layers.1.weight", 0): 2} if isinstance(norm, nn.GroupNorm) else {}
    assert found.norm_groups == groups


def test_linear_layers_and_squeezed_places():
    layers = (nn.Conv2d(3, 4, 1), nn.Linear(4, 5), nn.Linear(5, 4), nn.Conv2d(4, 2, 1))

    def squeeze(x, one, few, many, head):
        x = one(x)
        gate = torch.sigmoid(many(F.relu(few(x.mean((2, 3))))))
        return head(x * gate[:, :, None, None])

    found = traced(squeeze, *layers)
    made = found.axes["layers.0.weight", 0].tolist()
    assert found.axes["layers.1.weight", 1].tolist() == made
    assert found.axes["layers.2.weight", 0].tolist() == made
    assert found.axes["layers.2.weight", 1].tolist() == found.axes["layers.1.weight", 0].tolist()
    assert not set(made) & found.fixed


def test_the_image_beside_features_stays():
    layers = (nn.Conv2d(3, 4, 1), nn.Conv2d(7, 2, 1))
    found = traced(lambda x, one, head: head(torch.cat((one(x), x), 1)), *layers)
    read = found.axes["layers.1.weight", 1].tolist()
    assert read[:4] == found.axes["layers.0.weight", 0].tolist()
    assert [place in found.fixed for place in read] == [False] * 4 + [True] * 3
