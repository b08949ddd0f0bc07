import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import nn
from torch.nn.utils import prune

from unetkit.compression.channels import Channels, follow, trace
from unetkit.compression.importance import (
    IMPORTANCES,
    absolute_sum,
    by_slope,
    distance_to_others,
    importance,
    loss_gradients,
)
from unetkit.compression.prune import cut_to, kept_places, narrowed
from unetkit.data.patches import Batch
from unetkit.errors import UsageError
from unetkit.networks.unet import build
from unetkit.records.plan import EXAMPLE, NetworkPlan, ObjectivePlan
from unetkit.runtimes.devices import Layout
from unetkit.training.objective import build_objective


def found_in(network: nn.Module) -> Channels:
    program = torch.export.export(network, (torch.zeros(2, 1, 8, 8),), strict=False)
    return follow(program, network.state_dict())


def test_values_are_those_of_independent_libraries():
    filters = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    assert absolute_sum(filters).numpy() == pytest.approx(np.abs(filters.numpy()).sum(1), rel=1e-6)
    wanted = cdist(filters.numpy(), filters.numpy()).sum(1)
    assert distance_to_others(filters).numpy() == pytest.approx(wanted, rel=1e-5)


def test_every_filter_that_makes_a_channel_counts_alike():
    places = {("a", 0): np.array([0, 1]), ("b", 1): np.array([0, 1]), ("b", 0): np.array([2])}
    channels = Channels(places, 3, frozenset(), (("a", 0), ("b", 1)), {})
    state = {"a": torch.tensor([[1.0], [3.0]]), "b": torch.tensor([[-60.0, 20.0]])}
    assert importance(channels, state, "l1").tolist() == pytest.approx([0.5 + 1.5, 1.5 + 0.5, 0.0])
    zero = {"a": torch.zeros(2, 1), "b": state["b"]}
    assert importance(channels, zero, "l1").tolist() == pytest.approx([1.5, 0.5, 0.0])


def test_an_unknown_importance_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match=r"there is no importance 'l2'.*use 'l1'") as caught:
        importance(Channels({}, 0, frozenset(), (), {}), {}, "l2")
    assert all(name in str(caught.value) for name in IMPORTANCES)


def test_the_channels_that_stay_are_those_that_torch_would_not_mask():
    network = build(NetworkPlan(**EXAMPLE["network"]), rank=2, in_channels=1, classes=2)
    channels = trace(network)
    small = cut_to(network, narrowed(network, 0.5, channels=channels), channels=channels)
    shapes = {name: tuple(value.shape) for name, value in small.state_dict().items()}
    places = kept_places(channels, shapes, importance(channels, network.state_dict(), "l1"))
    for name in ("encoder.stages.0.0", "encoder.stages.0.1", "encoder.stages.1.1", "decoder.blocks.0.1"):
        layer = nn.Conv2d(1, 1, 1)
        layer.weight = nn.Parameter(network.get_submodule(name).conv.weight.detach().clone())
        prune.ln_structured(layer, "weight", amount=0.5, n=1, dim=0)
        unmasked = layer.weight_mask.flatten(1).any(1).nonzero().flatten()
        assert places[f"{name}.conv.weight", 0].tolist() == unmasked.tolist()
        assert torch.equal(
            small.get_submodule(name).conv.bias, network.get_submodule(name).conv.bias[unmasked]
        )


def some_batches(count: int = 2, rank: int = 2) -> list[Batch]:
    batches = []
    for number in range(count):
        pixels = torch.randn(2, 1, *(8,) * rank, generator=torch.Generator().manual_seed(number))
        batches.append(Batch(pixels, (pixels[:, 0] > 0).long(), None, ("a", "b")))
    return batches


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_the_slope_is_that_of_a_gate_behind_the_channel(rank, norm):
    plan = {"kernels": ((3,) * rank,) * 2, "strides": ((1,) * rank, (2,) * rank), "norm": norm}
    torch.manual_seed(0)
    network = build(NetworkPlan(**{**EXAMPLE["network"], **plan}), rank=rank, in_channels=1, classes=2)
    channels, batches = trace(network), some_batches(rank=rank)
    objective = build_objective(ObjectivePlan(), Layout())
    gradients = list(loss_gradients(network, batches, objective))
    found = by_slope(channels, network.state_dict(), gradients)
    block = network.encoder.stages[0][1]  # read by the next stage, and by the decoder through the skip
    wanted = np.zeros(8)
    for batch in batches:
        gate = torch.ones(8, requires_grad=True)
        shape = (1, -1, *(1,) * rank)
        handle = block.register_forward_hook(
            lambda _, __, out, gate=gate, shape=shape: out * gate.view(shape)
        )
        loss = sum(objective.terms(network, batch).values())
        wanted += torch.autograd.grad(loss, gate)[0].double().numpy() ** 2
        handle.remove()
    places = channels.axes["encoder.stages.0.1.conv.weight", 0]
    assert found[places] == pytest.approx(wanted / 2, rel=1e-3, abs=1e-10)
    if norm == "instance":  # at the filters themselves it would tell nothing
        name = "encoder.stages.0.1.conv.weight"
        own = (gradients[0][name] * network.state_dict()[name]).flatten(1).sum(1)
        assert own.abs().max() < 0.02 * np.sqrt(wanted.max())


def test_the_slope_is_the_exact_change_of_a_loss_that_is_linear_in_the_readers():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.head = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 1)

        def forward(self, x):
            return self.head(torch.relu(self.first(x)))

    class Mean:
        def terms(self, network, batch):
            return {"mean": network(batch.pixels)[:, 1].mean()}

    torch.manual_seed(1)
    network, (batch,) = Plain().eval(), some_batches(1)
    channels = found_in(network)
    found = by_slope(channels, network.state_dict(), loss_gradients(network, [batch], Mean()))
    for channel, place in enumerate(channels.axes["first.weight", 0]):
        with torch.no_grad():
            kept = network.head.weight[:, channel].clone()
            before = Mean().terms(network, batch)["mean"].item()
            network.head.weight[:, channel] = 0
            after = Mean().terms(network, batch)["mean"].item()
            network.head.weight[:, channel] = kept
        assert found[place] == pytest.approx((after - before) ** 2, rel=1e-3, abs=1e-12)


def test_slopes_need_images():
    network = build(NetworkPlan(**EXAMPLE["network"]), rank=2, in_channels=1, classes=2)
    with pytest.raises(
        UsageError, match=r"'taylor' tells from training images.*choose l1 or geometric_median"
    ):
        cut_to(network, narrowed(network, 0.5), by="taylor")


def test_gradients_leave_the_network_as_it_was_and_cover_heads_that_are_not_in_use():
    plan = {
        **EXAMPLE["network"],
        "widths": (4, 4, 4),
        "blocks": (1, 1, 1),
        "decoder_blocks": (1, 1),
        "kernels": ((3, 3),) * 3,
        "strides": ((1, 1), (2, 2), (2, 2)),
        "deep_supervision": 2,
    }
    network = build(NetworkPlan(**plan), rank=2, in_channels=1, classes=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    (slopes,) = loss_gradients(network, some_batches(1), build_objective(ObjectivePlan(), Layout()))
    assert set(slopes) == {name for name, _ in network.named_parameters()}
    assert not bool(slopes["heads.1.weight"].any())
    assert bool(slopes["heads.0.weight"].any())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())
