import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import nn
from torch.nn.utils import prune

from unetkit.compression.channels import Channels, trace
from unetkit.compression.importance import IMPORTANCES, absolute_sum, distance_to_others, importance
from unetkit.compression.prune import cut_to, kept_places, narrowed
from unetkit.errors import UsageError
from unetkit.networks.unet import build
from unetkit.records.plan import EXAMPLE, NetworkPlan


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
