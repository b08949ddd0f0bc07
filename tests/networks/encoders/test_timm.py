"""Backbones of timm: against timm itself, between ranks, and what is refused."""

import sys

import pytest
import torch

from unetkit.errors import MissingPackageError, ResourceError, UsageError
from unetkit.networks.matching import fitted
from unetkit.records.plan import NetworkPlan

timm = pytest.importorskip("timm", reason="timm is not installed")

from unetkit.networks.encoders import timm as room  # noqa: E402 - needs timm
from unetkit.networks.encoders.timm import TimmEncoder, describe, imagenet_weights, plan_of  # noqa: E402

TINY = ("test_resnet", "test_efficientnet", "test_convnext")


def encoder(backbone: str, rank: int, in_channels: int = 3, **changes) -> TimmEncoder:
    plan = NetworkPlan(**{**plan_of(backbone, rank), **changes})
    return TimmEncoder(plan, rank, in_channels).eval()


def with_weights(volume: TimmEncoder, picture: TimmEncoder) -> TimmEncoder:
    """The volume encoder with the picture one's weights."""
    given = picture.state_dict()
    state = {}
    for name, value in volume.state_dict().items():
        fit = fitted(given[name], value) if value.is_floating_point() else (given[name], False, False)
        assert fit is not None, name
        state[name] = fit[0]
    volume.load_state_dict(state)
    return volume


def stirred(network: torch.nn.Module) -> None:
    """Move every number, so that no scale is zero and no norm the identity."""
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.add_(0.1 * torch.rand_like(value))


@pytest.mark.parametrize("name", TINY)
def test_features_are_timms_own(name):
    ours, theirs = encoder(name, 2), timm.create_model(name, features_only=True).eval()
    theirs.load_state_dict(ours.backbone.state_dict())
    x = torch.randn(2, 3, 64, 96)
    got = ours(x)
    for one, other in zip(got, theirs(x), strict=True):
        assert torch.equal(one, other)
    assert [feature.shape[1] for feature in got] == list(ours.channels)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("rank", [2, 3])
