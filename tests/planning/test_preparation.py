"""Spacing, cropping and normalisation, and what the network sees then."""

from __future__ import annotations

import pytest

from unetkit.planning.preparation import prepare_for, terms_of
from unetkit.spatial.slices import Slices


def test_pictures_are_normalised_each_and_never_resampled(fingerprint):
    plan, reasons = prepare_for(fingerprint(channels=("red", "green", "blue")))
    assert [n.scheme for n in plan.normalization] == ["zscore"] * 3
    assert plan.spacing_mm == ()
    assert not plan.crop_to_nonzero
    assert reasons["preparation.spacing_mm"] == "Pictures are never resampled."
    assert reasons["preparation.normalization"].startswith("Every channel: z-score of each image")


@pytest.mark.parametrize("name", ["CT", "ct"])
def test_ct_is_clipped_to_the_data_set(fingerprint, name):
    plan, reasons = prepare_for(fingerprint(3, channels=(name, "T1")))
    ct, other = plan.normalization
    assert (ct.scheme, ct.low, ct.high, ct.mean, ct.std) == ("ct", -100.0, 240.0, 40.0, 20.0)
    assert other.scheme == "zscore"
    assert "-100 to 240" in reasons["preparation.normalization"]


@pytest.mark.parametrize(
    ("name", "scheme"), [("noNorm", "none"), ("rgb_to_0_1", "zero_one"), ("x", "zscore")]
)
def test_names_that_nnunet_knows(fingerprint, name, scheme):
    plan, _ = prepare_for(fingerprint(channels=(name,)))
    assert plan.normalization[0].scheme == scheme


@pytest.mark.parametrize(("rank", "share", "scheme"), [
    (3, 0.74, "masked_zscore"), (3, 0.75, "zscore"), (2, 0.3, "zscore"),
])  # fmt: skip
def test_the_mask_is_for_volumes_that_are_mostly_empty(fingerprint, rank, share, scheme):
    plan, _ = prepare_for(fingerprint(rank, nonzero_share=share))
    assert plan.normalization[0].scheme == scheme


def test_volumes_are_brought_to_one_spacing(fingerprint):
    plan, reasons = prepare_for(fingerprint(3))
    assert plan.spacing_mm == (1.0, 1.0, 1.0)
    assert "already" in reasons["preparation.spacing_mm"]
    spacings = ((5.0, 1.0, 1.0), (7.0, 1.0, 1.0), (9.0, 1.0, 1.0), (9.0, 1.0, 1.0), (9.0, 1.0, 1.0))
    thick = fingerprint(3, cases=5, spacings_mm=spacings, shape=(20, 200, 200))
    plan, reasons = prepare_for(thick)
    assert plan.spacing_mm == pytest.approx((5.8, 1.0, 1.0))
    assert plan.separate_axis == 0
    assert "10th percentile" in reasons["preparation.spacing_mm"]
    terms = terms_of(thick, plan)
    assert terms.median == (31.0, 200.0, 200.0)
    assert terms.spacing_mm == plan.spacing_mm


def test_without_a_stated_spacing_nothing_is_resampled(fingerprint):
    plan, reasons = prepare_for(fingerprint(3, calibrated=False))
    assert plan.spacing_mm == ()
    assert plan.separate_axis is None
    assert reasons["preparation.spacing_mm"] == "Not every file states its spacing, so nothing is resampled."
    assert terms_of(fingerprint(3, calibrated=False), plan).spacing_mm == (1.0, 1.0, 1.0)


def test_pictures_are_measured_whole_and_volumes_cropped(fingerprint):
    cropped = ((10, 20),) * 40
    assert terms_of(fingerprint(shapes=cropped), prepare_for(fingerprint())[0]).median == (200.0, 300.0)
    cropped = ((10, 20, 30),) * 40
    volume = fingerprint(3, shapes=cropped)
    assert terms_of(volume, prepare_for(volume)[0]).median == (10.0, 20.0, 30.0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_nothing_is_resampled_across_slices_and_each_is_an_image(fingerprint, axis):
    spacings = ((5.0, 2.0, 1.0), (7.0, 2.0, 1.0), (9.0, 2.0, 1.0))
    thick = fingerprint(3, cases=3, spacings_mm=spacings, shape=(20, 200, 300), channels=("CT", "PET"))
    slices = Slices(axis, 1)
    plan, reasons = prepare_for(thick, slices)
    whole = prepare_for(thick)[0]
    assert plan.spacing_mm == tuple(0.0 if a == axis else mm for a, mm in enumerate(whole.spacing_mm))
    assert plan.separate_axis == (None if axis == 0 else 0)
    assert f"Axis {axis} keeps the slices as they were taken" in reasons["preparation.spacing_mm"]
    terms, volume = terms_of(thick, plan, slices), terms_of(thick, whole)
    assert terms.spacing_mm == slices.in_plane(volume.spacing_mm)
    assert terms.median == slices.in_plane(volume.median)
    assert terms.cases == 3 * thick.shapes[0][axis]
    assert (terms.rank, terms.channels, volume.channels) == (2, 6, 2)


def test_slices_without_a_stated_spacing(fingerprint):
    volume = fingerprint(3, calibrated=False)
    plan, _ = prepare_for(volume, Slices(0))
    assert plan.spacing_mm == ()
    assert terms_of(volume, plan, Slices(0)).spacing_mm == (1.0, 1.0)
