"""The step up."""

import pytest
import torch
from torch.nn import functional as F

from unetkit.networks.upsampling import LinearUpsampling, step_up


@pytest.mark.parametrize(("kind", "wide"), [("transposed", 3), ("transposed_wide", 5), ("linear", 5)])
def test_each_kind_says_its_width(kind, wide):
    up, channels = step_up(kind, 5, 3, stride=(1, 2))
    assert channels == wide
    assert up(torch.randn(2, 5, 3, 4)).shape == (2, wide, 3, 8)


def test_a_linear_step_keeps_every_pixel_and_interpolates_between():
    x = torch.randn(2, 3, 4, 5)
    y = LinearUpsampling((2, 2))(x)
    assert torch.equal(y[..., ::2, ::2], x)
    torch.testing.assert_close(y[..., 1:-1:2, 2], (x[..., :-1, 1] + x[..., 1:, 1]) / 2)
    inner = F.interpolate(x, size=(7, 9), mode="bilinear", align_corners=True)
    torch.testing.assert_close(y[..., :7, :9], inner)


def test_a_linear_step_learns_nothing():
    assert not list(LinearUpsampling((2, 2, 2)).parameters())
