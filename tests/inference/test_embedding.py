"""What a network makes of an image as a whole, by its own layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unetkit.inference.embedding import embed
from unetkit.networks.unet import build
from unetkit.records.case import Grid, Intensity, Sample
from unetkit.records.plan import EXAMPLE, NetworkPlan
from unetkit.spatial.slices import Slices


@pytest.mark.parametrize("pyramid", ["none", "input", "levels"])
def test_it_is_the_mean_of_the_coarsest_stage_over_the_middle(pyramid):
    plan = NetworkPlan(**{**EXAMPLE["network"], "pyramid": pyramid})
    torch.manual_seed(0)
    network = build(plan, rank=2, in_channels=1, classes=2).eval()
    pixels = np.random.default_rng(0).integers(0, 255, (1, 40, 33)).astype(np.uint8)
    sample = Sample("a", pixels, Grid.plain(2), intensity=(Intensity(0, 255, 100.0, 0.02),))
    found = embed(network, sample, (16, 64))
    seen = []
    network.bottleneck.register_forward_hook(lambda _, shown, __: seen.append(shown[0]))
    middle = (pixels[:, 12:28].astype(np.float32) - 100) * np.float32(0.02)
    with torch.no_grad():
        network(torch.from_numpy(middle)[None])
    np.testing.assert_allclose(found, seen[0].flatten(2).mean(2)[0].numpy(), rtol=1e-4, atol=1e-6)


def test_volumes_too():
    plan = NetworkPlan(
        **{**EXAMPLE["network"], "kernels": ((3, 3, 3),) * 2, "strides": ((1, 1, 1), (2, 2, 2))}
    )
    network = build(plan, rank=3, in_channels=2, classes=2).eval()
    sample = Sample("a", np.ones((2, 6, 9, 8), np.float32), Grid.plain(3))
    assert embed(network, sample, (4, 8, 8)).shape == (16,)


def test_of_slices_the_one_in_the_middle():
    torch.manual_seed(0)
    network = build(NetworkPlan(**EXAMPLE["network"]), rank=2, in_channels=3, classes=2).eval()
    pixels = np.random.default_rng(0).standard_normal((1, 7, 20, 16)).astype(np.float32)
    found = embed(network, Sample("a", pixels, Grid.plain(3)), (16, 16), slices=Slices(0, 1))
    picture = Sample("a", pixels[0, 2:5], Grid.plain(2))
    np.testing.assert_allclose(found, embed(network, picture, (16, 16)), rtol=1e-6)
