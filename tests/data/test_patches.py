"""Batches: a function of seed and step, balanced over classes, honest about what is not known."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

import unetkit.data.patches as room
from unetkit.data.foreground import foreground
from unetkit.data.patches import Batches
from unetkit.errors import DataError, UsageError
from unetkit.records.case import Grid, Intensity, Sample
from unetkit.records.plan import AugmentationPlan, TrainingPlan
from unetkit.spatial.slices import Slices

PLAIN = AugmentationPlan(
    rotation=0, scaling=0, noise=0, blur=0, brightness=0, contrast=0, low_resolution=0, gamma=0
)
EVERYTHING = AugmentationPlan(
    rotation=0.5, rotation_degrees=(30.0,), elastic=0.3, flip_axes=(0, 1), noise=0.5, gamma=0.5, blur=0.5
)
AS_IS = (Intensity(-np.inf, np.inf, 0.0, 1.0),)


def sample(id, shape, *, classes=(1,), seed=0, known=None, pixels=None):
    rng = np.random.default_rng(seed)
    label = np.zeros(shape, np.uint8)
    for value in classes:
        label.flat[rng.choice(label.size, 6, replace=False)] = value
    raw = rng.integers(0, 255, (1, *shape)).astype(np.uint8) if pixels is None else pixels
    return Sample(id, raw, Grid.plain(len(shape)), label, known, None, foreground(label, known), AS_IS)


def numbered(id, shape):
    """Every pixel holds its own flat index; so a patch says where it was cut."""
    pixels = np.arange(np.prod(shape), dtype=np.float32).reshape(1, *shape)
    return replace(sample(id, shape), pixels=pixels)


def batches(samples, augmentation=PLAIN, *, patch=(16, 16), classes=2, ahead=2, **training):
    plan = TrainingPlan(**{"patch_size": patch, "batch_size": 4, **training})
    return Batches(samples, plan, augmentation, classes=classes, device=torch.device("cpu"), ahead=ahead)


def equal(one, other):
    known = one.known is other.known or torch.equal(one.known, other.known)
    return (
        torch.equal(one.pixels, other.pixels)
        and torch.equal(one.target, other.target)
        and known
        and one.cases == other.cases
    )


SETS = {
    2: ([sample("a", (40, 50)), sample("b", (20, 12), seed=1)], (16, 24)),
    3: ([sample("a", (20, 24, 16)), sample("b", (8, 30, 12), seed=1)], (10, 12, 14)),
}


@pytest.mark.parametrize("rank", [2, 3])
def test_a_batch_depends_on_seed_and_step_alone(rank):
    samples, patch = SETS[rank]
    first = batches(samples, EVERYTHING, patch=patch)
    forward = [first.at(step) for step in range(4)]
    again = batches(samples, EVERYTHING, patch=patch)
    for step in (3, 1, 0, 2, 1):
        assert equal(again.at(step), forward[step])
    assert not equal(forward[0], forward[1])
    assert not equal(batches(samples, EVERYTHING, patch=patch, seed=1).at(0), forward[0])


@pytest.mark.parametrize("rank", [2, 3])
def test_a_batch_has_the_promised_types_and_shapes(rank):
    samples, patch = SETS[rank]
    batch = batches(samples, EVERYTHING, patch=patch).at(0)
    assert batch.pixels.shape == (4, 1, *patch)
    assert batch.pixels.dtype == torch.float32
    assert batch.target.shape == (4, *patch)
    assert batch.target.dtype == torch.int64
    assert batch.known is not None
    assert batch.known.dtype == torch.bool
    assert (batch.target[~batch.known] == 0).all()
    assert set(batch.cases) <= {"a", "b"}


def test_the_stream_equals_the_batches_and_starts_anywhere():
    samples, patch = SETS[2]
    made = batches(samples, EVERYTHING, patch=patch)
    got = list(made.stream(3, 9))
    assert len(got) == 6
    assert all(equal(batch, made.at(step)) for step, batch in enumerate(got, start=3))
    assert list(made.stream(5, 5)) == []
    endless = made.stream(2)
    assert equal(next(endless), made.at(2))
    assert equal(next(endless), made.at(3))
    endless.close()  # pyright: ignore[reportAttributeAccessIssue]


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_on_the_cpu_no_thread_competes_with_the_network():
    samples, patch = SETS[2]
    stream = batches(samples, patch=patch, ahead=None).stream(0, 3)
    first = next(stream)
    assert threads() == []
    assert equal(first, batches(samples, patch=patch).at(0))
    assert len(list(stream)) == 2


def test_closing_the_stream_ends_its_one_thread():
    samples, patch = SETS[2]
    stream = batches(samples, patch=patch).stream(0)
    next(stream)
    assert len(threads()) == 1
    stream.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert threads() == []


def test_the_stream_makes_two_batches_ahead_and_no_more():
    samples, patch = SETS[2]
    made, asked, second = batches(samples, patch=patch), [], threading.Event()
    real = made.at

    def at(step):
        asked.append(step)
        if step == 2:
            second.set()
        return real(step)

    made.at = at  # pyright: ignore[reportAttributeAccessIssue]
    stream = made.stream(0)
    next(stream)
    assert second.wait(10)
    assert threads()
    stream.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert asked == [0, 1, 2]


@pytest.mark.parametrize("where", ["at", "stream"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_patch_that_is_not_finite_names_its_case(where, value):
    pixels = np.zeros((1, 16, 16), np.float32)
    pixels[0, 3, 3] = value
    made = batches([sample("scan 9", (16, 16), pixels=pixels)])
    with pytest.raises(DataError, match="a patch holds NaN or infinite values") as wrong:
        made.at(0) if where == "at" else next(made.stream(0))
    assert wrong.value.where == "scan 9"
    assert threads() == []


def test_a_file_that_fails_in_the_thread_names_its_case():
    broken = replace(sample("scan 3", (16, 16)), label=np.zeros((4, 4), np.uint8))
    with pytest.raises(DataError, match="a patch cannot be cut from this prepared case") as wrong:
        list(batches([broken]).stream(0, 3))
    assert wrong.value.where == "scan 3"
    assert "delete the cache folder" in str(wrong.value)


@pytest.mark.parametrize(("shape", "patch"), [((30, 40), (8, 12)), ((12, 20, 16), (4, 8, 8))])
def test_without_augmentation_a_patch_is_a_window_of_its_case(shape, patch):
    origin = numbered("a", shape)
    batch = batches([origin], patch=patch, batch_size=12, foreground_fraction=0.5).at(0)
    assert batch.known is None
    for pixels, target in zip(batch.pixels, batch.target, strict=True):
        corner = np.unravel_index(int(pixels.flatten()[0]), shape)
        window = tuple(slice(int(c), int(c) + n) for c, n in zip(corner, patch, strict=True))
        assert np.array_equal(pixels[0].numpy(), origin.pixels[(0, *window)])
        assert np.array_equal(target.numpy(), origin.label[window])


def test_only_the_patch_is_normalised_and_as_the_whole_would_be():
    masked = Intensity(10.0, 200.0, 90.0, 0.02, masked=True)
    origin = replace(sample("a", (16, 16)), intensity=(masked,))
    batch = batches([origin], batch_size=1).at(0)
    raw = origin.pixels.astype(np.float64)
    want = np.where(raw == 0, 0, (np.clip(raw, 10, 200) - 90) * 0.02)
    np.testing.assert_allclose(batch.pixels[0].numpy(), want, atol=1e-5)


def test_pictures_go_on_mirrored_and_that_is_not_known():
    origin = numbered("a", (6, 1))
    origin.label[:] = 1
    batch = batches([origin], patch=(10, 3), batch_size=8).at(0)
    assert batch.known is not None
    for pixels, known, target in zip(batch.pixels, batch.known, batch.target, strict=True):
        top = int(known.any(1).nonzero()[0])
        line = np.pad(np.arange(6), (top, 4 - top), mode="reflect")
        assert np.array_equal(pixels[0].numpy(), np.tile(line[:, None], 3))
        assert known.sum() == 6
        assert torch.equal(target, known.long())


def test_volumes_go_on_with_zeros_and_that_is_not_known():
    origin = sample("a", (6, 20, 20), pixels=np.full((1, 6, 20, 20), 7, np.uint8))
    batch = batches([origin], patch=(10, 8, 8)).at(0)
    assert batch.known is not None
    assert torch.equal(batch.pixels[:, 0] == 7, batch.known)
    assert torch.equal(batch.pixels[:, 0] == 0, ~batch.known)
    assert (batch.known.sum((1, 2, 3)) == 6 * 64).all()


@pytest.mark.parametrize("shape", [(6, 7), (4, 5, 6)])
def test_a_small_image_always_lies_whole_in_the_patch_but_not_always_in_the_same_place(shape):
    made = batches([sample("a", shape)], patch=(12,) * len(shape), batch_size=10, foreground_fraction=0.0)
    known = made.at(0).known
    assert known is not None
    assert (known.flatten(1).sum(1) == np.prod(shape)).all()
    assert len({tuple(item.flatten().tolist()) for item in known}) > 3


@pytest.mark.parametrize("rank", [2, 3])
def test_the_ignore_label_stays_unknown_and_the_rest_known(rank):
    shape = (20,) * rank
    known = np.random.default_rng(5).random(shape) < 0.5
    origin = replace(numbered("a", shape), known=known)
    batch = batches([origin], patch=(8,) * rank).at(0)
    assert batch.known is not None
    for pixels, seen in zip(batch.pixels, batch.known, strict=True):
        assert np.array_equal(known.flat[pixels[0].numpy().astype(int)], seen.numpy())


def test_with_few_known_pixels_patches_are_centred_on_known_ones():
    known = np.zeros((200, 200), bool)
    known[100:150, 20:90] = True
    origin = replace(sample("a", (200, 200)), known=known, foreground={})
    batch = batches([origin], patch=(9, 9), batch_size=30).at(0)
    assert batch.known is not None
    assert batch.known[:, 4, 4].float().mean() > 0.6


def test_an_unlabelled_sample_is_wholly_unknown():
    origin = replace(sample("a", (16, 16)), label=None, foreground={})
    batch = batches([origin]).at(0)
    assert batch.known is not None
    assert not batch.known.any()


@pytest.mark.parametrize(
    ("size", "fraction", "centred"), [(2, 0.33, 1), (9, 0.33, 3), (4, 1.0, 4), (4, 0.0, 0)]
)
def test_the_last_of_a_batch_are_centred_on_foreground(size, fraction, centred):
    origin = numbered("a", (64, 64))
    made = batches([origin], patch=(9, 9), batch_size=size, foreground_fraction=fraction)
    places = {tuple(np.unravel_index(int(p), (64, 64))) for p in origin.foreground[1]}
    corners = {tuple(np.clip(np.array(place) - 4, 0, 55)) for place in places}
    for step in range(20):
        batch = made.at(step)
        got = [tuple(np.unravel_index(int(x.flatten()[0]), (64, 64))) for x in batch.pixels]
        assert all(corner in corners for corner in got[size - centred :])
    assert centred == size or any(corner not in corners for corner in got[: size - centred])


def test_a_batch_of_one_sees_its_share_of_foreground():
    made = batches([numbered("a", (64, 64))], patch=(5, 5), batch_size=1, foreground_fraction=0.4)
    hits = [int(made.at(step).target[0, 2, 2]) for step in range(300)]
    assert np.mean(hits) == pytest.approx(0.4, abs=0.1)


@pytest.mark.parametrize("rank", [2, 3])
def test_classes_are_drawn_by_the_square_root_of_their_cases(rank):
    shape = (24,) * rank
    samples = [sample(f"common {i}", shape, classes=(1,), seed=i) for i in range(19)]
    samples += [sample("rare", shape, classes=(1, 2, 3), seed=50)]
    plan = {"patch": (1,) * rank, "batch_size": 50, "foreground_fraction": 1.0, "classes": 5}
    made = batches(samples, **plan)
    drawn = torch.cat([made.at(step).target.flatten() for step in range(24)])
    shares = torch.bincount(drawn, minlength=5) / len(drawn)
    roots = np.sqrt([20, 1, 1])
    np.testing.assert_allclose(shares.numpy(), [0, *(roots / roots.sum()), 0], atol=0.05)
    cases = [case for step in range(24) for case in made.at(step).cases]
    assert cases.count("rare") / len(cases) == pytest.approx((2 + roots[0] / 20) / roots.sum(), abs=0.05)


def test_cases_without_any_class_are_drawn_like_a_class_of_their_own():
    samples = [
        sample("found", (24, 24), seed=1),
        *(sample(f"empty {i}", (24, 24), classes=()) for i in range(4)),
    ]
    made = batches(samples, patch=(4, 4), batch_size=40, foreground_fraction=1.0)
    cases = [case for step in range(20) for case in made.at(step).cases]
    assert cases.count("found") / len(cases) == pytest.approx(1 / 3, abs=0.05)


@pytest.mark.parametrize("rank", [2, 3])
def test_cases_are_drawn_evenly_where_no_class_is_asked_for(rank):
    samples = [sample(str(i), (8 + i,) * rank) for i in range(5)]
    made = batches(samples, patch=(4,) * rank, batch_size=50, foreground_fraction=0.0)
    cases = [case for step in range(20) for case in made.at(step).cases]
    assert [cases.count(str(i)) / len(cases) for i in range(5)] == pytest.approx([0.2] * 5, abs=0.05)


@pytest.mark.parametrize(("shape", "patch"), [((60, 60), (20, 24)), ((30, 30, 30), (10, 12, 8))])
def test_rotated_patches_know_as_much_as_the_image_allows(shape, patch):
    """The margin is read: deep inside an image nothing becomes unknown, and image and label agree."""
    rank = len(shape)
    middle = np.zeros(shape, np.uint8)
    middle[tuple(n // 2 for n in shape)] = 1
    steps = np.indices(shape).sum(0)
    label = (steps // 6).astype(np.uint8)
    origin = replace(sample("a", shape), label=label, pixels=label[None], foreground=foreground(middle, None))
    spin = PLAIN.model_copy(
        update={
            "rotation": 1.0,
            "rotation_degrees": (45.0,) * (1 if rank == 2 else 3),
            "elastic": 0.5,
            "scaling": 0.5,
            "scaling_range": (0.8, 1.3),
            "flip_axes": (0,),
        }
    )
    made = batches([origin], spin, patch=patch, batch_size=8, foreground_fraction=1.0, classes=99)
    batch = made.at(0)
    assert batch.known is None
    difference = (batch.pixels[:, 0] - batch.target).abs()
    assert difference.max() <= 1.01
    assert (difference < 1e-3).float().mean() > 0.5


@pytest.mark.parametrize("rank", [2, 3])
def test_a_rotated_patch_beyond_the_image_equals_a_padded_image(rank):
    """Reading only what exists gives what reading from an image padded far out would give."""
    shape, margin = (14,) * rank, 40
    small = sample("a", shape)
    wide = [(margin, margin)] * rank
    mode = "reflect" if rank == 2 else "constant"
    padded = np.stack([np.pad(small.pixels[0], wide, mode=mode)])
    seen = np.pad(np.ones(shape, bool), wide)
    label = np.pad(small.label, wide)
    places = {1: np.flatnonzero(label)}
    large = replace(small, pixels=padded, label=label, known=seen, foreground=places)
    spin = PLAIN.model_copy(update={"rotation": 1.0, "rotation_degrees": (60.0,) * rank, "scaling": 1.0})
    plan = {"patch": (15,) * rank, "batch_size": 6, "foreground_fraction": 1.0}
    made, again = batches([small], spin, **plan), batches([large], spin, **plan)
    shifted = [room._Pick(large, pick.start + margin) for pick in made._picks(0)]
    again._picks = lambda step: shifted  # pyright: ignore[reportAttributeAccessIssue]
    one, other = made.at(0), again.at(0)
    torch.testing.assert_close(one.pixels, other.pixels, atol=2e-2, rtol=0)
    assert one.known is not None
    assert other.known is not None
    assert (one.known == other.known).float().mean() > 0.999
    assert (one.target == other.target).float().mean() > 0.999


def test_pages_of_large_sets_are_let_go_and_the_batches_stay_the_same(tmp_path, monkeypatch):
    origin = sample("a", (64, 64))
    for name, array in (("pixels", origin.pixels), ("label", origin.label)):
        np.save(tmp_path / f"{name}.npy", array)
    mapped = replace(
        origin,
        pixels=np.load(tmp_path / "pixels.npy", mmap_mode="r"),
        label=np.load(tmp_path / "label.npy", mmap_mode="r"),
    )
    kept = batches([mapped], EVERYTHING).at(1)
    monkeypatch.setattr(room, "_RESIDENT_BYTES", 0)
    released = batches([mapped], EVERYTHING)
    assert equal(released.at(1), kept)
    assert equal(released.at(1), batches([origin], EVERYTHING).at(1))


def test_no_sample_other_axes_and_classes_beyond_are_refused():
    with pytest.raises(DataError, match="there is no case to train on"):
        batches([])
    with pytest.raises(
        DataError, match=r"expected 3 axes as in training.patch_size, got the shape \(16, 16\)"
    ):
        batches([sample("a", (16, 16))], patch=(8, 8, 8))
    with pytest.raises(DataError, match="expected class ids below 2, got 4") as wrong:
        batches([sample("scan 4", (16, 16), classes=(4,))])
    assert wrong.value.where == "scan 4"


MIXING = {"mixup": 0.5, "cutmix": 0.5, "copy_paste": 0.5}


@pytest.mark.parametrize("rank", [2, 3])
def test_mixed_batches_depend_on_seed_and_step_alone(rank):
    samples, patch = SETS[rank]
    plan = EVERYTHING.model_copy(update=MIXING)
    made, again = batches(samples, plan, patch=patch), batches(samples, plan, patch=patch)
    forward = [made.at(step) for step in range(4)]
    for step in (3, 0, 2, 1):
        assert equal(again.at(step), forward[step])
        assert torch.equal(again.at(step).borrowed, forward[step].borrowed)
    soft = [batch for batch in forward if batch.target.is_floating_point()]
    assert soft
    for batch in soft:
        assert batch.target.shape == (4, 2, *patch)
        known = torch.ones(4, *patch) if batch.known is None else batch.known.float()
        assert torch.equal(batch.target.sum(1), known)


@pytest.mark.parametrize("rank", [2, 3])
def test_without_mixing_a_batch_is_what_it_was(rank):
    """Mixing draws after all else, from numbers of its own: pasting nothing leaves every bit alone."""
    samples, patch = SETS[rank]
    plain = batches(samples, EVERYTHING, patch=patch).at(2)
    off = EVERYTHING.model_copy(update={"cutmix": 1e-12})
    assert equal(plain, batches(samples, off, patch=patch).at(2))
    assert plain.borrowed is None


def test_one_patch_per_batch_cannot_be_mixed():
    plan = PLAIN.model_copy(update={"mixup": 0.5})
    with pytest.raises(
        UsageError, match=r"training.batch_size of at least 2 .* got 1.* set augmentation.mixup"
    ):
        batches([sample("a", (16, 16))], plan, batch_size=1)


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_the_balance_evens_the_classes_out(balance):
    samples = [sample(f"common {i}", (16, 16)) for i in range(9)] + [sample("rare", (16, 16), classes=(2,))]
    made = batches(
        samples, patch=(4, 4), batch_size=50, foreground_fraction=1.0, classes=3, class_balance=balance
    )
    cases = [case for step in range(20) for case in made.at(step).cases]
    wanted = {0.0: 1 / 10, 0.5: 1 / 4, 1.0: 1 / 2}[balance]
    assert cases.count("rare") / len(cases) == pytest.approx(wanted, abs=0.04)


@pytest.mark.parametrize(
    ("shape", "patch", "augmentation"),
    [
        ((5, 6), (16, 96), AugmentationPlan(rotation=1, rotation_degrees=(180.0,), scaling=1)),
        ((4, 9, 8), (4, 16, 96), AugmentationPlan(rotation=1, rotation_degrees=(180.0, 0, 0), scaling=1)),
    ],
)
def test_a_turned_patch_may_look_past_a_small_image(shape, patch, augmentation):
    """The long side of the patch, turned away, no longer reaches the image it is centred beside."""
    made = batches([sample("a", shape)], augmentation, patch=patch, foreground_fraction=0.0)
    seen = [made.at(step) for step in range(12)]
    assert all(batch.pixels.isfinite().all() for batch in seen)
    blind = [item for batch in seen for item in (~batch.known).flatten(1).all(dim=1)]
    assert any(blind)
    assert not all(blind)


def sliced(samples, axis, context, augmentation=PLAIN, *, patch=(6, 8), **training):
    plan = TrainingPlan(**{"patch_size": patch, "batch_size": 4, **training})
    slices = Slices(axis, context)
    return Batches(samples, plan, augmentation, classes=2, device=torch.device("cpu"), slices=slices, ahead=0)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("context", [0, 2])
def test_a_slice_comes_with_its_neighbours_as_channels(axis, context):
    shape = (10, 11, 12)
    volume = numbered("a", shape)
    made, seen = sliced([volume], axis, context), set()
    for step in range(40):
        batch = made.at(step)
        assert batch.pixels.shape == (4, 1 + 2 * context, 6, 8)
        for pixels, target in zip(batch.pixels, batch.target, strict=True):
            first = int(pixels[context, 0, 0])
            start = np.array(np.unravel_index(first, shape))
            place = tuple(
                slice(begin, begin + 1) if a == axis else slice(begin, begin + size)
                for a, (begin, size) in enumerate(zip(start, np.insert((6, 8), axis, 1), strict=True))
            )
            assert np.array_equal(target.numpy(), volume.label[place].reshape(6, 8))
            for channel, shift in zip(pixels, range(-context, context + 1), strict=True):
                near = int(np.clip(start[axis] + shift, 0, shape[axis] - 1))  # the outermost slices repeat
                there = tuple(slice(near, near + 1) if a == axis else p for a, p in enumerate(place))
                assert np.array_equal(channel.numpy(), volume.pixels[0][there].reshape(6, 8))
            seen.add(int(start[axis]))
    assert seen == set(range(shape[axis]))


def test_slices_are_centred_on_classes_and_moved_as_pictures_are():
    volume = sample("a", (10, 20, 24), classes=())
    volume.label[7, 5, 6] = 1
    volume = replace(volume, foreground=foreground(volume.label, None))
    batch = sliced([volume], 0, 1, foreground_fraction=1.0).at(0)
    assert (batch.target.flatten(1).sum(1) == 1).all()
    moved = sliced([volume, sample("b", (4, 5, 6), seed=1)], 0, 1, EVERYTHING, patch=(16, 16))
    one, again = moved.at(3), moved.at(3)
    assert equal(one, again)
    assert one.pixels.shape == (4, 3, 16, 16)


def test_volumes_without_slices_are_refused_by_a_patch_of_the_plane():
    with pytest.raises(
        DataError, match=r"expected 3 axes as in training.patch_size, got the shape \(16, 16\)"
    ):
        sliced([sample("a", (16, 16))], 0, 1)
    with pytest.raises(
        DataError, match=r"expected 2 axes as in training.patch_size, got the shape \(8, 9, 9\)"
    ):
        batches([sample("a", (8, 9, 9))])
