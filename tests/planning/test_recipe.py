"""Normalisation, losses, augmentation, optimiser and inference, each on the data that asks for it."""

from __future__ import annotations

import pytest

from unetkit.planning.budget import Budget, Terms, choose
from unetkit.planning.cost import Cost
from unetkit.planning.recipe import augment_for, class_shares, infer, lose, optimise, prepare_for, terms_of
from unetkit.records.fingerprint import ChannelFingerprint, Fingerprint


def fingerprint(rank=2, **changes):
    names = changes.pop("channels", ("image",))
    channels = tuple(
        ChannelFingerprint(
            name=name, count=100, mean=40.0, std=20.0, median=41.0, low=-100.0, high=240.0,
            minimum=-1000.0, maximum=3000.0, integer=True,
        )
        for name in names
    )  # fmt: skip
    shape = changes.pop("shape", (200, 300) if rank == 2 else (40, 60, 50))
    cases = changes.pop("cases", 40)
    values = {
        "rank": rank,
        "cases": tuple(f"c{n:03}" for n in range(cases)),
        "groups": cases,
        "shapes": (shape,) * cases,
        "original_shapes": (shape,) * cases,
        "spacings_mm": ((1.0,) * rank,) * cases,
        "calibrated": rank == 3,
        "channels": channels,
        "classes": ("background", "a", "b"),
        "voxels": (800, 150, 50),
        "cases_with": (cases,) * 3,
        "unknown": 0,
        "smallest_object": (10.0, 10.0),
        "nonzero_share": 1.0,
        "dtype": "uint8",
    }
    return Fingerprint(**(values | changes))


def chosen(terms, minutes=30.0, cost=None):
    return choose(terms, Budget(60 * minutes, 16.0, 8.0, cost or Cost(gflops=275.0)))


def test_pictures_are_normalised_each_and_never_resampled():
    plan, reasons = prepare_for(fingerprint(channels=("red", "green", "blue")))
    assert [n.scheme for n in plan.normalization] == ["zscore"] * 3
    assert plan.spacing_mm == ()
    assert not plan.crop_to_nonzero
    assert reasons["preparation.spacing_mm"] == "Pictures are never resampled."
    assert reasons["preparation.normalization"].startswith("Every channel: z-score of each image")


@pytest.mark.parametrize("name", ["CT", "ct"])
def test_ct_is_clipped_to_the_data_set(name):
    plan, reasons = prepare_for(fingerprint(3, channels=(name, "T1")))
    ct, other = plan.normalization
    assert (ct.scheme, ct.low, ct.high, ct.mean, ct.std) == ("ct", -100.0, 240.0, 40.0, 20.0)
    assert other.scheme == "zscore"
    assert "-100 to 240" in reasons["preparation.normalization"]


@pytest.mark.parametrize(
    ("name", "scheme"), [("noNorm", "none"), ("rgb_to_0_1", "zero_one"), ("x", "zscore")]
)
def test_names_that_nnunet_knows(name, scheme):
    plan, _ = prepare_for(fingerprint(channels=(name,)))
    assert plan.normalization[0].scheme == scheme


@pytest.mark.parametrize(("rank", "share", "scheme"), [
    (3, 0.74, "masked_zscore"), (3, 0.75, "zscore"), (2, 0.3, "zscore"),
])  # fmt: skip
def test_the_mask_is_for_volumes_that_are_mostly_empty(rank, share, scheme):
    plan, _ = prepare_for(fingerprint(rank, nonzero_share=share))
    assert plan.normalization[0].scheme == scheme


def test_volumes_are_brought_to_one_spacing():
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


def test_without_a_stated_spacing_nothing_is_resampled():
    plan, reasons = prepare_for(fingerprint(3, calibrated=False))
    assert plan.spacing_mm == ()
    assert plan.separate_axis is None
    assert reasons["preparation.spacing_mm"] == "Not every file states its spacing, so nothing is resampled."
    assert terms_of(fingerprint(3, calibrated=False), plan).spacing_mm == (1.0, 1.0, 1.0)


def test_pictures_are_measured_whole_and_volumes_cropped():
    cropped = ((10, 20),) * 40
    assert terms_of(fingerprint(shapes=cropped), prepare_for(fingerprint())[0]).median == (200.0, 300.0)
    cropped = ((10, 20, 30),) * 40
    volume = fingerprint(3, shapes=cropped)
    assert terms_of(volume, prepare_for(volume)[0]).median == (10.0, 20.0, 30.0)


def test_shares_by_hand():
    assert class_shares(fingerprint()) == (0.15, 0.05)
    assert class_shares(fingerprint(voxels=(0, 0, 0))) == (0.0, 0.0)


@pytest.mark.parametrize(("voxels", "second"), [
    ((800, 150, 50), "cross_entropy"),  # plenty
    ((985, 8, 7), "focal"),  # under 2 % together
    ((900, 96, 4), "cross_entropy"),  # one rare class of several: its false positives must cost
    ((900, 95, 5), "cross_entropy"),
    ((900, 100, 0), "cross_entropy"),  # a class that never occurs is not rare, it is absent
])  # fmt: skip
def test_small_objects_get_focal_loss(voxels, second):
    plan, reasons = lose(fingerprint(voxels=voxels))
    assert [term.name for term in plan.losses] == ["dice", second]
    assert [term.weight for term in plan.losses] == ([0.7, 0.3] if second == "focal" else [1.0, 1.0])
    assert "%" in reasons["objective.losses"]


def test_dice_is_over_the_batch_for_pictures():
    assert lose(fingerprint())[0].losses[0].options == {"batch": 1.0}
    assert lose(fingerprint(3))[0].losses[0].options == {"batch": 0.0}


