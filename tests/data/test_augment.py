"""Augmentation: exact identities, statistics that must stay, and nothing for those who draw nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from unetkit.data.augment import Moves, change_intensities, decode, draw_moves, mirror, move
from unetkit.records.plan import AugmentationPlan

PARTS = (
    "rotation",
    "scaling",
    "elastic",
    "noise",
    "blur",
    "brightness",
    "contrast",
    "low_resolution",
    "gamma",
)


def only(**parts):
    """A plan in which nothing happens but ``parts``."""
    return AugmentationPlan(**{**dict.fromkeys(PARTS, 0.0), **parts})


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def batch_of(shape, batch=4, channels=1, seed=0):
    pixels = torch.randn((batch, channels, *shape), generator=seeded(seed))
    return pixels, torch.randint(0, 3, (batch, *shape), generator=seeded(seed + 1))


def augment(pixels, target, known, plan, *, patch_size, generator):
    """What ``Batches`` does with a batch, on one that is there already; its middle is cut out."""
    starts = [(have - want) // 2 for have, want in zip(pixels.shape[2:], patch_size, strict=True)]
    coded = target.long() + 1
    if known is not None:
        coded = coded * known
    moves = draw_moves(plan, batch=len(pixels), patch_size=patch_size, generator=generator)
    middle = [slice(start, start + size) for start, size in zip(starts, patch_size, strict=True)]
    patch, ids = pixels[(..., *middle)].clone(), coded[(..., *middle)].clone()
    if moves.moving:
        index = torch.tensor(moves.moving)
        centres = np.tile(np.asarray(starts) + (np.asarray(patch_size) - 1) / 2, (len(index), 1))
        move(patch, ids, moves, sources=(pixels[index], coded[index]), centres=centres)
    mirror(patch, ids, moves)
    change_intensities(patch, plan, generator=generator)
    return patch, *decode(ids)


def coded_moves(matrix, rank):
    return Moves((0,), np.asarray(matrix, float)[None], None, np.zeros((1, rank), bool))


@pytest.mark.parametrize("shape", [(12, 14), (6, 8, 10)])
def test_without_a_part_the_middle_is_cut_and_nothing_else(shape):
    pixels, target = batch_of(shape)
    patch = tuple(n - 4 for n in shape)
    inner = (..., *(slice(2, -2) for _ in shape))
    x, y, known = augment(pixels, target, None, only(), patch_size=patch, generator=seeded())
    assert torch.equal(x, pixels[inner])
    assert torch.equal(y, target[inner])
    assert known is None


@pytest.mark.parametrize("shape", [(8, 8), (3, 8, 8)])
def test_a_quarter_turn_equals_numpys(shape):
    rank = len(shape)
    pixels, target = batch_of(shape, batch=1)
    matrix = np.eye(rank)
    matrix[-2:, -2:] = [[0, -1], [1, 0]]
    x, coded = torch.zeros_like(pixels), torch.zeros_like(target)
    centres = (np.asarray(shape)[None] - 1) / 2
    move(x, coded, coded_moves(matrix, rank), sources=(pixels, target + 1), centres=centres)
    turned = np.rot90(pixels.numpy(), 1, axes=(-1, -2))
    np.testing.assert_allclose(x.numpy(), turned, atol=1e-4)
    assert np.array_equal(coded.numpy() - 1, np.rot90(target.numpy(), 1, axes=(-1, -2)))


@pytest.mark.parametrize("rank", [2, 3])
def test_drawn_quarter_turns_are_quarter_turns(rank, monkeypatch):
    plan = only(rotation=1.0, rotation_degrees=(90.0,) if rank == 2 else (90.0, 0.0, 0.0))
    ends = torch.full((1, 12), 1.0, dtype=torch.float64)
    monkeypatch.setattr(
        torch, "rand", lambda *_, **__: torch.cat([torch.zeros(1, 3), ends[:, 3:]], 1).double()
    )
    matrix = draw_moves(plan, batch=1, patch_size=(8,) * rank, generator=seeded()).matrices[0]
    np.testing.assert_allclose(matrix[-2:, -2:], [[0, -1], [1, 0]], atol=1e-12)
    if rank == 3:
        np.testing.assert_allclose(matrix[0], [1, 0, 0], atol=1e-12)


@pytest.mark.parametrize("shape", [(9, 10), (5, 6, 7)])
def test_flips_are_exact_for_image_and_label(shape):
    rank = len(shape)
    pixels, target = batch_of(shape, batch=16)
    plan = only(flip_axes=tuple(range(rank)))
    flips = draw_moves(plan, batch=16, patch_size=shape, generator=seeded(3)).flips
    x, y, known = augment(pixels, target, None, plan, patch_size=shape, generator=seeded(3))
    assert known is None
    assert 0 < flips.sum() < flips.size
    for item, flip in enumerate(flips):
        axes = [axis for axis in range(rank) if flip[axis]]
        assert torch.equal(x[item], pixels[item].flip([axis + 1 for axis in axes]))
        assert torch.equal(y[item], target[item].flip(axes))


def test_flips_of_resampled_items_agree_with_plain_ones():
    pixels, target = batch_of((8, 8), batch=1)
    flips = np.array([[True, False]])
    mirrored, ids = pixels.clone(), target + 1
    mirror(mirrored, ids, Moves((), np.zeros((0, 2, 2)), None, flips))
    x, coded = torch.zeros_like(pixels), torch.zeros_like(target)
    moves = Moves((0,), np.diag([-1.0, 1.0])[None], None, flips)
    move(x, coded, moves, sources=(pixels, target + 1), centres=np.array([[3.5, 3.5]]))
    torch.testing.assert_close(x, mirrored, atol=1e-5, rtol=0)
    assert torch.equal(coded, ids)


@pytest.mark.parametrize("shape", [(40, 40), (24, 24, 24)])
def test_image_and_label_move_together(shape):
    steps = torch.stack(torch.meshgrid(*[torch.arange(n) for n in shape], indexing="ij")).sum(0)
    target = (steps // 8)[None].repeat(6, *(1,) * len(shape))
    plan = only(
        rotation=1.0,
        rotation_degrees=(40.0,) * (1 if len(shape) == 2 else 3),
        scaling=1.0,
        elastic=1.0,
        flip_axes=tuple(range(len(shape))),
    )
    patch = tuple(n // 2 for n in shape)
    x, y, known = augment(target[:, None].float(), target, None, plan, patch_size=patch, generator=seeded(5))
    seen = torch.ones_like(y, dtype=torch.bool) if known is None else known
    assert seen.float().mean() > 0.5
    assert ((x[:, 0] - y).abs()[seen] <= 1.0 + 1e-3).all()
    assert ((x[:, 0] - y).abs()[seen] < 1e-3).float().mean() > 0.6
    assert (y[~seen] == 0).all()


def test_what_lies_outside_or_is_unknown_becomes_unknown():
    pixels, target = batch_of((10, 10), batch=1)
    known = torch.ones_like(target, dtype=torch.bool)
    known[0, 5, 5] = False
    matrix = np.eye(2) / 0.5
    source = (target + 1) * known
    x, coded = torch.zeros(1, 1, 10, 10), torch.zeros_like(target)
    move(x, coded, coded_moves(matrix, 2), sources=(pixels, source), centres=np.array([[4.3, 4.3]]))
    _, seen = decode(coded)
    assert seen is not None
    rows = torch.arange(10)
    back = (rows - 4.5) * 2 + 4.3
    inside = (back > -0.5) & (back < 9.5)
    expected = inside[:, None] & inside[None]
    nearest = back.round().long().clamp(0, 9)
    expected &= source[0][nearest][:, nearest] > 0
    assert torch.equal(seen[0], expected)


def test_known_passes_through_a_plain_cut():
    pixels, target = batch_of((6, 6))
    known = torch.rand((4, 6, 6), generator=seeded(9)) < 0.5
    _, y, seen = augment(pixels, target, known, only(), patch_size=(6, 6), generator=seeded())
    assert seen is not None
    assert torch.equal(seen, known)
    assert torch.equal(y[seen], target[known])


@pytest.mark.parametrize("rank", [2, 3])
def test_items_without_a_transform_are_untouched(rank):
    shape = (16,) * rank
    pixels, target = batch_of(shape, batch=40)
    plan = only(rotation=0.3, rotation_degrees=(30.0,) * 3)
    moves = draw_moves(plan, batch=40, patch_size=shape, generator=seeded(2))
    x, *_ = augment(pixels, target, None, plan, patch_size=shape, generator=seeded(2))
    still = [item for item in range(40) if item not in moves.moving]
    assert 15 < len(still) < 40
    assert torch.equal(x[still], pixels[still])
    assert all(not torch.equal(x[item], pixels[item]) for item in moves.moving)


def test_probabilities_and_ranges_of_the_spatial_draws():
    plan = only(rotation=0.2, rotation_degrees=(30.0,), scaling=0.3, scaling_range=(0.5, 2.0), flip_axes=(1,))
    moves = draw_moves(plan, batch=4000, patch_size=(8, 8), generator=seeded(1))
    assert len(moves.moving) / 4000 == pytest.approx(1 - 0.8 * 0.7, abs=0.03)
    assert moves.flips[:, 0].sum() == 0
    assert moves.flips[:, 1].mean() == pytest.approx(0.5, abs=0.03)
    zooms = 1 / np.sqrt(np.abs(np.linalg.det(moves.matrices)))
    assert zooms.min() >= 0.5 - 1e-9
    assert zooms.max() <= 2.0 + 1e-9
    assert np.log(zooms).mean() == pytest.approx(0.0, abs=0.03)
    turns = np.degrees(np.arctan2(moves.matrices[:, 1, 0], moves.matrices[:, 0, 0]))
    assert np.abs(turns).max() <= 30.0 + 1e-6


def test_an_angle_of_zero_means_no_rotation_about_that_axis():
    plan = only(rotation=1.0, rotation_degrees=(30.0, 0.0, 0.0))
    moves = draw_moves(plan, batch=5, patch_size=(4, 8, 8), generator=seeded())
    np.testing.assert_allclose(moves.matrices[:, 0], [[1.0, 0, 0]] * 5, atol=1e-12)
    still = only(rotation=1.0, rotation_degrees=(0.0,))
    assert draw_moves(still, batch=5, patch_size=(8, 8), generator=seeded()).moving == ()


def test_a_flat_volume_is_augmented_as_the_picture_it_is():
    pixels, target = batch_of((24, 24), batch=6, channels=2)
    plan = only(
        rotation=0.7, rotation_degrees=(25.0, 0.0, 0.0), scaling=0.5, brightness=0.5, contrast=0.5, gamma=0.5
    )
    deep = plan.model_copy(update={"flip_axes": (1, 2)})
    flat = plan.model_copy(update={"flip_axes": (0, 1)})
    x, y, known = augment(pixels, target, None, flat, patch_size=(12, 12), generator=seeded(4))
    thick = augment(
        pixels[:, :, None], target[:, None], None, deep, patch_size=(1, 12, 12), generator=seeded(4)
    )
    # A zoomed-out pixel at the very edge may fall either way; the middle may not.
    torch.testing.assert_close(x[..., 2:-2, 2:-2], thick[0][:, :, 0, 2:-2, 2:-2], atol=1e-4, rtol=0)
    assert (y == thick[1][:, 0]).float().mean() > 0.995
    assert known is None or thick[2] is not None


def test_reach_covers_every_position_that_is_read():
    from unetkit.spatial.warp import positions, smooth_field

    plan = only(rotation=1.0, rotation_degrees=(50.0,) * 3, scaling=1.0, elastic=1.0, elastic_share=0.2)
    for shape in ((9, 14), (7, 8, 12)):
        moves = draw_moves(plan, batch=8, patch_size=shape, generator=seeded(6))
        assert moves.elastic is not None
        where = positions(
            torch.from_numpy(moves.matrices),
            torch.zeros((8, len(shape)), dtype=torch.float64),
            shape,
            smooth_field(moves.elastic, shape),
        )
        assert (where.abs().flatten(2).amax(2).numpy() <= moves.reach(shape) + 1e-9).all()


def intensities(plan, pixels, seed=0):
    x = pixels.clone()
    change_intensities(x, plan, generator=seeded(seed))
    return x


def test_noise_has_the_drawn_variance():
    pixels = torch.zeros(400, 1, 16, 16)
    x = intensities(only(noise=1.0, noise_variance=0.4), pixels)
    variances = x.var((1, 2, 3))
    assert float(x.mean()) == pytest.approx(0.0, abs=0.01)
    assert float(variances.mean()) == pytest.approx(0.2, rel=0.08)
    assert float(variances.max()) < 0.4 * 1.3
    assert float(torch.quantile(variances, 0.25)) == pytest.approx(0.1, rel=0.25)


@pytest.mark.parametrize("shape", [(20, 20), (9, 10, 11)])
def test_gamma_keeps_mean_and_deviation_per_channel(shape):
    pixels, _ = batch_of(shape, channels=3)
    pixels = pixels * torch.tensor([1.0, 4.0, 0.1]).reshape(3, *(1,) * len(shape)) + 2
    x = intensities(only(gamma=1.0), pixels)
    axes = tuple(range(2, x.dim()))
    torch.testing.assert_close(x.mean(axes), pixels.mean(axes), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(x.std(axes), pixels.std(axes), atol=1e-3, rtol=1e-3)
    order = pixels[0, 0].flatten().argsort()
    assert (x[0, 0].flatten()[order].diff() >= -1e-5).all()


def test_gamma_equals_the_formula_by_hand_and_inverted_is_its_mirror():
    pixels = torch.rand((1, 1, 8, 8), generator=seeded(8))
    plan = only(gamma=1.0, gamma_range=(2.0, 2.0), gamma_inverted=0.0)
    share = (pixels - pixels.min()) / (pixels.max() - pixels.min())
    curve = share**2
    want = (curve - curve.mean()) / curve.std(correction=0) * pixels.std(correction=0) + pixels.mean()
    torch.testing.assert_close(intensities(plan, pixels), want, atol=1e-4, rtol=1e-4)
    inverted = plan.model_copy(update={"gamma_inverted": 1.0})
    torch.testing.assert_close(
        intensities(inverted, pixels), -intensities(plan, -pixels), atol=1e-5, rtol=1e-4
    )
    flat = torch.full((1, 1, 4, 4), 3.0)
    torch.testing.assert_close(intensities(plan, flat), flat)


def test_contrast_keeps_the_range_and_stretches_about_the_mean():
    pixels, _ = batch_of((20, 20), batch=30, channels=2)
    x = intensities(only(contrast=1.0, contrast_range=(1.5, 1.5)), pixels)
    low, high = pixels.amin((2, 3), keepdim=True), pixels.amax((2, 3), keepdim=True)
    mean = pixels.mean((2, 3), keepdim=True)
    torch.testing.assert_close(x, ((pixels - mean) * 1.5 + mean).clamp(low, high))


def test_brightness_multiplies_each_channel_within_its_range():
    pixels, _ = batch_of((6, 6), batch=50, channels=2)
    factors = (intensities(only(brightness=1.0), pixels) / pixels).flatten(2)
    torch.testing.assert_close(factors.amin(2), factors.amax(2), atol=1e-4, rtol=1e-4)
    assert 0.75 - 1e-4 <= float(factors.min()) < 0.8
    assert 1.2 < float(factors.max()) <= 1.25 + 1e-4
    assert not torch.allclose(factors[:, 0], factors[:, 1])


def test_slices_of_a_channel_change_alike():
    pixels, _ = batch_of((6, 6), batch=20, channels=6)
    changed = pixels.clone()
    change_intensities(changed, only(brightness=1.0), generator=seeded(0), alike=3)
    factors = (changed / pixels).flatten(2).mean(2)
    for first in (0, 3):
        torch.testing.assert_close(factors[:, first], factors[:, first + 1], atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(factors[:, first], factors[:, first + 2], atol=1e-3, rtol=1e-3)
    assert not torch.allclose(factors[:, 0], factors[:, 3], atol=1e-2)


@pytest.mark.parametrize("part", ["blur", "low_resolution"])
@pytest.mark.parametrize("shape", [(16, 16), (8, 8, 8)])
def test_blur_and_low_resolution_smooth_and_keep_constants(part, shape):
    pixels, _ = batch_of(shape, batch=8)
    x = intensities(only(**{part: 1.0}), pixels)
    axes = tuple(range(1, x.dim()))
    assert (x.var(axes) <= pixels.var(axes) + 1e-6).all()
    assert float(x.var()) < float(pixels.var())
    flat = torch.full((2, 1, *shape), -1.5)
    torch.testing.assert_close(intensities(only(**{part: 1.0}), flat), flat)


@pytest.mark.parametrize("part", PARTS[3:])
def test_every_intensity_part_leaves_the_others_items_alone(part):
    pixels, _ = batch_of((10, 10), batch=200)
    x = intensities(only(**{part: 0.3}), pixels, seed=7)
    changed = (x != pixels).flatten(1).any(1).float().mean()
    assert float(changed) == pytest.approx(0.3, abs=0.12)


def test_the_same_generator_state_gives_the_same_batch():
    pixels, target = batch_of((20, 20), batch=8)
    plan = AugmentationPlan(elastic=0.5, flip_axes=(0, 1))
    runs = [augment(pixels, target, None, plan, patch_size=(12, 12), generator=seeded(s)) for s in (1, 1, 2)]
    assert torch.equal(runs[0][0], runs[1][0])
    assert torch.equal(runs[0][1], runs[1][1])
    assert not torch.equal(runs[0][0], runs[2][0])
    assert math.isfinite(float(runs[0][0].sum()))
