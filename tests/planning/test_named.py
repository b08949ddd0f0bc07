"""Names become networks, networks get patches and widths that fit the budgets, and the plan says so."""

from __future__ import annotations

import math

import pytest

from unetkit.errors import UsageError
from unetkit.networks.presets import PRESETS
from unetkit.planning.budget import SMALLEST_BATCH, Budget, Terms, choose
from unetkit.planning.cost import Cost
from unetkit.planning.named import completed, find, fitted, known, narrowed, of_model
from unetkit.planning.rules import plan
from unetkit.planning.topology import FIRST_WIDTH
from unetkit.records.fingerprint import ChannelFingerprint, Fingerprint
from unetkit.records.plan import EXAMPLE, DataPlan, NetworkPlan, Plan

PICTURES = Terms((1.0, 1.0), (200.0, 200.0), cases=40, channels=1, classes=2)
SCANS = Terms((1.0, 1.0, 1.0), (36.0, 50.0, 35.0), cases=40, channels=1, classes=2)
DEEP = NetworkPlan(
    widths=(16, 32, 64, 64, 64, 64),
    blocks=(1,) * 6,
    decoder_blocks=(1,) * 5,
    kernels=((3, 3),) * 6,
    strides=((1, 1), *((2, 2),) * 5),
)


def budget(minutes=0.0, gb=8.0, gflops=100.0):
    return Budget(seconds=60 * minutes, gb=gb, patch_gb=gb, cost=Cost(gflops=gflops))


def fingerprint(edge=200, cases=6):
    shape = (edge, edge)
    channel = ChannelFingerprint(
        name="image", count=9, mean=1.0, std=1.0, median=1.0, low=0.0, high=3.0, minimum=0.0, maximum=4.0,
        integer=True,
    )  # fmt: skip
    return Fingerprint(
        rank=2, cases=tuple(map(str, range(cases))), groups=cases, shapes=(shape,) * cases,
        original_shapes=(shape,) * cases, spacings_mm=((1.0, 1.0),) * cases, calibrated=False,
        channels=(channel,), classes=("background", "defect"), voxels=(90, 10), cases_with=(cases, cases),
        unknown=0, smallest_object=(4.0,), nonzero_share=1.0, dtype="uint8",
    )  # fmt: skip


DATA = DataPlan(rank=2, channels=("image",), classes=("background", "defect"), label_values=(0, 1))


def test_a_word_is_a_preset_a_part_or_several():
    for name in PRESETS:
        assert find(name).whole is not None
        assert PRESETS[name].paper in find(name).why
    assert find("residual").parts == {"encoder": "residual"}
    both = find(f"{next(iter(PRESETS))}+residual")
    assert both.whole is not None
    assert both.parts == {"encoder": "residual"}
    assert {"residual", "concat", "identity", *PRESETS} <= set(known())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("residul", r"there is no network 'residul'.*use 'residual'"),
        ("plain+residual", r"'plain\+residual' names two encoders.*leave one"),
        ("residual+", r"there is no network ''"),
    ],
)
def test_wrong_names_get_the_nearest_right_ones(name, told):
    with pytest.raises(UsageError, match=told):
        find(name)


def test_a_backbone_is_known_before_any_data_is_read():
    pytest.importorskip("timm", reason="timm is not installed")
    with pytest.raises(UsageError, match="resnet999"):
        find("timm:resnet999+fpn")
    assert find("timm:test_resnet").whole is not None


def test_two_presets_contradict_one_another():
    name = next(iter(PRESETS))
    with pytest.raises(UsageError, match="names two networks"):
        find(f"{name}+{name}")


def test_a_patch_is_grown_to_the_stride_and_no_norm_sees_one_pixel():
    assert fitted((200, 200), DEEP) == (192, 192)
    assert fitted((40, 250), DEEP) == (64, 224)
    assert fitted((20, 20), DEEP) == (64, 64)
    assert fitted((20, 40), DEEP) == (32, 64)
    assert fitted((1, 1), NetworkPlan(**EXAMPLE["network"])) == (4, 4)


