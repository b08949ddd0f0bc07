import pytest
import torch

from unetkit.errors import DataError, UsageError
from unetkit.networks.pretrained import start_from, start_from_imagenet
from unetkit.networks.store import save_model
from unetkit.networks.unet import build
from unetkit.records.plan import EXAMPLE, NetworkPlan, Plan

PLAN = Plan.model_validate(EXAMPLE)


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(1)
    network = build(PLAN.network, rank=2, in_channels=1, classes=2)
    save_model(tmp_path, network, PLAN)
    return tmp_path, network


def test_what_has_the_name_and_the_shape_is_taken_over(model):
    folder, origin = model
    network = build(PLAN.network, rank=2, in_channels=1, classes=3)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    report = start_from(network, folder, classes=("background", "a", "b"))
    assert set(report.left) >= {"heads.0.weight", "heads.0.bias"}
    assert set(report.matched) | set(report.left) == set(before)
    for name, tensor in network.state_dict().items():
        wanted = origin.state_dict()[name] if name in report.matched else before[name]
        assert torch.equal(tensor, wanted), name


def test_heads_go_with_the_classes_they_were_trained_for(model):
    folder, _ = model
    for classes, taken in ((PLAN.data.classes, True), (("background", "other"), False)):
        report = start_from(build(PLAN.network, rank=2, in_channels=1, classes=2), folder, classes=classes)
        assert ("heads.0.weight" in report.matched) == taken


def test_another_architecture_is_refused(model):
    other = NetworkPlan(**{**EXAMPLE["network"], "widths": (5, 7)})
    with pytest.raises(DataError, match="another architecture"):
        start_from(build(other, rank=3 - 1, in_channels=3, classes=4), model[0])


def test_imagenet_knows_other_encoders():
    with pytest.raises(UsageError, match="ImageNet weights exist for the encoder 'timm'"):
        start_from_imagenet(build(PLAN.network, rank=2, in_channels=1, classes=2))
