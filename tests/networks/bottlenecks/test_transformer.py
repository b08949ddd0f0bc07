"""The transformer bottleneck."""

import pytest
import torch

from unetkit.errors import UsageError
from unetkit.networks.blocks import initialize
from unetkit.networks.bottlenecks.transformer import TransformerBottleneck
from unetkit.networks.unet import build
from unetkit.records.plan import NetworkPlan
from unetkit.spatial.memory_format import arranged, memory_format

SIZES = [(14, 14, 14), (9, 17, 2), (5, 7, 6), (1, 1, 1)]


def plan(rank: int, **changes) -> NetworkPlan:
    values = {
        "bottleneck": "transformer",
        "bottleneck_blocks": 2,
        "widths": (4, 8),
        "blocks": (1, 1),
        "decoder_blocks": (1,),
        "kernels": ((3,) * rank,) * 2,
        "strides": ((1,) * rank, (2,) * rank),
    }
    return NetworkPlan(**{**values, **changes})


def disturbed(rank: int) -> TransformerBottleneck:
    bottleneck = TransformerBottleneck(plan(rank), rank, 8)
    with torch.no_grad():
        for value in bottleneck.parameters():
            value.add_(0.2 * torch.randn_like(value))
    return bottleneck


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["contiguous", "channels_last"])
def test_it_starts_as_the_identity_at_any_size(rank, size, name):
    bottleneck = TransformerBottleneck(plan(rank, dropout=0.3), rank, 8)
    initialize(bottleneck)
    x = arranged(torch.randn(2, 8, *size[:rank]), name)
    assert torch.equal(bottleneck(x), x)
    assert memory_format(bottleneck(x)) == memory_format(x)


@pytest.mark.parametrize("rank", [2, 3])
def test_a_network_with_it_starts_as_the_one_without(rank):
    torch.manual_seed(0)
    with_it = build(plan(rank), rank=rank, in_channels=1, classes=2)
    without = build(plan(rank, bottleneck="identity"), rank=rank, in_channels=1, classes=2)
    state = {name: value for name, value in with_it.state_dict().items() if not name.startswith("bottleneck")}
    without.load_state_dict(state)
    x = torch.randn(1, 1, *(7, 6, 5)[:rank])
    assert torch.equal(with_it(x), without(x))


def test_the_first_step_moves_what_is_zero():
    bottleneck = TransformerBottleneck(plan(2), 2, 8)
    initialize(bottleneck)
    bottleneck(torch.randn(1, 8, 4, 4)).square().sum().backward()
    for layer, place in zip(bottleneck.layers, bottleneck.places, strict=True):
        for last in (layer.project, layer.narrow, place):
            assert last.weight.grad is not None
            assert last.weight.grad.abs().max() > 0


@pytest.mark.parametrize("rank", [2, 3])
def test_every_place_sees_every_other(rank):
    bottleneck = disturbed(rank)
    x = torch.randn(1, 8, *(9, 8, 7)[:rank])
    far = x.clone()
    far[..., -1] += 1
    change = (bottleneck(far) - bottleneck(x)).abs().amax(1)
    assert (change > 0).all()


def test_it_tells_places_apart():
    bottleneck, x = disturbed(2), torch.randn(1, 8, 5, 5)
    turned = bottleneck(x.flip(3)).flip(3)
    assert (turned - bottleneck(x)).abs().max() > 1e-3
    with torch.no_grad():
        for place in bottleneck.places:
            place.weight.zero_()
    torch.testing.assert_close(bottleneck(x.flip(3)).flip(3), bottleneck(x), rtol=1e-4, atol=1e-5)


def test_volumes_of_one_slice_are_pictures():
    two = disturbed(2)
    three = TransformerBottleneck(plan(3, kernels=((1, 3, 3),) * 2), 3, 8)
    three.load_state_dict(
        {name: value.unsqueeze(2) if value.ndim == 4 else value for name, value in two.state_dict().items()}
    )
    x = torch.randn(2, 8, 5, 4)
    torch.testing.assert_close(three(x.unsqueeze(2)).squeeze(2), two(x))


def test_no_layers_are_refused():
    with pytest.raises(UsageError) as refusal:
        TransformerBottleneck(plan(2, bottleneck_blocks=0), 2, 8)
    assert "network.bottleneck_blocks is 0, the bottleneck 'transformer' needs at least 1" in str(
        refusal.value
    )
    assert "set network.bottleneck_blocks to 4, or network.bottleneck to identity" in str(refusal.value)
