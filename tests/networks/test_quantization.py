import numpy as np
import pytest
import torch

from unetkit.errors import UsageError
from unetkit.networks.prune import pruned
from unetkit.networks.quantization import Arithmetic
from unetkit.networks.store import load_model, save_model
from unetkit.networks.unet import build
from unetkit.records.plan import EXAMPLE, NetworkPlan, Plan


def plan_of(rank=2, **changes):
    flat = {"kernels": ((3,) * rank,) * 2, "strides": ((1,) * rank, (2,) * rank)}
    return NetworkPlan(**{**EXAMPLE["network"], "norm": "batch", "quantization": "int8", **flat, **changes})


def network_of(rank=2, *, reach=3.0, **changes):
    torch.manual_seed(0)
    network = build(plan_of(rank, **changes), rank=rank, in_channels=1, classes=2).eval()
    for point in network.quantization.points:
        point.cover(-reach, reach)
    return network


def test_a_block_counts_as_whole_numbers_do():
    """Integers by hand: ``(q - zero) · w``, summed, with the bias, scaled, cut at zero, rounded."""
    network = network_of()
    block, points = network.encoder.stages[0][0], network.quantization.points
    seen = {}
    network.encoder.stages[0][1].register_forward_pre_hook(lambda _, given: seen.setdefault("x", given[0]))
    image = torch.randn(1, 1, 6, 6)
    with torch.no_grad():
        network(image)
    steps = network.quantization.placement.steps
    entry = points[steps["encoder.stages.0.0.conv:conv"].inputs[0]]
    out = points[steps["encoder.stages.0.0.activation:rectify"].output]
    q = np.clip(np.rint(image.numpy() / entry.scale.item()) + entry.zero_point.item(), 0, 255)
    q = np.pad((q - entry.zero_point.item())[0, 0], 1).astype(np.int64)
    kernel = block.conv.weight.detach().numpy().astype(np.float64)
    for channel in range(8):
        scale = abs(kernel[channel]).max() / 127
        w = np.rint(kernel[channel, 0] / scale).astype(np.int64)
        sums = np.array([[(q[i : i + 3, j : j + 3] * w).sum() for j in range(6)] for i in range(6)])
        answer = sums * (entry.scale.item() * scale) + block.conv.bias[channel].item()
        wanted = np.clip(np.rint(np.maximum(answer, 0) / out.scale.item()), 0, 255) * out.scale.item()
        apart = abs(seen["x"][0, channel].numpy() - wanted)
        assert (apart > 1e-5).mean() <= 0.01  # a tie may fall either way
        assert apart.max() <= out.scale.item() * 1.001


@pytest.mark.parametrize("rank", [2, 3])
def test_with_fine_grids_it_is_the_network_in_float(rank):
    network = network_of(rank)
    image = torch.randn(1, 1, *(7,) * rank)
    exact = Arithmetic(rounded=lambda _, x: x, exact=True)
    with torch.no_grad(), network.quantization.computing(exact):
        wanted = network(image)
    rounded = Arithmetic(rounded=lambda _, x: x)
    with torch.no_grad(), network.quantization.computing(rounded):
        apart = (network(image) - wanted).abs().max() / wanted.abs().max()
    assert 0 < apart < 0.05  # kernels of 255 steps, and no leak below zero


def test_any_size_is_answered():
    network = network_of()
    for size in ((1, 1), (5, 8), (9, 2)):
        assert network(torch.randn(1, 1, *size)).shape == (1, 2, *size)


def test_it_learns():
    network = network_of(deep_supervision=1).train()
    network(torch.randn(2, 1, 8, 8)).square().mean().backward()
    assert all(bool(weight.grad.abs().sum() > 0) for weight in network.parameters())


def test_a_model_folder_holds_it(tmp_path):
    network = network_of()
    plan = Plan.model_validate({**EXAMPLE, "network": network.plan.model_dump()})
    save_model(tmp_path, network, plan)
    again, own = load_model(tmp_path)
    image = torch.randn(1, 1, 9, 7)
    assert torch.equal(again(image), network(image))
    assert own.network.quantization == "int8"
    assert again.quantization.calibrated


def test_a_new_one_was_never_calibrated():
    assert not build(plan_of(), rank=2, in_channels=1, classes=2).quantization.calibrated


def test_the_convolutions_in_use_are_those_of_a_prediction():
    three = {"widths": (4, 4, 4), "blocks": (1,) * 3, "decoder_blocks": (1, 1), "deep_supervision": 2}
    flat = {"kernels": ((3, 3),) * 3, "strides": ((1, 1), (2, 2), (2, 2))}
    network = network_of(**three, **flat)
    assert set(network.quantization.placement.convolutions) - set(network.quantization.in_use(network)) == {
        "heads.1"
    }


@pytest.mark.parametrize("norm", ["instance", "group"])
def test_all_integer_is_refused_where_something_stays_float(norm):
    with pytest.raises(
        UsageError, match=f"whole numbers, but these cannot be done so: 6 × {norm}_norm"
    ) as no:
        build(plan_of(norm=norm, quantization="int8_only"), rank=2, in_channels=1, classes=2)
    assert "--set network.norm=batch" in no.value.cure
    with pytest.raises(UsageError, match="sigmoid") as no:
        build(plan_of(fusion="attention", quantization="int8_only"), rank=2, in_channels=1, classes=2)
    assert "network.norm" not in no.value.cure
    assert build(plan_of(quantization="int8_only"), rank=2, in_channels=1, classes=2).quantization


def test_levels_are_cut_before():
    network = network_of(decoder="unetpp")
    with pytest.raises(UsageError, match="counts in eight bits, whose grids belong to the whole of it"):
        pruned(network, 1)
