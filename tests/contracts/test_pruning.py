"""Every row of the network families can be pruned: real surgery that computes what masking would."""

import copy
import itertools

import pytest
import torch
from torch import nn

from unetkit.compression.channels import trace
from unetkit.compression.importance import importance
from unetkit.compression.prune import cut_to, kept_places, narrowed, narrowed_width, pruned
from unetkit.networks.bottlenecks import BOTTLENECKS
from unetkit.networks.decoders import DECODERS
from unetkit.networks.encoders import ENCODERS
from unetkit.networks.fusions import FUSIONS
from unetkit.networks.store import load_model, save_model
from unetkit.networks.unet import UNet, build
from unetkit.records.plan import EXAMPLE, NetworkPlan, Plan
from unetkit.spatial.depthwise import PointUpsampling
from unetkit.spatial.layers import Pointwise, Upsampling

SHARE = 0.3
ROWS = sorted(
    {(encoder, "identity", "concat", "unet") for encoder in ENCODERS}
    | {("plain", bottleneck, "concat", "unet") for bottleneck in BOTTLENECKS}
    | {("plain", "identity", fusion, "unet") for fusion in FUSIONS}
    | {("plain", "identity", "concat", decoder) for decoder in DECODERS}
    | {("convnext", "identity", "add", "convnext"), ("residual", "identity", "light", "unetpp")}
)
CASES = list(itertools.product(ROWS, (2, 3)))


def network_plan(row: tuple[str, ...], rank: int, **changes) -> NetworkPlan:
    encoder, bottleneck, fusion, decoder = row
    if encoder == "timm":
        pytest.importorskip("timm", reason="timm is not installed")
        from unetkit.networks.encoders.timm import plan_of

        asked = plan_of("test_resnet", rank)
        changes = {"widths": asked["widths"][:3], "strides": asked["strides"][:3], **changes}
        changes["backbone"] = asked["backbone"]
    if encoder == "hybrid":
        changes = {"widths": (16, 32, 48), **changes}
    return NetworkPlan(
        **{
            "encoder": encoder,
            "bottleneck": bottleneck,
            "fusion": fusion,
            "decoder": decoder,
            "widths": (8, 16, 32),
            "blocks": (1, 2, 1),
            "decoder_blocks": (1, 2),
            "kernels": ((3,) * rank, (1, *(3,) * (rank - 1)), (3,) * rank),
            "strides": ((1,) * rank, (1, *(2,) * (rank - 1)), (2,) * rank),
            "bottleneck_blocks": 1,
            "deep_supervision": 2,
            "norm": "batch",
            **changes,
        }
    )


def trained(plan: NetworkPlan, rank: int, *, in_channels: int = 2) -> UNet:
    """A network in which nothing is at its start any more: no zero, no one, no neutral statistics."""
    torch.manual_seed(0)
    network = build(plan, rank=rank, in_channels=in_channels, classes=3).eval()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
            elif value.is_floating_point():
                value.add_(0.2 * torch.randn_like(value))
    return network


def every_head(network: UNet, x: torch.Tensor) -> list[torch.Tensor]:
    network.eval()
    network.training = True  # norms as in use, but all heads
    with torch.no_grad():
        answer = network(x)
    network.eval()
    return answer if isinstance(answer, list) else [answer]


def blind(network: UNet, places: dict) -> None:
    """Let nothing read a removed channel: every input of every layer has zero weight for it."""
    with torch.no_grad():
        for name, module in network.named_modules():
            weight = getattr(module, "weight", None)
            if isinstance(module, Upsampling):
                axis = 0
            elif isinstance(module, Pointwise | PointUpsampling | nn.Linear) or (
                hasattr(module, "groups") and hasattr(module, "kernel_size") and module.groups == 1
            ):
                axis = 1
            else:
                continue
            gone = torch.ones(weight.shape[axis], dtype=torch.bool)
            gone[torch.from_numpy(places[f"{name}.weight", axis])] = False
            weight.movedim(axis, 0)[gone] = 0.0


def image(rank: int) -> torch.Tensor:
    return torch.randn(2, 2, *(8, 16, 12)[-rank:], generator=torch.Generator().manual_seed(1))