def test_odd_sizes_are_rounded_up(name, rank):
    ours = encoder(name, rank, 2)
    size = (5, 37, 41)[-rank:]
    for feature, stride in zip(ours(torch.randn(1, 2, *size)), ours.strides, strict=True):
        size = tuple(-(-length // step) for length, step in zip(size, stride, strict=True))
        assert feature.shape[2:] == size


@pytest.mark.parametrize("name", [*TINY, "regnety_002", "convnextv2_atto"])
def test_a_volume_constant_along_the_new_axis_gives_the_pictures_features(name):
    """At the border too: kernels sit in the middle slice."""
    stages = {key: value[:3] for key, value in plan_of(name, 2).items() if isinstance(value, tuple)}
    picture = encoder(name, 2, **stages)
    stirred(picture)
    stages = {key: value[:3] for key, value in plan_of(name, 3).items() if isinstance(value, tuple)}
    volume = with_weights(encoder(name, 3, **stages), picture)
    x = torch.randn(1, 3, 33, 46)
    for flat, deep in zip(picture(x), volume(x.unsqueeze(2).expand(-1, -1, 9, -1, -1)), strict=True):
        torch.testing.assert_close(deep, flat.unsqueeze(2).expand_as(deep), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext"])
def test_flat_kernels_and_strides_are_the_picture_network_on_each_slice(name):
    picture = encoder(name, 2)
    stirred(picture)
    flat = {
        "kernels": tuple((1, 3, 3) for _ in picture.channels),
        "strides": tuple((1, *step) for step in picture.strides),
    }
    volume = with_weights(encoder(name, 3, **flat), picture)
    x = torch.randn(1, 3, 3, 37, 40)
    slices = [picture(x[:, :, i]) for i in range(3)]
    for deep, *flats in zip(volume(x), *slices, strict=True):
        torch.testing.assert_close(deep, torch.stack(flats, 2), rtol=1e-4, atol=1e-4)


def test_a_gate_is_the_one_thing_that_joins_slices():
    """Squeeze and excitation takes the mean of the whole volume, not of each slice or column."""
    picture = encoder("test_efficientnet", 2)
    stirred(picture)
    strides = tuple((1, *step) for step in picture.strides)
    flat = {"kernels": ((1, 3, 3),) * 5, "strides": strides}
    volume = with_weights(encoder("test_efficientnet", 3, **flat), picture)
    x = torch.randn(1, 3, 1, 37, 40)
    for deep, feature in zip(volume(x), picture(x[:, :, 0]), strict=True):
        torch.testing.assert_close(deep[:, :, 0], feature, rtol=1e-4, atol=1e-4)


def test_only_the_stages_that_stride_along_the_new_axis_do():
    strides = tuple((step, 2, 2) for step in (1, 2, 1, 2, 1))
    features = encoder("test_resnet", 3, strides=strides)(torch.randn(1, 3, 9, 64, 64))
    assert [feature.shape[2] for feature in features] == [9, 5, 5, 3, 3]


@pytest.mark.parametrize("name", [*TINY, "resnet10t"])
@pytest.mark.parametrize("rank", [2, 3])
def test_each_weight_is_in_one_stage_and_moves_no_finer_feature(name, rank):
    ours = encoder(name, rank)
    stages = [
        [weight for block in stage for weight in block.parameters()] for stage in ours.blocks_by_stage()
    ]
    assert sorted(id(weight) for stage in stages for weight in stage) == sorted(map(id, ours.parameters()))
    x = torch.randn(1, 3, *(8, 32, 32)[-rank:])
    with torch.no_grad():
        before = ours(x)
        for weight in stages[2]:
            weight.add_(0.1)
        after = ours(x)
    same = [torch.equal(one, other) for one, other in zip(before, after, strict=True)]
    assert same[:2] == [True, True]
    assert not any(same[2:])


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("stages", [2, 3])
def test_a_shorter_plan_ends_the_backbone_there(name, stages):
    plan = {key: value[:stages] for key, value in plan_of(name, 2).items() if isinstance(value, tuple)}
    short, whole = encoder(name, 2, **plan), encoder(name, 2)
    missing, unexpected = whole.load_state_dict(short.state_dict(), strict=False)
    assert not unexpected
    assert missing
    x = torch.randn(1, 3, 40, 40)
    for one, other in zip(short(x), whole(x), strict=False):
        assert torch.equal(one, other)
    wanted = sum(
        weight.numel()
        for blocks in whole.blocks_by_stage()[:stages]
        for b in blocks
        for weight in b.parameters()
    )
    assert sum(weight.numel() for weight in short.parameters()) == wanted


def test_what_a_plan_needs():
    plan = plan_of("resnet34", 3)
    assert plan["widths"] == (64, 64, 128, 256, 512)
    assert plan["strides"] == ((2, 2, 2),) * 5
    assert plan["kernels"] == ((3, 3, 3),) * 5
    # torchvision's resnet34: a stem, then 3, 4, 6 and 3 blocks of two convolutions
    assert plan["blocks"] == (1, 6, 8, 12, 6)
    assert plan["decoder_blocks"] == (2, 2, 2, 2)
    assert plan_of("test_convnext", 2)["strides"] == ((4, 4), (2, 2), (2, 2), (2, 2))
    assert plan_of("mobilenetv2_100", 2)["widths"] == (16, 24, 32, 96, 320)


@pytest.mark.parametrize(("name", "parameters"), [("resnet34", 21_284_672), ("mobilenetv2_100", 1_811_712)])
def test_published_sizes(name, parameters):
    """Of torchvision's resnet34 (21,797,672) less its classifier, of mobilenet_v2 less its last layers."""
    with torch.device("meta"):
        ours = encoder(name, 2)
    assert sum(weight.numel() for weight in ours.parameters()) == parameters


def test_nothing_that_has_to_be_saved_is_missing_from_the_state(monkeypatch):
    create = room._create

    def with_a_constant(*words):
        network = create(*words)
        network.layer1.register_buffer("constant", torch.ones(2), persistent=False)
        return network

    monkeypatch.setattr(room, "_create", with_a_constant)
    assert "backbone.layer1.constant" in encoder("test_resnet", 2).state_dict()


@pytest.mark.parametrize(
    ("backbone", "text"),
    [
        ("", "needs a backbone, network.backbone is empty.*such as resnet34"),
        ("resnett34", "has no backbone 'resnett34'.*use 'resnet34'"),
        ("qqqqqq", "has no backbone 'qqqqqq'.*use resnet34, efficientnet_b0"),
        ("resnet34.a9_in1k", "no weights 'a9_in1k' for the backbone 'resnet34'.*'resnet34.a1_in1k'"),
        ("hf-hub:timm/resnet34", "a plain name of timm's own table was expected.*nor opens"),
        ("timm/resnet34", "a plain name of timm's own table was expected"),
        ("local-dir:/tmp", "a plain name of timm's own table was expected"),
        ("test_vit", "was expected to give feature maps.*convolutional backbone, such as resnet34"),
        ("mixer_s32_224", "was expected to give feature maps"),
        (
            "poolformer_s12",
            r"for images of any size, rounded up; timm answers: size \[24, 17\] for \[97, 70\]",
        ),
    ],
)
def test_a_backbone_that_cannot_serve_is_refused(backbone, text):
    with pytest.raises(UsageError, match=f"(?s){text}"):
        plan_of(backbone, 2)


def test_a_backbone_of_unknown_parts_is_refused_for_volumes_alone():
    assert plan_of("tf_efficientnet_b0", 2)
    with pytest.raises(
        UsageError, match=r"cannot be inflated to 3 axes: it is made of Conv.dSame.*another backbone"
    ):
        plan_of("tf_efficientnet_b0", 3)


@pytest.mark.parametrize(
    ("rank", "changes", "text"),
    [
        (2, {"widths": (32, 32, 48, 192, 95)}, r"network\.widths is \[32, 32, 48, 192, 95\], the backbone"),
        (2, {"widths": (1,) * 9}, r"set network\.widths to \[32, 32, 48, 192, 96\]"),
        (2, {"strides": ((1, 1), *((2, 2),) * 4)}, r"set network\.strides to \[\[2, 2\], \[2, 2\]"),
        (2, {"strides": ((1, 2), *((2, 2),) * 4)}, r"set network\.strides"),
        (3, {"strides": ((2, 1, 2), *((2, 2, 2),) * 4)}, r"set network\.strides"),
        (3, {"strides": ((1, 2, 2), (4, 2, 2), *((2, 2, 2),) * 3)}, r"to \[\[1, 2, 2\], \[2, 2, 2\]"),
    ],
)
def test_a_plan_that_says_otherwise_is_refused(rank, changes, text):
    with pytest.raises(UsageError, match=text):
        encoder("test_resnet", rank, **changes)


def test_a_missing_timm_is_answered_with_its_command(monkeypatch):
    describe.cache_clear()
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingPackageError, match=r"needs the package 'timm'.*pip install 'unetkit\[timm\]'"):
        describe("resnet18")


def test_trained_weights_come_from_the_cache_without_a_network(tmp_path, monkeypatch):
    from huggingface_hub import constants
    from safetensors.torch import save_file

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ResourceError, match=r"not in the cache and could not be fetched.*local file"):
        imagenet_weights("test_resnet")
    trained = timm.create_model("test_resnet", num_classes=1000)
    folder = tmp_path / "models--timm--test_resnet.r160_in1k"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    save_file(trained.state_dict(), folder / "snapshots" / ("0" * 40) / "model.safetensors")
    origin, weights = imagenet_weights("test_resnet")
    assert origin == "timm/test_resnet.r160_in1k (test_resnet)"
    assert set(weights) == set(encoder("test_resnet", 2).backbone.state_dict())
    assert torch.equal(weights["conv1.0.weight"], trained.state_dict()["conv1.0.weight"])


def test_a_backbone_that_nobody_trained(monkeypatch):
    monkeypatch.setattr(timm, "is_model_pretrained", lambda name: False)
    with pytest.raises(
        UsageError, match=r"no trained weights for the backbone 'test_resnet'.*another backbone"
    ):
        imagenet_weights("test_resnet")
