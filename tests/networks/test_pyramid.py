"""Multi-scale input, for any encoder."""

import pytest
import torch
from scipy import ndimage
from torch import nn

from unetkit.networks.encoders.residual import ResidualEncoder
from unetkit.networks.pyramid import InputPyramid, LevelPyramid
from unetkit.networks.unet import build
from unetkit.records.plan import NetworkPlan

PLAN = NetworkPlan(
    encoder="residual",
    widths=(3, 5, 7),
    blocks=(1, 1, 1),
    decoder_blocks=(1, 1),
    kernels=((3, 3),) * 3,
    strides=((1, 1), (1, 2), (2, 2)),
)


class Closed(nn.Module):
    """An encoder that does not show its stages."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.channels, self.strides = inner, inner.channels, inner.strides

    def forward(self, x):
        return self.inner(x)

    def blocks_by_stage(self):
        return self.inner.blocks_by_stage()


def image(*size: int) -> torch.Tensor:
    return torch.randn(1, 2, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_levels_joined_to_the_image_are_blurred_images_of_its_size():
    x = image(9, 12)
    joined = InputPyramid(PLAN.strides)(x)
    assert joined.shape == (1, 6, 9, 12)
    assert torch.equal(joined[:, :2], x)
    once = ndimage.gaussian_filter(x[0, 1].numpy(), (0, 1), mode="nearest", radius=(0, 3))[:, ::2]
    assert torch.allclose(joined[0, 3, :, ::2], torch.from_numpy(once), atol=1e-12)
    twice = ndimage.gaussian_filter(once, (1, 1), mode="nearest", radius=(3, 3))[::2, ::2]
    assert torch.allclose(joined[0, 5, ::2, ::4], torch.from_numpy(twice), atol=1e-12)


def test_at_most_three_levels_and_none_for_stages_without_a_stride():
    strides = ((1, 1), (2, 2), (1, 1), (2, 2), (1, 2), (2, 2))
    assert InputPyramid(strides).strides == ((2, 2), (2, 2), (1, 2))


@pytest.mark.parametrize("closed", [False, True])
def test_a_new_level_pyramid_changes_nothing(closed):
    encoder = ResidualEncoder(PLAN, 2, 2).double()
    shown = Closed(encoder) if closed else encoder
    levels = LevelPyramid(shown, 2).double()
    levels.become_neutral()
    for one, other in zip(levels(image(9, 12), shown), encoder(image(9, 12)), strict=True):
        torch.testing.assert_close(one, other)


def test_each_stage_is_fed_its_own_level():
    encoder = ResidualEncoder(PLAN, 2, 2).double()
    levels, x = LevelPyramid(encoder, 2).double(), image(8, 8)
    first = encoder.stages[0](encoder.stem(x))
    blurred = ndimage.gaussian_filter(x.numpy(), (0, 0, 0, 1), mode="nearest", radius=(0, 0, 0, 3))[..., ::2]
    shown = torch.from_numpy(blurred).repeat_interleave(2, dim=-1)
    following = torch.cat((shown[..., 2:], shown[..., -2:]), -1)
    shown[..., 1::2] = (shown[..., 1::2] + following[..., 1::2]) / 2
    second = encoder.stages[1](first + torch.einsum("ki,bihw->bkhw", levels.projections[0].weight, shown))
    got = levels(x, encoder)
    torch.testing.assert_close(got[0], first)
    torch.testing.assert_close(got[1], second)


def test_without_stages_the_levels_are_added_to_the_features():
    encoder = Closed(ResidualEncoder(PLAN, 2, 2))
    levels, x = LevelPyramid(encoder, 2), image(8, 8).float()
    assert [projection.weight.shape for projection in levels.projections] == [(5, 2), (7, 2)]
    plain, fed = encoder(x), levels(x, encoder)
    assert torch.equal(plain[0], fed[0])
    assert not torch.equal(plain[1], fed[1])


@pytest.mark.parametrize("pyramid", ["input", "levels"])
@pytest.mark.parametrize("encoder", ["plain", "residual", "doubling", "convnext", "hybrid"])
def test_a_network_with_a_pyramid(encoder, pyramid):
    plan = PLAN.model_copy(update={"pyramid": pyramid, "encoder": encoder})
    network = build(plan, rank=2, in_channels=2, classes=3)
    assert network(torch.randn(1, 2, 11, 9)).shape == (1, 3, 11, 9)
    if pyramid == "levels":  # weights of a network without a pyramid fit, and answer the same
        without = build(plan.model_copy(update={"pyramid": "none"}), rank=2, in_channels=2, classes=3)
        missing, unexpected = network.load_state_dict(without.state_dict(), strict=False)
        assert {name.split(".")[0] for name in missing} == {"levels"}
        assert not unexpected
        x = torch.randn(1, 2, 11, 9)
        torch.testing.assert_close(network(x), without(x))


def test_the_gradient_reaches_every_projection_of_a_new_pyramid():
    plan = PLAN.model_copy(update={"pyramid": "levels"})
    network = build(plan, rank=2, in_channels=2, classes=3)
    with torch.no_grad():  # a residual block starts with a scale of zero, behind which nothing moves yet
        for value in network.encoder.parameters():
            value.add_(0.1 * torch.randn_like(value))
    network(torch.randn(2, 2, 8, 16)).square().mean().backward()
    for projection in network.levels.projections:
        assert projection.weight.abs().max() == 0
        assert projection.weight.grad.abs().max() > 0
