"""Whole plans: valid, buildable, explained to the last key; and the real data sets."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unetkit.errors import UsageError
from unetkit.networks.unet import build
from unetkit.planning.cost import Cost
from unetkit.planning.rules import plan
from unetkit.records.fingerprint import ChannelFingerprint, Fingerprint
from unetkit.records.plan import DataPlan, Plan

COST = Cost(gflops=275.0)
DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@st.composite
def fingerprints(draw):
    rank = draw(st.sampled_from([2, 3]))
    cases = draw(st.integers(1, 60))
    longest = 700 if rank == 2 else 160
    low = draw(st.tuples(*[st.integers(1, longest)] * rank))
    shapes = [tuple(n + draw(st.integers(0, 9)) for n in low) for _ in range(min(cases, 3))]
    shapes = tuple(shapes[n % len(shapes)] for n in range(cases))
    spacing = draw(st.tuples(*[st.floats(0.2, 8.0)] * rank))
    names = draw(st.sampled_from([("image",), ("CT",), ("red", "green", "blue"), ("T1", "noNorm")]))
    classes = draw(st.integers(2, 5))
    voxels = draw(st.tuples(*[st.integers(0, 10**7)] * classes))
    return Fingerprint(
        rank=rank,
        cases=tuple(f"{n:03}" for n in range(cases)),
        groups=cases,
        shapes=shapes,
        original_shapes=shapes,
        spacings_mm=(spacing,) * cases,
        calibrated=draw(st.booleans()),
        channels=tuple(
            ChannelFingerprint(
                name=name, count=9, mean=1.0, std=1.0, median=1.0, low=0.0, high=3.0, minimum=0.0,
                maximum=4.0, integer=True,
            )
            for name in names
        ),
        classes=tuple(f"class {n}" for n in range(classes)),
        voxels=voxels,
        cases_with=(cases,) * classes,
        unknown=0,
        smallest_object=(4.0,) * (classes - 1),
        nonzero_share=draw(st.floats(0.05, 1.0)),
        dtype=draw(st.sampled_from(["uint8", "float32"])),
    )  # fmt: skip


def data_of(fingerprint):
    return DataPlan(
        rank=fingerprint.rank,
        channels=tuple(channel.name for channel in fingerprint.channels),
        classes=fingerprint.classes,
        label_values=tuple(range(len(fingerprint.classes))),
    )


def example(**changes):
    shape = (512, 512)
    values = {
        "rank": 2, "cases": ("a", "b", "c"), "groups": 3,
        "shapes": (shape,) * 3, "original_shapes": (shape,) * 3,
        "spacings_mm": ((1.0, 1.0),) * 3, "calibrated": False,
        "channels": (ChannelFingerprint(name="image", count=9, mean=1.0, std=1.0, median=1.0, low=0.0,
                                        high=3.0, minimum=0.0, maximum=4.0, integer=True),),
        "classes": ("background", "defect"), "voxels": (90, 10), "cases_with": (3, 3), "unknown": 0,
        "smallest_object": (4.0,), "nonzero_share": 1.0, "dtype": "uint8",
    }  # fmt: skip
    return Fingerprint(**(values | changes))


@settings(deadline=None, max_examples=30)
@given(
    fingerprint=fingerprints(),
    minutes=st.sampled_from([0.0, 1.0, 30.0, 600.0]),
    gb=st.sampled_from([0.5, 8.0, 40.0]),
)
def test_any_fingerprint_gives_a_plan_that_builds_and_explains_itself(fingerprint, minutes, gb):
    decided = plan(fingerprint, data_of(fingerprint), minutes=minutes, memory_gb=gb, cost=COST)
    assert Plan.from_json(decided.to_json(), where="plan.json") == decided
    training, network, rank = decided.training, decided.network, decided.data.rank
    assert training.batch_size >= 1
    assert len(decided.preparation.normalization) == len(decided.data.channels)
    for axis in range(rank):
        divisor = 1
        for stage in network.strides:
            divisor *= stage[axis]
        assert training.patch_size[axis] % divisor == 0
    assert set(decided.flat()) - {"version"} == set(decided.reasons)
    assert all(reason.endswith(".") and len(reason) > 8 for reason in decided.reasons.values())
    if network.widths[0] == 8:
        build(network, rank=rank, in_channels=len(decided.data.channels), classes=len(decided.data.classes))


@settings(deadline=None, max_examples=10)
@given(fingerprint=fingerprints(), minutes=st.floats(1, 100), more=st.floats(1, 30))
def test_more_minutes_never_give_a_smaller_network(fingerprint, minutes, more):
    short, long = (
        plan(fingerprint, data_of(fingerprint), minutes=m, memory_gb=16, cost=COST)
        for m in (minutes, minutes * more)
    )
    assert len(long.network.widths) >= len(short.network.widths)
    assert all(b >= a for a, b in zip(short.network.widths, long.network.widths, strict=False))


@pytest.mark.parametrize("minutes", [0, 10, 120])
def test_thirty_pictures_of_512(minutes):
    shapes = ((512, 512),) * 30
    fingerprint = example(
        cases=tuple(f"{n:02}" for n in range(30)), shapes=shapes, original_shapes=shapes,
        spacings_mm=((1.0, 1.0),) * 30,
    )  # fmt: skip
    decided = plan(fingerprint, data_of(fingerprint), minutes=minutes, memory_gb=16, cost=COST)
    assert decided.training.batch_size >= 4
    assert len(decided.network.widths) <= 7
    assert "5 % of the data would be fewer than 4" in decided.reasons["training.batch_size"] or minutes


def test_reasons_carry_the_numbers():
    decided = plan(example(), data_of(example()), minutes=10, memory_gb=16, cost=COST)
    assert "GFLOP/s" in decided.reasons["network.widths"]
    assert "nnU-Net" in decided.reasons["training.batch_size"]
    assert "10 minutes on cpu" in decided.reasons["training.batch_size"]
    assert "512×512" in decided.reasons["training.patch_size"]
    assert decided.training.minutes == 10
    hopeless = plan(example(), data_of(example()), minutes=0.01, memory_gb=16, cost=COST)
    assert hopeless.reasons["network.widths"].startswith("The smallest network")
    tight = plan(example(), data_of(example()), memory_gb=0.11, cost=COST)
    assert "memory" in tight.reasons["training.batch_size"]


def test_the_machine_is_asked_only_when_nothing_was_said(monkeypatch):
    from unetkit.planning import capacity, rate

    asked = []
    monkeypatch.setattr(rate, "measure_rate", lambda device, *, rank: asked.append((device, rank)) or COST)
    monkeypatch.setattr(capacity, "default_memory_gb", lambda device: asked.append(device) or 9.0)
    plan(example(), data_of(example()), minutes=5, memory_gb=4, cost=COST)
    assert asked == []
    plan(example(), data_of(example()), minutes=5, device="auto")
    assert asked == [("auto", 2), "cpu"]


def test_wrong_budgets_are_refused():
    with pytest.raises(UsageError, match="a minutes budget of 0 or more was expected, got -1"):
        plan(example(), data_of(example()), minutes=-1, cost=COST)
    with pytest.raises(UsageError, match="a memory budget of 0 or more was expected, got nan"):
        plan(example(), data_of(example()), memory_gb=float("nan"), cost=COST)
    none = example(cases=(), shapes=(), original_shapes=(), spacings_mm=())
    with pytest.raises(UsageError, match="at least 1 labelled case, got 0"):
        plan(none, data_of(none), cost=COST)
    volume = DataPlan(rank=3, channels=("image",), classes=("background", "defect"), label_values=(0, 1))
    with pytest.raises(UsageError, match="the fingerprint has 2 axes, the data 3"):
        plan(example(), volume, cost=COST)


def test_planning_with_a_known_cost_needs_no_torch():
    assert importlib.util.find_spec("torch")
    code = (
        "import sys, unetkit.planning.rules, unetkit.planning.measure, unetkit.planning.capacity; "
        "print('torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "minutes", "patch", "widths"), [
    ("hippocampus", 30, (32, 48, 32), (16, 32)),
    ("isbi2012_em", 10, (256, 256), (16, 16)),
])  # fmt: skip
def test_real_data_sets(name, minutes, patch, widths):
    if not (DATA / name).is_dir():
        pytest.skip(f"{DATA / name} is not here")
    from unetkit.data.catalog import find_cases
    from unetkit.data.inspect import inspect
    from unetkit.planning.measure import measure

    seen = inspect(find_cases(DATA / name))
    assert seen.data is not None
    decided = plan(measure(seen), seen.data, minutes=minutes, memory_gb=8, cost=COST)
    assert decided.training.patch_size == patch
    assert widths[0] <= decided.network.widths[0] <= widths[1]
    assert 2 <= decided.training.batch_size <= 8


@pytest.mark.parametrize("axis", [0, 2])
def test_a_plan_for_slices_is_one_for_the_plane(fingerprint, axis):
    volume = fingerprint(3, shape=(40, 160, 120), spacings_mm=((5.0, 1.0, 1.0),) * 40)
    data = DataPlan(
        rank=3, channels=("image",), classes=volume.classes, label_values=(0, 1, 2),
        slice_axis=axis, context_slices=2,
    )  # fmt: skip
    made = plan(volume, data, minutes=30, memory_gb=8, cost=COST)
    assert made.data == data
    assert len(made.training.patch_size) == len(made.inference.tile_size) == 2
    assert all(len(stage) == 2 for stage in (*made.network.kernels, *made.network.strides))
    assert made.preparation.spacing_mm[axis] == 0
    assert made.objective.losses[0].options == {"batch": 1.0}
    assert max(made.inference.mirror_axes) == 1
    assert made.reasons["data.slice_axis"].startswith(f"Asked for: one slice along axis {axis}")
    assert "5 channels in all" in made.reasons["data.context_slices"]
    build(made.network, rank=2, in_channels=5, classes=3)


def test_slices_are_not_chosen_but_named_where_an_axis_is_far_coarser(fingerprint):
    data = DataPlan(rank=3, channels=("image",), classes=("background", "a", "b"), label_values=(0, 1, 2))
    thick = fingerprint(3, spacings_mm=((5.0, 1.0, 1.0),) * 40)
    for volume, named in ((thick, True), (fingerprint(3), False)):
        made = plan(volume, data, minutes=30, memory_gb=8, cost=COST)
        assert made.data.slice_axis is None
        assert ("whether data.slice_axis=0 does better" in made.reasons["data.slice_axis"]) == named
        assert "1 of 5 data sets" in made.reasons["data.context_slices"]


def test_pictures_have_no_slices(fingerprint):
    data = DataPlan(rank=2, channels=("image",), classes=("background", "a", "b"), label_values=(0, 1, 2))
    made = plan(fingerprint(), data, minutes=30, memory_gb=8, cost=COST)
    assert made.reasons["data.slice_axis"] == "None: pictures have no slices."
    with pytest.raises(UsageError, match="the images have 2 axes and no slices"):
        plan(fingerprint(), data.model_copy(update={"slice_axis": 0}), cost=COST)