def test_widths_shrink_by_steps_of_8_and_never_grow():
    assert narrowed(DEEP, 1.0) == DEEP
    assert narrowed(DEEP, 0.5).widths == (8, 16, 32, 32, 32, 32)
    thin = DEEP.model_copy(update={"widths": (4, 20, 64, 64, 64, 64), "decoder_widths": (6, 12, 24, 24, 24)})
    assert narrowed(thin, 0.25).widths == (4, 8, 16, 16, 16, 16)
    assert narrowed(thin, 0.25).decoder_widths == (6, 8, 8, 8, 8)
    given = DEEP.model_copy(update={"backbone": "resnet18"})
    assert narrowed(given, 0.25) == given


def test_parts_bring_what_they_ask_for():
    network = NetworkPlan(**EXAMPLE["network"])
    assert completed(network, {"bottleneck": "transformer"}).bottleneck_blocks == 4
    own = network.model_copy(update={"bottleneck_blocks": 2})
    assert completed(own, {"bottleneck": "transformer"}).bottleneck_blocks == 2
    strange = network.model_copy(update={"encoder": "timm", "backbone": "resnet18"})
    assert completed(strange, {"encoder": "residual"}).backbone == ""


@pytest.mark.parametrize("terms", [PICTURES, SCANS], ids=["pictures", "scans"])
@pytest.mark.parametrize("name", [next(iter(PRESETS)), "residual"])
def test_more_time_gives_more_of_it_and_memory_is_kept(terms, name):
    short, long, free, poor = (
        choose(terms, limits, make=find(name).maker())
        for limits in (budget(1), budget(10_000), budget(), budget(10_000, gb=0.6))
    )
    assert short.candidate.network.widths[0] < long.candidate.network.widths[0]
    assert math.prod(short.candidate.shape.patch) <= math.prod(long.candidate.shape.patch)
    assert long.candidate.network.widths == free.candidate.network.widths
    assert poor.candidate.weights < long.candidate.weights
    assert poor.stopped_by == "memory"
    assert short.batch >= SMALLEST_BATCH[terms.rank]
    if name in PRESETS:
        assert long.candidate.network == PRESETS[name].plan(terms.rank)
    else:
        assert long.candidate.network.encoder == "residual"
        assert long.candidate.network.widths[0] == FIRST_WIDTH


def test_a_fixed_network_keeps_its_widths_whatever_the_budget():
    model = Plan.model_validate(EXAMPLE)
    wanted = of_model(model, "run-1")
    for limits in (budget(0.1), budget(gb=0.2), budget()):
        choice = choose(PICTURES, limits, make=wanted.maker())
        assert choice.candidate.network == model.network
    assert wanted.rank == 2


def test_the_plan_says_what_was_asked_for_and_what_became_of_it():
    name = next(iter(PRESETS))
    cost = Cost(gflops=100.0)
    made = plan(fingerprint(), DATA, minutes=1, memory_gb=8, cost=cost, wanted=find(name))
    assert made.reasons["network"] == f"'{name}' was asked for: {PRESETS[name].paper}."
    assert made.reasons["network.kernels"] == f"As in '{name}'."
    assert "made to fit, 16 of 64 channels first" in made.reasons["network.widths"]
    assert set(made.flat()) - {"version"} | {"network"} == set(made.reasons)
    part = plan(fingerprint(), DATA, minutes=1, memory_gb=8, cost=cost, wanted=find("residual"))
    assert part.network.encoder == "residual"
    assert part.reasons["network.encoder"] == "'residual' was asked for."
    assert part.reasons["network.fusion"] == "Skips are concatenated, as in U-Net."
    model = Plan.model_validate({**EXAMPLE, "network": DEEP.model_dump()})
    grown = plan(
        fingerprint(edge=40), DATA, memory_gb=8, cost=cost, wanted=of_model(model, "run-1")
    )  # 5 halvings of a picture of 40
    assert grown.training.patch_size == (64, 64)
    assert (
        "Grown beyond the image to what the network's stride, 32×32" in grown.reasons["training.patch_size"]
    )
    assert "which are fixed" in grown.reasons["network.widths"]
    assert grown.reasons["network"] == "As in 'run-1', the model whose weights training starts from."
