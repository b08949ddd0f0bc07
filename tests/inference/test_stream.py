"""Bands that leave early are the full sum, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from unetkit.inference.stream import (
    BACKGROUND_LOGIT,
    asked_once,
    background,
    finished_rows,
    largest,
    mirrored,
    softmax,
    tile_logits,
    watched,
)
from unetkit.records.progress import Quiet
from unetkit.spatial.tiles import Tiling

axes = some.lists(some.tuples(some.integers(1, 20), some.integers(1, 9)), min_size=1, max_size=3)


def full_canvas(tiling, tiles):
    canvas = np.zeros((len(tiles[0]), *tiling.shape), np.float32)
    for (box, weight), tile in zip(tiling.weighted_boxes(), tiles, strict=True):
        canvas[(slice(None), *box)] += tile * weight
    return canvas


def collect(bands):
    parts = []
    for top, band in bands:
        assert top == sum(part.shape[1] for part in parts)
        parts.append(band.copy())
    return np.concatenate(parts, axis=1)


@settings(max_examples=40, deadline=None)
@given(axes, some.floats(0, 0.8), some.integers(0, 99))
def test_bands_equal_the_full_canvas_bit_for_bit(axes, overlap, seed):
    shape, tile = zip(*axes, strict=True)
    tiling = Tiling.over(shape, tile, overlap)
    rng = np.random.default_rng(seed)
    tiles = [rng.standard_normal((2, *tiling.tile)).astype(np.float32) for _ in tiling.boxes]
    kept = [part.copy() for part in tiles]
    assert np.array_equal(collect(finished_rows(tiling, iter(tiles))), full_canvas(tiling, tiles))
    assert all(np.array_equal(a, b) for a, b in zip(tiles, kept, strict=True))  # nobody's buffer was written


def test_memory_is_one_row_of_tiles_whatever_the_height():
    tiling = Tiling.over((400, 12), (8, 8), 0.5)
    tile = np.ones((3, 8, 8), np.float32)
    bands = finished_rows(tiling, (tile for _ in tiling.boxes))
    bases = {id(band.base): band.base.size for _, band in bands if band.base is not None}
    assert max(bases.values()) == 3 * 8 * 12


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_batches_hold_the_tiles_in_order(batch_size):
    tiling = Tiling.over((9, 7), (4, 3), 0.5)
    pixels = np.arange(63, dtype=np.float32).reshape(1, 9, 7)
    sizes = []

    def run(batch):
        sizes.append(len(batch))
        return batch * 2

    tiles = (pixels[(slice(None), *box)] for box in tiling.boxes)
    found = list(tile_logits(tiles, run, batch_size=batch_size))
    assert max(sizes) <= batch_size
    assert sum(sizes) == len(tiling.boxes)
    for box, tile in zip(tiling.boxes, found, strict=True):
        assert np.array_equal(tile, 2 * pixels[(slice(None), *box)])


def test_tiles_are_told_after_they_were_used():
    events = []

    class Watcher(Quiet):
        def advance(self, amount=1.0, /, **shown):
            events.append(amount)

    for tile in watched([np.zeros(1), np.ones(1)], Watcher()):
        events.append(tile[0])
    assert events == [0.0, 1, 1.0, 1]


@pytest.mark.parametrize("classes", [2, 3, 7, 300])
def test_largest_is_argmax_with_the_first_of_equals(classes):
    logits = np.random.default_rng(0).integers(0, 4, (classes, 9, 8)).astype(np.float32)
    before = logits.copy()
    ids, best = largest(logits)
    assert np.array_equal(ids, logits.argmax(0))
    assert np.array_equal(best, logits.max(0))
    assert ids.dtype == (np.uint8 if classes <= 256 else np.uint16)
    assert np.array_equal(before, logits)


def test_softmax_by_hand_and_for_huge_logits():
    np.testing.assert_allclose(
        softmax(np.log(np.array([[1.0], [3.0]], np.float32))), [[0.25], [0.75]], rtol=1e-6
    )
    assert softmax(np.array([[5000.0], [-5000.0]], np.float32)).tolist() == [[1.0], [0.0]]


def test_tiles_of_other_sizes_do_not_share_a_batch():
    shapes = []

    def run(batch):
        shapes.append(batch.shape)
        return batch

    tiles = [np.full((1, size), size, np.float32) for size in (3, 3, 2, 2, 2, 3)]
    found = list(tile_logits(tiles, run, batch_size=2))
    assert all(np.array_equal(a, b) for a, b in zip(found, tiles, strict=True))
    assert shapes == [(2, 1, 3), (2, 1, 2), (1, 1, 2), (1, 1, 3)]


def test_the_network_is_asked_once_about_equal_constant_tiles_and_about_all_others():
    asked = []

    def run(batch):
        asked.append(batch.copy())
        return batch * 2

    ask = asked_once(run)
    flat, other = np.full((1, 2, 4, 4), 3, np.float32), np.zeros((1, 2, 4, 4), np.float32)
    other[:, 1] = 5  # constant in each channel
    rough = flat.copy()
    rough[0, 1, 3, 3] = 4
    batches = [flat, other, flat, rough, rough, np.concatenate([flat, flat]), -0.0 * flat, 0.0 * flat]
    for batch in batches:
        assert np.array_equal(ask(batch), batch * 2)
    assert len(asked) == len(batches) - 1
    assert np.array_equal(ask(flat[..., :2]), flat[..., :2] * 2)
    assert len(asked) == len(batches)


def test_the_speed_is_told_with_the_tiles():
    told = []

    class Watcher(Quiet):
        def advance(self, amount=1.0, /, **shown):
            told.append(shown)

    assert len(list(watched([np.zeros(1)] * 2, Watcher(), pixels=5e5))) == 2
    assert all(row["speed"].endswith(" Mpixel/s") for row in told)


def naive_canvas(tiling, tiles, classes):
    """What sparse blending means, pixel by pixel: the mean of what was computed, else background."""
    sums = np.zeros((classes, *tiling.shape))
    weights = np.zeros(tiling.shape)
    for (box, weight), tile in zip(tiling.weighted_boxes(), tiles, strict=True):
        if tile is not None:
            sums[(slice(None), *box)] += tile.astype(float) * weight
            weights[box] += weight
    return np.where(weights > 0, sums / np.where(weights > 0, weights, 1), background(classes, tiling.shape))


@settings(max_examples=60, deadline=None)
@given(axes, some.floats(0, 0.8), some.integers(0, 99), some.floats(0, 1))
def test_where_tiles_were_left_out_the_others_share_their_weight(axes, overlap, seed, share):
    shape, tile = zip(*axes, strict=True)
    tiling = Tiling.over(shape, tile, overlap)
    rng = np.random.default_rng(seed)
    every = [rng.standard_normal((2, *tiling.tile)).astype(np.float32) for _ in tiling.boxes]
    kept = [each if rng.random() > share else None for each in every]
    found = collect(finished_rows(tiling, iter(kept), classes=2))
    np.testing.assert_allclose(found, naive_canvas(tiling, kept, 2), rtol=1e-4, atol=1e-5)
    whole = full_canvas(tiling, every)
    touched = np.zeros(shape, bool)
    for box, each in zip(tiling.boxes, kept, strict=True):
        touched[box] |= each is None
    assert np.array_equal(found[:, ~touched], whole[:, ~touched])  # bit for bit
    assert np.array_equal(collect(finished_rows(tiling, iter(every), classes=2)), whole)


def test_an_image_of_one_tile_that_was_left_out_is_background():
    ((top, band),) = finished_rows(Tiling.over((3, 4), (8, 8), 0.5), [None], classes=3)
    assert top == 0
    assert band.shape == (3, 3, 4)
    assert (band[0] == BACKGROUND_LOGIT).all()
    assert not band[1:].any()
    assert softmax(band)[0].min() == 1


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_batches_stay_full_around_tiles_that_are_left_out(batch_size):
    rng, asked = np.random.default_rng(0), []
    tiles = [np.full((1, 2), number) if rng.random() > 0.5 else None for number in range(40)]

    def run(batch):
        asked.append(len(batch))
        return batch + 1

    found = list(tile_logits(tiles, run, batch_size=batch_size))
    assert len(found) == len(tiles)
    for tile, answer in zip(tiles, found, strict=True):
        assert (answer is None) == (tile is None)
        assert tile is None or np.array_equal(answer, tile + 1)
    assert set(asked[:-1]) <= {batch_size}


def test_a_tile_left_out_before_any_other_does_not_wait():
    seen = []

    def tiles():
        yield None
        seen.append("asked for more")
        yield np.zeros((1, 1))

    answers = tile_logits(tiles(), lambda batch: batch, batch_size=9)
    assert next(answers) is None
    assert seen == []


def test_how_many_were_left_out_is_told():
    told = []

    class Watcher(Quiet):
        def advance(self, amount=1.0, /, **shown):
            told.append(shown)

    list(watched([np.zeros(1), None, np.zeros(1), None], Watcher()))
    assert told == [{}, {"skipped": "1"}, {"skipped": "1"}, {"skipped": "2"}]


def test_mirrored_passes_are_averaged_in_place_of_each():
    rng = np.random.default_rng(0)
    batch, kernel = rng.standard_normal((2, 1, 5, 6)), rng.standard_normal((5, 6))
    found = mirrored(lambda each: each * kernel, batch, (2, 3))
    mean = (kernel + kernel[::-1] + kernel[:, ::-1] + kernel[::-1, ::-1]) / 4
    np.testing.assert_allclose(found, batch * mean)
    assert mirrored(lambda each: each, batch, ()) is batch