@pytest.mark.parametrize(("terms", "degrees"), [
    (Terms((1.0, 1.0), (256, 256), 100, 1, 2), (180.0,)),
    (Terms((1.0, 1.0), (100, 400), 100, 1, 2), (15.0,)),
    (Terms((1.0, 1.0, 1.0), (64, 64, 64), 100, 1, 2), (30.0, 30.0, 30.0)),
    (Terms((1.0, 1.0, 5.0), (128, 128, 20), 100, 1, 2), (0.0, 0.0, 180.0)),
    (Terms((5.0, 1.0, 1.0), (20, 60, 200), 100, 1, 2), (15.0, 0.0, 0.0)),
    (Terms((1.0, 1.0, 1.0), (12, 90, 90), 100, 1, 2), (180.0, 0.0, 0.0)),
])  # fmt: skip
def test_rotations(terms, degrees):
    assert augment_for(terms, chosen(terms, 600), minutes=600)[0].rotation_degrees == degrees


def test_tiny_sets_are_bent():
    for cases, elastic in ((49, 0.2), (50, 0.0)):
        terms = Terms((1.0, 1.0), (256, 256), cases, 1, 2)
        assert augment_for(terms, chosen(terms), minutes=30)[0].elastic == elastic


def test_a_short_budget_augments_less():
    volume = Terms((1.0, 1.0, 1.0), (36, 50, 35), 157, 1, 3)
    short, reasons = augment_for(volume, chosen(volume), minutes=30)
    assert short.flip_axes == ()
    assert short.blur == 0.1
    assert "passes over the data" in reasons["augmentation.blur"]
    long, _ = augment_for(volume, chosen(volume, 300), minutes=300)
    assert long.flip_axes == (0, 1, 2)
    assert long.blur == 0.2
    picture = Terms((1.0, 1.0), (256, 256), 157, 1, 3)
    assert augment_for(picture, chosen(picture), minutes=30)[0].flip_axes == (0, 1)


@pytest.mark.parametrize(("minutes", "cost", "optimizer", "rate"), [
    (10, Cost(gflops=275.0), "adamw", 3e-3),
    (600, Cost(gflops=50_000.0), "sgd", 1e-2),
])  # fmt: skip
def test_the_optimiser_follows_the_length(minutes, cost, optimizer, rate):
    terms = Terms((1.0, 1.0), (256, 256), 100, 1, 2)
    choice = chosen(terms, minutes, cost)
    plan, reasons = optimise(fingerprint(), terms, choice, minutes=minutes, memory_gb=0)
    assert (plan.optimizer, plan.learning_rate) == (optimizer, rate)
    assert str(choice.steps) in reasons["training.optimizer"]
    assert plan.steps == 0


def test_without_minutes_the_steps_are_stated_and_their_time_said():
    terms = Terms((1.0, 1.0, 1.0), (36, 50, 35), 157, 1, 3)
    choice = choose(terms, Budget(0, 16.0, 8.0, Cost(gflops=275.0)))
    plan, reasons = optimise(fingerprint(3), terms, choice, minutes=0, memory_gb=0)
    assert plan.steps == 20_000
    assert "about 14.0 hours on this device" in reasons["training.steps"]
    blind = choose(terms, Budget(0, 16.0, 8.0))
    assert "hours" not in optimise(fingerprint(3), terms, blind, minutes=0, memory_gb=0)[1]["training.steps"]


@pytest.mark.parametrize(
    ("voxels", "fraction"), [((90, 5, 5), 0.33), ((985, 8, 7), 0.5), ((9990, 5, 5), 0.67)]
)
def test_sparse_foreground_is_sampled_more(voxels, fraction):
    terms = Terms((1.0, 1.0), (256, 256), 100, 1, 2)
    plan, _ = optimise(fingerprint(voxels=voxels), terms, chosen(terms), minutes=30, memory_gb=0)
    assert plan.foreground_fraction == fraction


def test_inference():
    picture = Terms((1.0, 1.0), (500, 500), 100, 1, 2)
    plan, reasons = infer(picture, chosen(picture), flips=(0, 1), device="cpu")
    assert plan.tile_size == chosen(picture).candidate.shape.patch
    assert (plan.overlap_fraction, plan.batch_size, plan.mirror_axes) == (0.25, 1, (0, 1))
    assert plan.whole_image_pixels == 1_500_000
    volume = Terms((1.0, 1.0, 1.0), (36, 50, 35), 157, 1, 3)
    plan, reasons = infer(volume, chosen(volume), flips=(), device="cuda:0")
    assert (plan.overlap_fraction, plan.batch_size, plan.mirror_axes) == (0.5, 4, ())
    assert plan.whole_image_pixels == 2 * 32 * 48 * 32
    assert reasons["inference.mirror_axes"].startswith("None")


def test_thin_and_long_classes_are_named_and_change_no_loss():
    plain, _ = lose(fingerprint())
    for thick, long, named in ((3.0, 60.0, True), (3.0, 5.0, False), (20.0, 60.0, False), (0.0, 0.0, False)):
        plan, reasons = lose(fingerprint(thickness=(thick, 4.0), elongation=(long, 5.0)))
        assert plan == plain
        assert ("a (3 pixels thick, 60 times as long); cldice" in reasons["objective.losses"]) == named
        assert "b (" not in reasons["objective.losses"]


def test_mixing_is_off_and_says_so():
    terms = Terms((1.0, 1.0), (256, 256), 100, 1, 2)
    plan, reasons = augment_for(terms, chosen(terms), minutes=30)
    assert (plan.mixup, plan.cutmix, plan.copy_paste) == (0, 0, 0)
    assert reasons["augmentation.mixup"].startswith("Off")
