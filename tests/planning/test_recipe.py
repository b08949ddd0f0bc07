"""Losses, augmentation, optimiser and inference, each on the data that asks for it."""

from __future__ import annotations

import pytest

from unetkit.planning.budget import Budget, Terms, choose
from unetkit.planning.cost import Cost
from unetkit.planning.recipe import augment_for, class_shares, infer, lose, optimise


def chosen(terms, minutes=30.0, cost=None):
    return choose(terms, Budget(60 * minutes, 16.0, 8.0, cost or Cost(gflops=275.0)))


def test_shares_by_hand(fingerprint):
    assert class_shares(fingerprint()) == (0.15, 0.05)
    assert class_shares(fingerprint(voxels=(0, 0, 0))) == (0.0, 0.0)


@pytest.mark.parametrize(("voxels", "second"), [
    ((800, 150, 50), "cross_entropy"),  # plenty
    ((985, 8, 7), "focal"),  # under 2 % together
    ((900, 96, 4), "cross_entropy"),  # one rare class of several: its false positives must cost
    ((900, 95, 5), "cross_entropy"),
    ((900, 100, 0), "cross_entropy"),  # a class that never occurs is not rare, it is absent
])  # fmt: skip
def test_small_objects_get_focal_loss(fingerprint, voxels, second):
    plan, reasons = lose(fingerprint(voxels=voxels))
    assert [term.name for term in plan.losses] == ["dice", second]
    assert [term.weight for term in plan.losses] == ([0.7, 0.3] if second == "focal" else [1.0, 1.0])
    assert "%" in reasons["objective.losses"]


def test_dice_is_over_the_batch_for_pictures(fingerprint):
    assert lose(fingerprint())[0].losses[0].options == {"batch": 1.0}
    assert lose(fingerprint(3))[0].losses[0].options == {"batch": 0.0}
    assert lose(fingerprint(3), sliced=True)[0].losses[0].options == {"batch": 1.0}


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
def test_the_optimiser_follows_the_length(fingerprint, minutes, cost, optimizer, rate):
    terms = Terms((1.0, 1.0), (256, 256), 100, 1, 2)
    choice = chosen(terms, minutes, cost)
    plan, reasons = optimise(fingerprint(), terms, choice, minutes=minutes, memory_gb=0)
    assert (plan.optimizer, plan.learning_rate) == (optimizer, rate)
    assert str(choice.steps) in reasons["training.optimizer"]
    assert plan.steps == 0


def test_without_minutes_the_steps_are_stated_and_their_time_said(fingerprint):
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
def test_sparse_foreground_is_sampled_more(fingerprint, voxels, fraction):
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


def test_thin_and_long_classes_are_named_and_change_no_loss(fingerprint):
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
