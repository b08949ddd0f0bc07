"""The Vision Transformer bottleneck against torch's encoder."""

import pytest
import torch
from torch import nn

from unetkit.errors import UsageError
from unetkit.networks.blocks import initialize
from unetkit.networks.bottlenecks.vit import GRID, VitBottleneck
from unetkit.records.plan import NetworkPlan

PARTS = {
    "attend": "self_attn.in_proj_",
    "project": "self_attn.out_proj.",
    "widen": "linear1.",
    "narrow": "linear2.",
    "first_norm": "norm1.",
    "second_norm": "norm2.",
}


def plan(rank: int, **changes) -> NetworkPlan:
    values = {
        "bottleneck": "vit",
        "bottleneck_blocks": 2,
        "widths": (4, 8),
        "blocks": (1, 1),
        "decoder_blocks": (1,),
        "kernels": ((3,) * rank,) * 2,
        "strides": ((1,) * rank, (2,) * rank),
    }
    return NetworkPlan(**{**values, **changes})


def test_on_its_own_grid_it_is_torchs_encoder_on_tokens_with_positions():
    bottleneck = VitBottleneck(plan(2), 2, 8).double()
    with torch.no_grad():
        for value in bottleneck.parameters():
            value.add_(0.2 * torch.randn_like(value))
    settings = {"activation": "gelu", "batch_first": True, "norm_first": True, "layer_norm_eps": 1e-6}
    layer = nn.TransformerEncoderLayer(8, 1, 32, **settings)
    norm = nn.LayerNorm(8, eps=1e-6)
    peer = nn.TransformerEncoder(layer, 2, norm, enable_nested_tensor=False).double().eval()
    state = {f"norm.{name}": value for name, value in bottleneck.norm.state_dict().items()}
    for name, value in bottleneck.layers.state_dict().items():
        index, part, kind = name.split(".")
        state[f"layers.{index}.{PARTS[part]}{kind}"] = value
    peer.load_state_dict(state)
    x = torch.randn(2, 8, GRID, GRID, dtype=torch.float64)
    tokens = (x + bottleneck.positions).flatten(2).transpose(1, 2)
    torch.testing.assert_close(bottleneck(x), peer(tokens).transpose(1, 2).reshape(x.shape))


@pytest.mark.parametrize("rank", [2, 3])
def test_positions_stretch_to_any_size(rank):
    bottleneck = VitBottleneck(plan(rank), rank, 8)
    with torch.no_grad():  # a ramp along the last axis, read at the centres of fewer pixels
        bottleneck.positions.copy_(torch.arange(GRID).float().expand_as(bottleneck.positions))
    seen = []
    bottleneck.dropout.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    size = (3, 5, 7)[-rank:]
    assert bottleneck(torch.zeros(1, 8, *size)).shape == (1, 8, *size)
    steps = seen[0][0, :7, 0]
    torch.testing.assert_close(steps, torch.arange(7) * 2 + 0.5)


def test_it_starts_with_every_place_alike():
    bottleneck = VitBottleneck(plan(2), 2, 8)
    initialize(bottleneck)
    assert bottleneck.positions.abs().max() == 0
    assert bottleneck.layers[0].project.weight.abs().max() > 0
    x = torch.randn(1, 8, 4, 4)
    torch.testing.assert_close(bottleneck(x.flip(3)).flip(3), bottleneck(x), rtol=1e-4, atol=1e-5)


def test_no_layers_are_refused():
    with pytest.raises(UsageError, match="the bottleneck 'vit' needs at least 1 layer"):
        VitBottleneck(plan(2, bottleneck_blocks=0), 2, 8)
