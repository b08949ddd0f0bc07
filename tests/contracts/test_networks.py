"""Every row of the network families meets its contract, in 2 and 3 axes."""

import itertools

import pytest
import torch

from unetkit.lookup import pick
from unetkit.networks.bottlenecks import BOTTLENECKS
from unetkit.networks.decoders import DECODERS
from unetkit.networks.encoders import ENCODERS
from unetkit.networks.fusions import FUSIONS
from unetkit.networks.store import load_model, save_model
from unetkit.networks.unet import build
from unetkit.records.plan import EXAMPLE, NetworkPlan, Plan
from unetkit.spatial.layers import memory_format
from unetkit.spatial.memory_format import arranged, channels_last

ROWS = sorted(
    {(encoder, "identity", "concat", "unet") for encoder in ENCODERS}
    | {("plain", bottleneck, "concat", "unet") for bottleneck in BOTTLENECKS}
    | {("plain", "identity", fusion, "unet") for fusion in FUSIONS}
    | {("plain", "identity", "concat", decoder) for decoder in DECODERS}
)
CASES = list(itertools.product(ROWS, (2, 3)))


def network_plan(row: tuple[str, ...], rank: int, **changes) -> NetworkPlan:
    encoder, bottleneck, fusion, decoder = row
    return NetworkPlan(
        **{
            "encoder": encoder,
            "bottleneck": bottleneck,
            "fusion": fusion,
            "decoder": decoder,
            "widths": (4, 6, 8),
            "blocks": (1, 2, 1),
            "decoder_blocks": (1, 1),
            "kernels": ((3,) * rank, (1, *(3,) * (rank - 1)), (3,) * rank),
            "strides": ((1,) * rank, (1, *(2,) * (rank - 1)), (2,) * rank),
            **changes,
        }
    )


@pytest.mark.parametrize(("row", "rank"), CASES)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_any_size_and_any_number_of_channels(row, rank, channels):
    network = build(network_plan(row, rank), rank=rank, in_channels=channels, classes=3).eval()
    size = (37, 41) if rank == 2 else (5, 11, 9)
    assert network(torch.randn(1, channels, *size)).shape == (1, 3, *size)


@pytest.mark.parametrize(("row", "rank"), CASES)
def test_the_gradient_reaches_every_parameter(row, rank):
    torch.manual_seed(0)
    network = build(network_plan(row, rank, deep_supervision=2), rank=rank, in_channels=1, classes=2)
    with torch.no_grad():  # a residual block starts with a scale of zero, behind which nothing moves yet
        for value in network.parameters():
            value.add_(0.1 * torch.randn_like(value))
    outputs = network(torch.randn(2, 1, *(8, 16, 16)[-rank:]))
    assert len(outputs) == 2
    sum(output.square().mean() for output in outputs).backward()
    for name, value in network.named_parameters():
        assert value.grad is not None, name
        assert value.grad.isfinite().all(), name
        assert value.grad.abs().max() > 0, name


@pytest.mark.parametrize(("row", "rank"), CASES)
def test_a_sample_does_not_know_its_neighbours(row, rank):
    network = build(network_plan(row, rank), rank=rank, in_channels=1, classes=2).eval()
    x = torch.randn(2, 1, *(8, 16, 16)[-rank:])
    torch.testing.assert_close(network(x)[:1], network(x[:1]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("row", "rank"), CASES)
def test_it_survives_the_model_folder(row, rank, tmp_path):
    plan = Plan.model_validate(
        {
            **EXAMPLE,
            "data": {**EXAMPLE["data"], "rank": rank},
            "network": network_plan(row, rank, deep_supervision=2).model_dump(),
        }
    )
    network = build(plan.network, rank=rank, in_channels=1, classes=2).eval()
    save_model(tmp_path, network, plan)
    x = torch.randn(1, 1, *(8, 16, 16)[-rank:])
    loaded, read = load_model(tmp_path)
    assert read == plan
    assert torch.equal(loaded(x), network(x))


@pytest.mark.parametrize(("row", "rank"), CASES)
def test_channels_last_gives_the_same_numbers_in_its_own_format(row, rank):
    network = build(network_plan(row, rank), rank=rank, in_channels=2, classes=3).eval()
    x = torch.randn(2, 2, *(8, 16, 16)[-rank:])
    wanted = network(x)
    got = network.to(memory_format=channels_last(rank))(arranged(x, "channels_last"))
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4)
    assert memory_format(got) == channels_last(rank)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_an_encoder_says_what_it_gives(name, rank):
    plan = network_plan((name, "identity", "concat", "unet"), rank)
    encoder = pick("encoder", ENCODERS, name)(plan, rank, 2)
    size = (8, 16, 16)[-rank:]
    features = encoder(torch.randn(1, 2, *size))
    assert tuple(feature.shape[1] for feature in features) == encoder.channels
    for feature, stride in zip(features, encoder.strides, strict=True):
        size = tuple(length // step for length, step in zip(size, stride, strict=True))
        assert feature.shape[2:] == size


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("name", sorted(DECODERS))
def test_a_decoder_says_what_it_gives(name, rank):
    plan = network_plan(("plain", "identity", "concat", name), rank)
    encoder = pick("encoder", ENCODERS, "plain")(plan, rank, 1)
    decoder = pick("decoder", DECODERS, name)(plan, rank, encoder)
    outputs = decoder(encoder(torch.randn(1, 1, *(8, 16, 16)[-rank:])))
    assert tuple(output.shape[1] for output in outputs) == tuple(decoder.channels)
    assert outputs[0].shape[2:] == (8, 16, 16)[-rank:]


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("name", sorted(FUSIONS))
def test_a_fusion_says_what_it_gives(name, rank):
    fusion = pick("fusion", FUSIONS, name)(3, 5, rank)
    size = (4, 6, 5)[-rank:]
    fused = fusion(torch.randn(2, 3, *size), torch.randn(2, 5, *size))
    assert fused.shape == (2, fusion.channels, *size)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("name", sorted(BOTTLENECKS))
def test_a_bottleneck_keeps_the_shape(name, rank):
    x = torch.randn(2, 8, *(4, 6, 5)[-rank:])
    assert pick("bottleneck", BOTTLENECKS, name)(8, rank)(x).shape == x.shape
