import pytest
import torch

from unetkit.networks.presets import PRESETS
from unetkit.networks.unet import build


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_builds_and_has_the_published_size(name):
    preset = PRESETS[name]
    with torch.device("meta"):
        network = build(preset.plan(preset.rank), rank=preset.rank, in_channels=1, classes=2)
    if preset.parameters:
        assert sum(w.numel() for w in network.parameters()) == pytest.approx(preset.parameters, rel=0.05)
