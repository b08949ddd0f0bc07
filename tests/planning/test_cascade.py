"""Whether there is a first stage, and at which spacing: nnU-Net's own answers, and what a plan says of it."""

from __future__ import annotations

import math

import pytest

from unetkit.errors import UsageError
from unetkit.planning.cascade import low_resolution, prepare_stage
from unetkit.planning.cost import Cost
from unetkit.planning.rules import plan
from unetkit.records.plan import DataPlan

COST = Cost(gflops=275.0)
NONE = [
    # name, spacing, median, cases, classes
    ("hippocampus", (1, 1, 1), (36, 50, 35), 260, 3),
    ("brats", (1, 1, 1), (138, 169, 138), 484, 4),
    ("prostate", (3.6, 0.62, 0.62), (20, 320, 319), 32, 3),
    ("heart", (1.37, 1.25, 1.25), (115, 320, 232), 20, 2),
    ("acdc", (5.0, 1.5625, 1.5625), (18, 237, 208), 200, 4),
]
LOW = [
    # name, spacing, median, cases, classes; then of the first stage: spacing, median, patch
    ("lung", (1.24, 0.785, 0.785), (252, 512, 512), 63, 2,
     (2.376, 1.5041, 1.5041), (132, 267, 267), (80, 192, 160)),
    ("liver", (1, 0.767, 0.767), (482, 512, 512), 131, 3,
     (2.5001, 1.9176, 1.9176), (193, 205, 205), (128, 128, 128)),
    ("spleen", (1.6, 0.793, 0.793), (187, 512, 512), 41, 2,
     (2.7239, 1.3905, 1.3905), (110, 292, 292), (64, 192, 192)),
    ("pancreas", (2.5, 0.80, 0.80), (96, 512, 512), 281, 3,
     (2.575, 1.3223, 1.3223), (93, 310, 310), (64, 192, 192)),
]  # fmt: skip


@pytest.mark.parametrize("row", NONE, ids=[row[0] for row in NONE])
def test_where_nnunet_makes_no_first_stage_there_is_none(row):
    _, spacing, median, cases, classes = row
    assert low_resolution(spacing, median, cases=cases, classes=classes) is None


@pytest.mark.parametrize("row", LOW, ids=[row[0] for row in LOW])
def test_the_first_stage_is_nnunets(row):
    _, spacing, median, cases, classes, low, shape, patch = row
    found = low_resolution(spacing, median, cases=cases, classes=classes)
    assert found.spacing_mm == pytest.approx(low, abs=6e-5)
    assert found.median == shape
    assert (found.configuration.topology.patch, found.configuration.batch) == (patch, 2)


def test_a_large_picture_has_one_too():
    found = low_resolution((1, 1), (4096, 4096), cases=100, classes=5)
    assert found.spacing_mm[0] == found.spacing_mm[1]
    share = math.prod(found.configuration.topology.patch) / math.prod(found.median)
    assert 0.25 <= share < 0.3
    assert low_resolution((1, 1), (512, 512), cases=100, classes=5) is None


def data_of(fingerprint, **words):
    return DataPlan(
        rank=fingerprint.rank, channels=tuple(channel.name for channel in fingerprint.channels),
        classes=fingerprint.classes, label_values=tuple(range(len(fingerprint.classes))), **words,
    )  # fmt: skip


@pytest.fixture
def lung(fingerprint):
    return fingerprint(
        3, shape=(252, 512, 512), cases=63, spacings_mm=((1.24, 0.785, 0.785),) * 63,
        classes=("background", "tumour"), voxels=(9, 1), cases_with=(63, 63), smallest_object=(9.0,),
    )  # fmt: skip


def test_the_first_stage_is_planned_for_its_spacing_and_says_why(lung):
    made = plan(lung, data_of(lung, cascade="low"), memory_gb=8, cost=COST)
    assert made.preparation.spacing_mm == pytest.approx((2.376, 1.5041, 1.5041), abs=6e-5)
    assert made.training.patch_size == (80, 192, 160)
    assert "132×267×267" in made.reasons["training.patch_size"]
    assert "until its patch covers a quarter" in made.reasons["preparation.spacing_mm"]
    assert made.reasons["data.cascade"].startswith("Asked for: the first stage")
    assert made.augmentation.cascade_removal == 0


def test_the_second_stage_sees_the_classes_of_the_first(lung):
    none = plan(lung, data_of(lung), memory_gb=8, cost=COST)
    assert "covers only 3.7 % of a typical image" in none.reasons["data.cascade"]
    made = plan(lung, data_of(lung, cascade="full"), memory_gb=8, cost=COST)
    assert (none.data.input_channels, made.data.input_channels) == (1, 2)
    assert made.preparation == none.preparation
    assert (made.augmentation.cascade_morphology, made.augmentation.cascade_removal) == (0.4, 0.2)
    assert made.augmentation.still.cascade_morphology == 0
    assert set(made.flat()) - {"version"} == set(made.reasons)
    assert made.reasons["data.cascade"] == "Asked for: the first stage's answer comes as a further channel."


def test_where_none_is_needed_it_is_refused_unless_a_spacing_is_given(fingerprint):
    small = fingerprint(3)
    assert "covers" in plan(small, data_of(small), memory_gb=8, cost=COST).reasons["data.cascade"]
    with pytest.raises(UsageError, match=r"no first stage is needed: nnU-Net's patch covers .* a quarter or"):
        prepare_stage(small, data_of(small, cascade="low"), gb=8)
    found, terms, reasons = prepare_stage(
        small, data_of(small, cascade="low"), gb=8, spacing_mm=(2.0, 2.0, 2.0)
    )
    assert found.spacing_mm == (2.0, 2.0, 2.0)
    assert terms.median == (20, 30, 25)
    assert reasons["preparation.spacing_mm"] == "Asked for."


def test_a_first_stage_for_pictures_counts_in_their_own_pixels_or_mm(fingerprint):
    shape = (4096, 4096)
    plain = fingerprint(shape=shape, cases=9)
    found, terms, _ = prepare_stage(plain, data_of(plain, cascade="low"), gb=8)
    factor = found.spacing_mm[0]
    assert found.spacing_mm == (factor, factor)
    assert terms.median[0] == round(4096 / factor)
    fine = fingerprint(shape=shape, cases=9, calibrated=True, spacings_mm=((0.5, 0.5),) * 9)
    assert prepare_stage(fine, data_of(fine, cascade="low"), gb=8)[0].spacing_mm[0] == pytest.approx(
        factor / 2, abs=1e-4
    )
    odd = fingerprint(shape=shape, cases=2, spacings_mm=((0.5, 0.5), (1.0, 1.0)))
    with pytest.raises(UsageError, match="needs the spacing of every image, and not every file states it"):
        prepare_stage(odd, data_of(odd, cascade="low"), gb=8)


def test_slices_and_stages_contradict_one_another(lung):
    with pytest.raises(UsageError, match=r"data\.slice_axis and data\.cascade=low contradict"):
        plan(lung, data_of(lung, cascade="low", slice_axis=0), memory_gb=8, cost=COST)
    sliced = plan(lung, data_of(lung, slice_axis=0), memory_gb=8, cost=COST)
    assert sliced.reasons["data.cascade"] == "None: the network sees slice by slice."
