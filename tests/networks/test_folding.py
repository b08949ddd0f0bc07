import copy

import pytest
import torch
from torch import nn

from unetkit.networks.folding import fold_batch_norms, fold_scale
from unetkit.networks.unet import build
from unetkit.records.plan import EXAMPLE, NetworkPlan


def network_of(rank=2, **changes):
    plan = {
        **EXAMPLE["network"],
        "norm": "batch",
        "kernels": ((3,) * rank,) * 2,
        "strides": ((1,) * rank, (2,) * rank),
        **changes,
    }
    torch.manual_seed(0)
    network = build(NetworkPlan(**plan), rank=rank, in_channels=1, classes=2)
    with torch.no_grad():
        for module in network.modules():
            if getattr(module, "running_var", None) is not None:
                module.running_mean.normal_(std=0.3)
                module.running_var.uniform_(0.5, 2.0)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.3)
    return network.eval()


def norms(network):
    return [module for module in network.modules() if getattr(module, "running_var", None) is not None]


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("encoder", ["plain", "residual"])
def test_it_answers_as_before(rank, encoder):
    network = network_of(rank, encoder=encoder)
    folded = copy.deepcopy(network)
    assert fold_batch_norms(folded) == len(norms(network)) > 0
    assert norms(folded) == []
    image = torch.randn(2, 1, *(9,) * rank)
    torch.testing.assert_close(folded(image), network(image), rtol=1e-4, atol=1e-5)


def test_by_hand():
    network = network_of()
    block = network.encoder.stages[0][0]
    with torch.no_grad():
        block.conv.weight.fill_(2.0)
        block.conv.bias.fill_(1.0)
        block.norm.running_mean.fill_(3.0)
        block.norm.running_var.fill_(4.0 - block.norm.eps)
        block.norm.weight.fill_(10.0)
        block.norm.bias.fill_(0.5)
    fold_batch_norms(network)
    assert block.conv.weight.unique().tolist() == pytest.approx([10.0])  # 2 · 10 / √4
    assert block.conv.bias.unique().tolist() == pytest.approx([-9.5])  # (1 - 3) · 10 / √4 + 0.5
    assert isinstance(block.norm, nn.Identity)


def test_a_norm_whose_convolution_others_read_stays():
    network = network_of()
    block = network.encoder.stages[0][0]
    forward = block.norm.forward
    block.activation = nn.Identity()
    block.conv.register_forward_hook(lambda _, __, answer: (setattr(block, "seen", answer), None)[1])
    block.norm.forward = lambda x: forward(x) + x
    assert fold_batch_norms(network) == 5
    assert norms(network) == [block.norm]


def test_other_norms_stay():
    assert fold_batch_norms(network_of(norm="instance")) == 0


def test_a_backbone_keeps_the_activation_its_norm_brings():
    pytest.importorskip("timm", reason="timm is not installed")
    from unetkit.networks.presets import PRESETS

    torch.manual_seed(0)
    network = build(PRESETS["mobile"].plan(2), rank=2, in_channels=3, classes=2).eval()
    folded = copy.deepcopy(network)
    assert fold_batch_norms(folded) == len(norms(network))
    image = torch.randn(1, 3, 33, 32)
    with torch.no_grad():
        wanted, got = network(image), folded(image)
    assert (got - wanted).abs().max() < 1e-3 * wanted.abs().max()


@pytest.mark.parametrize(
    ("changes", "done"),
    [
        ({}, True),
        ({"encoder": "residual"}, True),
        ({"encoder": "convnext", "expansion": (2, 2)}, True),  # its stem is a matrix product
        ({"pyramid": "input"}, False),
        ({"pyramid": "levels"}, False),
        ({"norm": "batch", "quantization": "int8"}, False),
    ],
)
def test_a_factor_is_folded_where_only_convolutions_see_the_image(changes, done):
    network = network_of(**changes)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    folded = copy.deepcopy(network)
    assert fold_scale(folded, torch.tensor([0.25])) is done
    if not done:
        torch.testing.assert_close(folded.state_dict(), before, rtol=0, atol=0, equal_nan=True)
        return
    image = torch.randn(2, 1, 9, 11)
    torch.testing.assert_close(folded(4 * image), network(image), rtol=1e-5, atol=1e-6)


def test_a_kernel_that_sees_more_than_the_image_is_left_alone():
    network = network_of(widths=(1, 8))
    first, second = network.encoder.stages[0]
    second.conv.weight = first.conv.weight
    assert not fold_scale(network, torch.tensor([0.5]))
