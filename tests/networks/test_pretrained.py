"""Start weights: what goes where, that it computes what it did, and what is refused."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from unetkit.errors import DataError, UsageError
from unetkit.networks.pretrained import adopt, folded_norms, settle_norms, start_from, start_from_imagenet
from unetkit.networks.store import save_model
from unetkit.networks.unet import build
from unetkit.networks.weights import NORM_EPS, read_weights
from unetkit.records.plan import EXAMPLE, NetworkPlan, Plan

WHOLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "weights"


def plan(rank: int = 2, **changes) -> NetworkPlan:
    stages = {"widths": (4, 6, 8), "blocks": (1, 2, 1), "decoder_blocks": (1, 1), "deep_supervision": 1}
    axes = {"kernels": ((3,) * rank,) * 3, "strides": ((1,) * rank, (2,) * rank, (2,) * rank)}
    return NetworkPlan(**{**stages, **axes, **changes})


def unet(rank: int = 2, in_channels: int = 3, classes: int = 2, **changes):
    return build(plan(rank, **changes), rank=rank, in_channels=in_channels, classes=classes).eval()


def timm_unet(backbone: str, rank: int = 2, in_channels: int = 3):
    pytest.importorskip("timm", reason="timm is not installed")
    from unetkit.networks.encoders.timm import plan_of

    fields = NetworkPlan(**plan_of(backbone, rank))
    return build(fields, rank=rank, in_channels=in_channels, classes=2).eval()


def saved(folder: Path, network, network_plan: NetworkPlan, classes: tuple[str, ...], rank: int = 2) -> Path:
    data = {**EXAMPLE["data"], "rank": rank, "classes": classes, "label_values": tuple(range(len(classes)))}
    whole = Plan.model_validate({**EXAMPLE, "data": data, "network": network_plan.model_dump()})
    save_model(folder, network, whole)
    return folder


@pytest.mark.parametrize("encoder", ["plain", "residual"])
def test_a_model_of_the_same_plan_comes_over_whole(tmp_path, encoder):
    old, new = unet(encoder=encoder), unet(encoder=encoder)
    folder = saved(tmp_path, old, plan(encoder=encoder), ("background", "defect"))
    report = start_from(new, folder, classes=("background", "defect"))
    assert (report.left, report.unmatched, report.folded, report.inflated) == ((), (), (), ())
    x = torch.randn(1, 3, 9, 13)
    assert torch.equal(new(x), old(x))


def test_a_head_grows_and_every_old_class_keeps_its_probability(tmp_path):
    old = unet(classes=3, deep_supervision=2)
    folder = saved(tmp_path / "m", old, plan(deep_supervision=2), ("background", "a", "b"))
    new = unet(classes=5, deep_supervision=2)
    assert start_from(new, folder, classes=("background", "a", "b", "c", "d")).left == ()
    pixels = torch.randn(2, 3, 16, 16)
    for one, other in zip(old.train()(pixels), new.train()(pixels), strict=True):
        before, after = one.softmax(1), other.softmax(1)
        torch.testing.assert_close(after[:, 1:3], before[:, 1:])
        for ground in (0, 3, 4):
            torch.testing.assert_close(after[:, ground], before[:, 0] / 3)


def test_heads_stay_new_where_the_classes_are_others(tmp_path):
    old = unet()
    folder = saved(tmp_path, old, plan(), ("background", "defect"))
    for classes in (("background", "scratch"), ()):
        new = unet()
        head = new.heads[0].weight.clone()
        report = start_from(new, folder, classes=classes)
        assert set(report.left) == {"heads.0.weight", "heads.0.bias"} == set(report.unmatched)
        assert torch.equal(new.heads[0].weight, head)


def test_other_channels_are_folded_and_said(tmp_path):
    old, new = unet(in_channels=3), unet(in_channels=1)
    report = start_from(
        new, saved(tmp_path, old, plan(), ("background", "defect")), classes=("background", "defect")
    )
    assert report.folded == ("encoder.stages.0.0.conv.weight",)
    assert "1 folded" in report.sentence()
    grey = torch.randn(1, 1, 8, 8)
    torch.testing.assert_close(new(grey), old(grey.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("encoder", ["plain", "residual"])
def test_a_whole_picture_network_inflated_gives_the_pictures_answer_on_every_slice(tmp_path, encoder):
    """Transposed convolutions, skips and heads included; instance norms see copies of one slice."""
    old, new = unet(encoder=encoder), unet(3, encoder=encoder)
    folder = saved(tmp_path, old, plan(encoder=encoder), ("background", "defect"))
    report = start_from(new, folder, classes=("background", "defect"))
    assert report.left == ()
    assert len(report.inflated) > 5
    x = torch.randn(1, 3, 10, 13)
    got = new(x.unsqueeze(2).expand(-1, -1, 8, -1, -1))
    torch.testing.assert_close(got, old(x).unsqueeze(2).expand_as(got), rtol=1e-4, atol=1e-4)


def test_a_plan_with_one_stage_more_keeps_what_it_can(tmp_path):
    four = {"widths": (4, 6, 8, 10), "blocks": (1, 2, 1, 1), "decoder_blocks": (1, 1, 1)}
    four |= {"kernels": ((3, 3),) * 4, "strides": ((1, 1), *((2, 2),) * 3)}
    old, new = unet(), unet(**four)
    report = start_from(new, saved(tmp_path, old, plan(), ("background", "defect")))
    assert any(name.startswith("encoder.stages.3.") for name in report.left)
    assert torch.equal(new.encoder.stages[2][0].conv.weight, old.encoder.stages[2][0].conv.weight)


def test_flat_kernels_grow(tmp_path):
    flat = {"kernels": ((1, 3, 3),) * 3}
    old, new = unet(3, **flat), unet(3)
    start_from(new, saved(tmp_path, old, plan(3, **flat), ("background", "defect"), rank=3))
    x = torch.randn(1, 3, 8, 8, 8)
    for one, other in zip(new.encoder(x), old.encoder(x), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("rank", "in_channels"), [(2, 3), (2, 1), (3, 2)])
def test_torchvisions_resnet_by_name(tmp_path, rank, in_channels):
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    theirs = models.resnet18().eval()
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    ours = timm_unet("resnet18", rank, in_channels)
    report = start_from(ours, tmp_path / "resnet18.pth")
    assert not [name for name in report.left if name.startswith("encoder.")]
    assert report.unmatched == ("fc.weight", "fc.bias")
    assert report.folded == (() if in_channels == 3 else ("encoder.backbone.conv1.weight",))
    assert bool(report.inflated) == (rank == 3)
    if (rank, in_channels) == (2, 3):
        x = torch.randn(1, 3, 64, 64)
        wanted = theirs.layer1(theirs.maxpool(F.relu(theirs.bn1(theirs.conv1(x)))))
        torch.testing.assert_close(ours.encoder(x)[1], wanted)


def test_torchvisions_mobilenet_by_order(tmp_path):
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    theirs = models.mobilenet_v2().eval()
    ours = timm_unet("mobilenetv2_100")
    report = adopt(ours, theirs.state_dict(), source="mobilenet_v2")
    assert not [name for name in report.left if name.startswith("encoder.")]
    assert {name.split(".")[0] for name in report.unmatched} == {"features", "classifier"}
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(ours.encoder(x)[-1], theirs.features[:18](x))


def test_an_smp_network_by_name():
    """smp calls the same tensors ``encoder.layer1…``; its decoder is built otherwise and stays unused."""
    ours = timm_unet("resnet18")
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    theirs = {f"encoder.{name}": value for name, value in models.resnet18().state_dict().items()}
    theirs |= {
        "decoder.blocks.0.conv1.0.weight": torch.zeros(256, 768, 3, 3),
        "segmentation_head.0.weight": torch.zeros(2, 16, 3, 3),
    }
    report = adopt(ours, theirs, source="smp")
    assert not [name for name in report.left if name.startswith("encoder.")]
    assert "segmentation_head.0.weight" in report.unmatched
    assert torch.equal(ours.encoder.backbone.conv1.weight, theirs["encoder.conv1.weight"])


def test_timms_own_weights_come_through_the_one_door(monkeypatch):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    from unetkit.networks.encoders import timm as room

    theirs = timm.create_model("test_convnext", features_only=True).eval()
    monkeypatch.setattr(room, "imagenet_weights", lambda name: (f"timm/{name}", theirs.state_dict()))
    ours = timm_unet("test_convnext")
    report = start_from_imagenet(ours)
    assert report.source == "timm/test_convnext"
    assert not [name for name in report.left if name.startswith("encoder.")]
    x = torch.randn(1, 3, 64, 64)
    for one, other in zip(ours.encoder(x), theirs(x), strict=True):
        assert torch.equal(one, other)


def test_imagenet_weights_are_for_timm_encoders():
    with pytest.raises(UsageError, match=r"this network's is a PlainEncoder.*training\.pretrained to none"):
        start_from_imagenet(unet())


def test_a_file_of_another_architecture_changes_nothing(tmp_path):
    ours = unet()
    before = copy.deepcopy(ours.state_dict())
    torch.save({f"layer{i}.weight": torch.randn(32, 16, 3, 3) for i in range(9)}, tmp_path / "other.pth")
    with pytest.raises(DataError) as refusal:
        start_from(ours, tmp_path / "other.pth")
    text = str(refusal.value)
    assert re.search(
        r"other\.pth: expected weights of a network with the encoder PlainEncoder \(4 kernels", text
    )
    assert re.search(r"'encoder\.stages\.2\.0\.conv\.weight' of shape \[8, 6, 3, 3\]\), of which 0 fit", text)
    assert re.search(r"Do this: name a file of this architecture, or plan the network the file is of", text)
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


def test_a_cousins_file_is_refused_although_some_names_and_shapes_agree():
    """resnet50's second kernels are called and shaped as resnet34's: 17 of 36 is not a start."""
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    ours = timm_unet("resnet34")
    with torch.device("meta"):
        names = models.resnet50().state_dict()
    theirs = {name: torch.zeros(value.shape) for name, value in names.items() if value.is_floating_point()}
    with pytest.raises(DataError, match=r"resnet50: expected weights .* encoder resnet34 \(36 kernels"):
        adopt(ours, theirs, source="resnet50")


def test_settled_norms_answer_alike_in_both_modes():
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 4, 3),
        torch.nn.BatchNorm2d(4),
    )
    for norm in (network[1], network[4]):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.1, 3)
        norm.weight.data.normal_()
    images = torch.randn(4, 3, 16, 16) * 3 + 1
    with torch.no_grad():
        wanted, apart = network.eval()(images), copy.deepcopy(network).train()(images)
        assert settle_norms(network, [images[:2], images[2:]]) == 2
        torch.testing.assert_close(network(images), wanted, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(network.train()(images), wanted, rtol=1e-3, atol=1e-3)
    assert (apart - wanted).abs().max() > 0.1


def test_only_norms_that_were_folded_away_are_found():
    network = torch.nn.Sequential(*(torch.nn.BatchNorm2d(4) for _ in range(3)))
    with torch.no_grad():
        for norm in network[:2]:
            norm.bias.normal_()
        network[0].running_var.fill_(1 - NORM_EPS)  # as read_weights gives them
    assert folded_norms(network) == (network[0],)


@pytest.mark.real_data
def test_the_whole_number_mobilenet_still_knows_a_cat():
    """With symmetric padding and 8-bit weights the known answer is Egyptian cat with probability 0.50."""
    if not WHOLE.is_dir():
        pytest.skip("no shared/data/weights beside the repository")
    path = WHOLE / "mobilenetv2_100_imagenet_int8.npz"
    ours, weights = timm_unet("mobilenetv2_100"), read_weights(path)
    report = start_from(ours, path)
    assert not [name for name in report.left if name.startswith("encoder.")]
    with Image.open(WHOLE / "src" / "cat.bmp") as picture:
        pixels = np.asarray(picture.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))
    x = torch.from_numpy(pixels.copy()).float().permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        last = F.conv2d(
            ours.encoder(x)[-1], weights["features.18.0.weight"], weights["features.18.0.norm.bias"]
        )
        classifier = weights["classifier.1.weight"].flatten(1)
        logits = F.relu6(last).mean((2, 3)) @ classifier.mT + weights["classifier.1.norm.bias"]
    names = (WHOLE / "src" / "imagenet_labels.txt").read_text().splitlines()
    probability, place = logits.softmax(1)[0].max(0)
    assert names[place] == "Egyptian cat"
    assert abs(float(probability) - 0.50) < 0.02
