"""Mixing patches: areas, linearity, what is known, and randomness that follows from seed and step."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unetkit.data.augment import decode
from unetkit.data.mix import blend, box_share, draw_box, mix, mixes, paste, paste_boxes
from unetkit.losses.pixel import cross_entropy
from unetkit.records.plan import AugmentationPlan

SIZES = [(12, 10), (6, 8, 5)]


def patches(size, *, batch=4, classes=3, seed=0, unknown=0.2):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(batch, 2, *size, generator=generator)
    coded = torch.randint(1, classes + 1, (batch, *size), generator=generator)
    coded[torch.rand(coded.shape, generator=generator) < unknown] = 0
    return pixels, coded


def mixed(size, *, step=0, seed=0, batch=4, unknown=0.2, rarity=(0.0, 1.0, 1.0), **plan):
    pixels, coded = patches(size, batch=batch, unknown=unknown)
    return pixels, mix(pixels, coded, AugmentationPlan(**plan), rarity=rarity, seed=seed, step=step)


@settings(deadline=None, max_examples=200)
@given(
    size=st.lists(st.integers(4, 40), min_size=2, max_size=3),
    share=st.floats(0, 1),
    places=st.lists(st.floats(0, 1, exclude_max=True), min_size=3, max_size=3),
)
def test_a_box_has_the_share_that_was_drawn_and_lies_inside(size, share, places):
    box = draw_box(share, size, places[: len(size)])
    assert all(0 <= cut.start <= cut.stop <= length for cut, length in zip(box, size, strict=True))
    assert len(np.zeros(size)[box].ravel()) == round(box_share(box, size) * math.prod(size))
    # half a pixel of rounding on every edge is the most that can be wrong
    assert abs(box_share(box, size) - share) <= sum(0.5 / length for length in size) + 1e-9


@pytest.mark.parametrize("size", SIZES)
def test_boxes_reach_every_place(size):
    rng, seen = np.random.default_rng(0), np.zeros(size)
    for places in rng.random((400, len(size))):
        seen[draw_box(0.3, size, places)] += 1
    assert seen.min() > 0


@pytest.mark.parametrize("size", SIZES)
def test_a_pasted_box_carries_pixels_labels_and_what_is_known(size):
    (pixels, coded), (before, ids) = patches(size), patches(size)
    box = draw_box(0.4, size, (0.5,) * len(size))
    paste_boxes(pixels, coded, items=[0, 1], partners=[1, 2], boxes=[box, box])
    inside = torch.zeros(size, dtype=torch.bool)
    inside[box] = True
    for item, partner in ((0, 1), (1, 2)):  # 1 gives what it had before 2 was pasted over it
        assert torch.equal(pixels[item], torch.where(inside, before[partner], before[item]))
        assert torch.equal(coded[item], torch.where(inside, ids[partner], ids[item]))
    assert torch.equal(pixels[2:], before[2:])
    assert torch.equal(coded[2:], ids[2:])


@pytest.mark.parametrize("size", SIZES)
def test_what_is_reported_is_what_was_pasted(size):
    before, ids = patches(size, unknown=0)
    pixels, made = mixed(size, cutmix=1.0, unknown=0)
    pasted = (pixels != before).any(1).flatten(1).float().mean(1)
    torch.testing.assert_close(made.borrowed, pasted)
    assert pasted.min() > 0
    assert made.known is None
    assert made.target.shape == ids.shape


@pytest.mark.parametrize("size", SIZES)
def test_drawn_boxes_have_the_mean_and_spread_of_their_distribution(size):
    shares = torch.cat([mixed(size, cutmix=1.0, step=step)[1].borrowed for step in range(150)])
    assert shares.mean().item() == pytest.approx(0.5, abs=0.05)  # Beta(1, 1) is uniform: variance 1/12
    assert shares.var().item() == pytest.approx(1 / 12, abs=0.02)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_a_blend_is_linear_in_pixels_and_shares(size, unknown):
    (pixels, coded), (before, ids) = patches(size, unknown=unknown), patches(size, unknown=unknown)
    share = torch.tensor([0.25, 0.625])
    target, known = blend(pixels, coded, items=[0, 3], partners=[1, 0], share=share, classes=3)
    hot = torch.nn.functional.one_hot((ids - 1).clamp(min=0), 3).movedim(-1, 1).float()
    hot = hot * (ids > 0).unsqueeze(1)
    there = ids > 0
    for item, partner, part in ((0, 1, 0.25), (3, 0, 0.625)):
        torch.testing.assert_close(pixels[item], part * before[item] + (1 - part) * before[partner])
        both = there[item] & there[partner]
        assert torch.equal(target[item], (part * hot[item] + (1 - part) * hot[partner]) * both)
    assert torch.equal(pixels[1:3], before[1:3])
    assert torch.equal(target[1:3], hot[1:3])
    if not unknown:
        assert known is None
        assert (target.sum(1) == 1).all()
    else:
        assert torch.equal(known[0], (ids[0] > 0) & (ids[1] > 0))
        assert torch.equal(known[3], (ids[3] > 0) & (ids[0] > 0))
        assert torch.equal(known[1:3], ids[1:3] > 0)
        assert (target.sum(1) == known).all()


@settings(deadline=None, max_examples=30)
@given(step=st.integers(0, 10_000), alpha=st.floats(0.05, 5))
def test_shares_of_a_blend_sum_to_exactly_one(step, alpha):
    _, made = mixed((4, 5), mixup=0.7, mixup_alpha=alpha, step=step, unknown=0)
    if made.target.is_floating_point():
        assert (made.target.sum(1) == 1).all()
        assert made.known is None
        mine = made.target.amax(1).flatten(1).amin(1)
        torch.testing.assert_close(mine, torch.maximum(made.borrowed, 1 - made.borrowed))


@pytest.mark.parametrize("size", SIZES)
def test_the_loss_of_a_blend_is_the_blend_of_the_losses(size):
    """The equation of the paper, through the loss that training uses."""
    pixels, coded = patches(size, batch=2, unknown=0)
    logits = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    target, _ = blend(
        pixels, coded.clone(), items=[0, 1], partners=[1, 0], share=torch.tensor([0.3, 0.3]), classes=3
    )
    wanted = 0.3 * cross_entropy(logits, coded - 1) + 0.7 * cross_entropy(logits, (coded - 1).flip(0))
    torch.testing.assert_close(cross_entropy(logits, target), wanted)


@pytest.mark.parametrize("size", SIZES)
def test_pasting_takes_the_chosen_classes_of_a_partner_and_nothing_unknown(size):
    (pixels, coded), (before, ids) = patches(size), patches(size)
    taken = np.array([[False, True, False], [False, False, True]])
    shares = paste(pixels, coded, items=[0, 1], partners=[1, 2], taken=taken)
    for item, partner, k, share in ((0, 1, 1, shares[0]), (1, 2, 2, shares[1])):
        mask = ids[partner] == k + 1
        assert torch.equal(pixels[item], torch.where(mask, before[partner], before[item]))
        assert torch.equal(coded[item], torch.where(mask, ids[partner], ids[item]))
        assert share.item() == pytest.approx(mask.float().mean().item())
    assert torch.equal(coded[2:], ids[2:])


def test_rare_classes_are_pasted_more_often_than_common_ones_and_background_never():
    size, counts = (6, 6), torch.zeros(3)
    for step in range(200):
        before, ids = patches(size, unknown=0)
        pixels, _ = mixed(size, copy_paste=1.0, rarity=(0.0, 1.0, 0.25), step=step, unknown=0)
        for item in range(4):
            changed = (pixels[item] != before[item]).any(0)
            for k in range(3):
                # some pixel of the class came over from whichever partner was drawn
                counts[k] += any(
                    bool((changed & (ids[p] == k + 1) & (pixels[item] == before[p]).all(0)).any())
                    for p in range(4)
                    if p != item
                )
    assert counts.tolist()[0] == 0
    assert counts.tolist()[1] == 800
    assert counts.tolist()[2] / 800 == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("size", SIZES)
def test_a_batch_follows_from_seed_and_step_and_each_way_from_its_own_numbers(size):
    everything = {"mixup": 0.5, "cutmix": 0.5, "copy_paste": 0.5}
    (pixels, one), (again, two) = mixed(size, step=7, **everything), mixed(size, step=7, **everything)
    assert torch.equal(pixels, again)
    assert torch.equal(one.target, two.target)
    assert not torch.equal(pixels, mixed(size, step=8, **everything)[0])
    assert not torch.equal(pixels, mixed(size, step=7, seed=1, **everything)[0])
    alone, box = mixed(size, step=7, cutmix=0.5)
    changed = (alone != patches(size)[0]).any(1).flatten(1).any(1)
    beside, _ = mixed(size, step=7, cutmix=0.5, copy_paste=1e-12)
    assert torch.equal(alone, beside)
    assert torch.equal(changed, box.borrowed > 0)


def test_nothing_to_mix_is_decoding():
    assert not mixes(AugmentationPlan())
    assert mixes(AugmentationPlan(copy_paste=0.1))
    pixels, coded = patches((5, 6))
    before = pixels.clone()
    made = mix(pixels, coded, AugmentationPlan(), rarity=(0, 1, 1), seed=0, step=0)
    target, known = decode(coded)
    assert torch.equal(made.target, target)
    assert torch.equal(made.known, known)
    assert torch.equal(pixels, before)
    assert made.borrowed.tolist() == [0] * 4


def test_a_partner_is_never_oneself():
    for batch in (2, 3):
        for step in range(20):
            _, made = mixed((4, 4), cutmix=1.0, cutmix_alpha=50.0, batch=batch, step=step)
            assert (made.borrowed > 0).all()
            pixels, _ = mixed((4, 4), cutmix=1.0, cutmix_alpha=50.0, batch=batch, step=step)
            assert (pixels != patches((4, 4), batch=batch)[0]).flatten(1).any(1).all()