def check_row(plan: NetworkPlan, rank: int) -> tuple[UNet, UNet]:
    whole = trained(plan, rank)
    channels = trace(whole)
    smaller = narrowed(whole, SHARE, channels=channels)
    small = cut_to(whole, smaller, channels=channels)
    shapes = {name: tuple(value.shape) for name, value in small.state_dict().items()}
    places = kept_places(channels, shapes, importance(channels, whole.state_dict(), "l1"))
    exact, masked = (copy.deepcopy(network).double() for network in (small, whole))
    blind(masked, places)
    x = image(rank).double()  # so that nothing hides behind rounding
    for got, wanted in zip(every_head(exact, x), every_head(masked, x), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9 * float(wanted.abs().max()))
    return whole, small


@pytest.mark.parametrize(("row", "rank"), CASES)
def test_a_pruned_network_is_the_masked_one_and_goes_on_learning_and_survives_the_folder(row, rank, tmp_path):
    plan = network_plan(row, rank)
    whole, small = check_row(plan, rank)
    count = [sum(value.numel() for value in network.parameters()) for network in (whole, small)]
    assert count[1] < count[0]
    if row[0] not in ("timm", "hybrid") and row[1] not in ("transformer", "vit"):  # else some widths stay
        assert count[1] < 0.8 * count[0]  # multiples of eight leave narrow stages as they are
        assert small.plan.widths == tuple(narrowed_width(width, SHARE) for width in plan.widths)
    optimizer = torch.optim.SGD(small.train().parameters(), lr=1e-3)
    sum(output.square().mean() for output in small(image(rank))).backward()
    assert all(value.grad is not None for value in small.parameters())
    optimizer.step()
    saved = Plan.model_validate(
        {
            **EXAMPLE,
            "data": {
                **EXAMPLE["data"],
                "rank": rank,
                "channels": ["a", "b"],
                "classes": ["background", "x", "y"],
                "label_values": [0, 1, 2],
            },
            "network": small.plan.model_dump(),
        }
    )
    save_model(tmp_path, small, saved)
    loaded, read = load_model(tmp_path)
    assert read.network == small.plan
    assert torch.equal(loaded(image(rank)), small.eval()(image(rank)))


@pytest.mark.parametrize("fusion", sorted(FUSIONS))
@pytest.mark.parametrize("decoder", sorted(DECODERS))
def test_every_fusion_in_every_decoder(decoder, fusion):
    check_row(network_plan(("plain", "identity", fusion, decoder), 2), 2)


@pytest.mark.parametrize("upsampling", ["transposed_wide", "linear"])
@pytest.mark.parametrize("pyramid", ["input", "levels"])
@pytest.mark.parametrize("widths", [(), (8, 16), (8, 8, 16)])
def test_steps_up_pyramids_and_last_stages(upsampling, pyramid, widths):
    strides = ((2, 2), (2, 2), (2, 2))
    row = ("residual", "identity", "concat", "unet")
    changes = {"upsampling": upsampling, "pyramid": pyramid, "strides": strides, "decoder_widths": widths}
    check_row(network_plan(row, 2, **changes), 2)


@pytest.mark.parametrize("row", ROWS)
def test_instance_normalisation_is_exact_too(row):
    check_row(network_plan(row, 2, norm="instance"), 2)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
def test_pruning_nothing_changes_no_bit(norm, rank):
    whole = trained(network_plan(("residual", "identity", "attention", "unetpp"), rank, norm=norm), rank)
    same = pruned(whole, 0.0)
    assert same.plan == whole.plan
    theirs = whole.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in same.state_dict().items())
    assert torch.equal(same(image(rank)), whole(image(rank)))


def test_group_normalisation_keeps_as_many_channels_of_each_group():
    plan = network_plan(("plain", "identity", "concat", "unet"), 2, norm="group", widths=(16, 32, 48))
    whole = trained(plan, 2)
    channels = trace(whole)
    small = cut_to(whole, narrowed(whole, 0.5, channels=channels), channels=channels)
    assert small.encoder.channels == (8, 16, 24)
    shapes = {name: tuple(value.shape) for name, value in small.state_dict().items()}
    places = kept_places(channels, shapes, importance(channels, whole.state_dict(), "l1"))
    kept = places["encoder.stages.1.0.norm.weight", 0]
    assert [int((kept // 4 == group).sum()) for group in range(8)] == [2] * 8
