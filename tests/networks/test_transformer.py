"""The transformer layer against torch's own."""

import pytest
import torch
from torch import nn

from unetkit.networks.transformer import TransformerLayer, features_of, heads_of, tokens_of
from unetkit.spatial.memory_format import arranged, channels_last, memory_format


def torchs(layer: TransformerLayer, channels: int, **settings) -> nn.TransformerEncoderLayer:
    """Torch's layer with the same weights."""
    peer = nn.TransformerEncoderLayer(
        channels,
        layer.heads,
        4 * channels,
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
        dtype=torch.float64,
        **settings,
    )
    names = {
        "self_attn.in_proj_": layer.attend,
        "self_attn.out_proj.": layer.project,
        "linear1.": layer.widen,
        "linear2.": layer.narrow,
        "norm1.": layer.first_norm,
        "norm2.": layer.second_norm,
    }
    state = {
        f"{name}{kind}": getattr(part, kind) for name, part in names.items() for kind in ("weight", "bias")
    }
    peer.load_state_dict(state)
    return peer


@pytest.mark.parametrize("channels", [8, 128, 192])
def test_it_is_torchs_layer(channels):
    torch.manual_seed(0)
    layer = TransformerLayer(channels, eps=1e-6).double()
    with torch.no_grad():
        for value in layer.parameters():
            value.add_(0.05 * torch.randn_like(value))
    x = torch.randn(2, 7, channels, dtype=torch.float64)
    torch.testing.assert_close(layer(x), torchs(layer, channels, layer_norm_eps=1e-6).eval()(x))


def test_it_starts_as_torchs_attention_does():
    torch.manual_seed(0)
    layer = TransformerLayer(256)
    peer = nn.MultiheadAttention(256, 4)  # Glorot as if the three matrices were one
    assert layer.attend.weight.std().item() == pytest.approx((1 / 256) ** 0.5, rel=0.02)
    assert peer.in_proj_weight.std().item() == pytest.approx((2 / (4 * 256)) ** 0.5, rel=0.02)
    assert layer.widen.weight.std().item() == pytest.approx((2 / (5 * 256)) ** 0.5, rel=0.02)
    assert all(value.abs().max() == 0 for name, value in layer.named_parameters() if name.endswith("d.bias"))


def test_it_does_not_know_the_order_of_its_tokens():
    layer, x, order = TransformerLayer(8).double(), torch.randn(1, 6, 8).double(), torch.randperm(6)
    torch.testing.assert_close(layer(x)[:, order], layer(x[:, order]))


def test_dropout_while_training_only():
    layer, x = TransformerLayer(8, drop=0.5), torch.randn(1, 6, 8)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))


@pytest.mark.parametrize("channels", [1, 7, 48, 64, 96, 320, 512, 768, 1024])
def test_heads_share_all_channels(channels):
    heads = heads_of(channels)
    assert channels % heads == 0
    assert heads == max(1, round(channels / 64)) or channels % 64


@pytest.mark.parametrize("name", ["contiguous", "channels_last"])
@pytest.mark.parametrize("rank", [2, 3])
def test_tokens_are_pixels_in_order(rank, name):
    x = arranged(torch.randn(2, 3, *(4, 5, 2)[:rank]), name)
    tokens = tokens_of(x)
    place = (1, 2, 1)[:rank]
    assert torch.equal(
        tokens[1, 1 * 5 + 2 if rank == 2 else (1 * 5 + 2) * 2 + 1], x[(1, slice(None), *place)]
    )
    back = features_of(tokens, x.shape[2:])
    assert torch.equal(back, x)
    assert memory_format(back) == channels_last(rank)
    assert back.data_ptr() == tokens.data_ptr()
