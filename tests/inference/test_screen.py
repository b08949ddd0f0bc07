"""Tiles left out by their pixels, or by a first look at low resolution."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from unetkit.data.windows import open_source, prepare_source
from unetkit.errors import UsageError
from unetkit.inference.predict import Predictor
from unetkit.inference.screen import blank, box_maxima, shrunk, tile_scores, worth_computing
from unetkit.inference.stream import softmax
from unetkit.records.case import Grid, Sample
from unetkit.records.plan import DataPlan, InferencePlan, Normalization, PreparationPlan
from unetkit.records.progress import Quiet
from unetkit.spatial.tiles import Tiling

DATA = DataPlan(rank=2, channels=("c",), classes=("no", "dark", "bright"), label_values=(0, 1, 2))
RAW = PreparationPlan(normalization=(Normalization(scheme="none"),))


class Levels:
    """A pixel above 100 is bright, one from 10 to 50 is dark; counts what it was asked."""

    notes = ()

    def __init__(self):
        self.pixels = 0

    def run(self, batch):
        self.pixels += batch.size
        dark = np.where((batch >= 10) & (batch <= 50), 5.0, -5.0)
        return np.concatenate([0 * batch, dark, (batch - 100) / 4], axis=1).astype(np.float32)


def road(**words):
    return Predictor(Levels(), DATA, RAW, InferencePlan(**{"tile_size": (16, 16), **words}))


def grey(shape):
    """No two tiles alike: equal constant ones are asked about only once anyway."""
    return np.random.default_rng(0).integers(69, 72, shape, dtype=np.uint8)


def scene(shape=(90, 70), *, flat=False):
    """Grey 70 everywhere, three bright squares and a dark one."""
    pixels = np.full(shape, 70, np.uint8) if flat else grey(shape)
    for top, left in ((0, 0), (40, 33), (81, 62)):
        pixels[top : top + 8, left : left + 8] = 200
    pixels[60:68, 5:13] = 30
    return pixels


@settings(max_examples=40, deadline=None)
@given(some.lists(some.integers(1, 11), min_size=1, max_size=3), some.integers(2, 5))
def test_blocks_become_their_mean(shape, factor):
    pixels = np.random.default_rng(0).integers(0, 255, (2, *shape), dtype=np.uint8)
    found = shrunk(pixels, factor)
    assert found.dtype == np.float32
    assert found.shape == (2, *(-(-length // factor) for length in shape))
    for place in np.ndindex(found.shape[1:]):
        block = pixels[(slice(None), *(slice(at * factor, (at + 1) * factor) for at in place))]
        np.testing.assert_allclose(found[(slice(None), *place)], block.reshape(2, -1).mean(1), rtol=1e-5)


def test_maxima_of_boxes_are_those_of_the_whole_whatever_the_bands():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((3, 23, 18)).astype(np.float32)
    boxes = Tiling.over((90, 70), (16, 16), 0.5).boxes
    shares = softmax(logits)[1:]
    expected = [
        shares[:, y.start // 4 : -(-y.stop // 4), x.start // 4 : -(-x.stop // 4)].max(axis=(1, 2))
        for y, x in boxes
    ]
    for height in (1, 5, 23):
        bands = ((top, logits[:, top : top + height]) for top in range(0, 23, height))
        assert np.array_equal(box_maxima(bands, boxes, 4), expected)


def test_scores_read_every_row_once_and_equal_the_small_image_in_one_piece():
    pixels, asked, runtime = scene()[None], [], Levels()
    boxes = Tiling.over((90, 70), (16, 16), 0.5).boxes

    def rows(start, stop):
        asked.extend(range(start, stop))
        return pixels[:, start:stop]

    plan = InferencePlan(tile_size=(16, 16), screen_factor=4)
    found = tile_scores(rows, boxes, runtime.run, shape=(90, 70), intensity=(), plan=plan, progress=Quiet())
    assert asked == list(range(90))
    expected = box_maxima([(0, runtime.run(shrunk(pixels, 4)[None])[0])], boxes, 4)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_no_thresholds_are_no_decision():
    assert worth_computing(np.array([[0.2, 0.1]]), (0.2, 0.5)).tolist() == [True]
    with pytest.raises(UsageError, match="inference.screen_thresholds is not".replace(".", r"\.")) as caught:
        worth_computing(np.zeros((3, 2)), ())
    assert "unet screen MODEL DATA" in caught.value.cure
    with pytest.raises(
        UsageError, match=r"screen_thresholds has 1 numbers, the model has 2 foreground classes"
    ):
        road(screen_factor=4, screen_thresholds=(0.5,))


@pytest.mark.parametrize("mode", ["blend", "exact"])
def test_a_first_look_finds_what_is_there_and_saves_the_rest(mode):
    pixels = scene((190, 170))
    whole = road(mode=mode, tile_size=(24, 24))
    expected = whole.array(pixels)
    quick = road(mode=mode, tile_size=(24, 24), screen_factor=4, screen_thresholds=(0.4, 0.5))
    found = quick.array(pixels)
    assert np.array_equal(found.labels, expected.labels)
    share = quick.runtime.pixels / whole.runtime.pixels  # in exact mode both were probed as well
    assert share < (0.5 if mode == "blend" else 1)
    blind = road(mode=mode, tile_size=(24, 24), screen_factor=4, screen_thresholds=(1.1, 1.1))
    assert not blind.array(pixels).labels.any()
    every = road(mode=mode, tile_size=(24, 24), screen_factor=4, screen_thresholds=(0.0, 0.0))
    assert np.array_equal(every.array(pixels).labels, expected.labels)


def test_labels_do_not_depend_on_whether_probabilities_are_kept():
    quick = road(screen_factor=4, screen_thresholds=(0.4, 0.5), overlap_fraction=0.5)
    pixels = scene()
    found = quick.array(pixels, probabilities=True)
    assert np.array_equal(found.labels, quick.array(pixels).labels)
    assert np.array_equal(found.probabilities.argmax(0), found.labels)
    np.testing.assert_allclose(found.probabilities.sum(0), 1, rtol=1e-5)
    full = road().array(pixels, probabilities=True).probabilities
    assert np.abs(found.probabilities - full)[:, found.labels > 0].max() < 1e-5


@pytest.mark.parametrize(
    ("rule", "value", "fewer"),
    [("none", 0, False), ("empty", 0, True), ("empty", 70, False), ("constant", 70, True)],
)
def test_blank_tiles_are_background_without_being_computed(rule, value, fewer):
    pixels = scene((190, 170), flat=True)
    pixels[pixels == 70] = value
    plain, quick = road(batch_size=2), road(batch_size=2, skip_tiles=rule)
    expected, found = plain.array(pixels), quick.array(pixels)
    assert np.array_equal(found.labels, expected.labels)
    assert (quick.runtime.pixels < plain.runtime.pixels) == fewer
    assert blank(np.full((2, 4, 4), value), rule) == (rule == "constant" or (rule == "empty" and value == 0))
    two = np.stack([np.full((4, 4), 1), np.full((4, 4), 2)])
    assert blank(two, "constant")
    assert not blank(two, "empty")
    assert not blank(np.arange(8).reshape(2, 4), "constant")


def test_a_constant_tile_that_would_be_no_background_shows_what_skipping_costs():
    pixels = np.full((40, 40), 200, np.uint8)
    assert road().array(pixels).labels.min() == 2
    assert not road(skip_tiles="constant").array(pixels).labels.any()


@pytest.mark.parametrize(
    "words",
    [
        {"screen_factor": 4, "screen_thresholds": (0.4, 0.5)},
        {"skip_tiles": "constant"},
        {"mode": "exact", "skip_tiles": "constant"},
    ],
)
def test_an_image_in_its_file_leaves_out_the_same_tiles(tmp_path, words):
    path, pixels = tmp_path / "a.npy", scene((190, 170), flat="skip_tiles" in words)
    np.save(path, pixels)
    memory, streamed, bands = road(**words), road(**words), []
    expected = memory.file((path,), "a").labels
    with open_source([path], DATA) as source:
        sample = prepare_source(source, RAW, id="a")
        streamed.stream(sample, bands.extend, folder=tmp_path)
    assert np.array_equal(np.concatenate(bands), expected)
    assert streamed.runtime.pixels == memory.runtime.pixels


def test_a_volume_is_looked_at_the_same_way():
    data = DataPlan(rank=3, channels=("c",), classes=("no", "dark", "bright"), label_values=(0, 1, 2))
    pixels = grey((20, 40, 30))
    pixels[4:8, 8:16, 4:12] = 200
    plain = Predictor(Levels(), data, RAW, InferencePlan(tile_size=(8, 16, 16)))
    words = {"screen_factor": 2, "screen_thresholds": (0.4, 0.5)}
    quick = Predictor(Levels(), data, RAW, InferencePlan(tile_size=(8, 16, 16), **words))
    assert np.array_equal(quick.array(pixels).labels, plain.array(pixels).labels)
    assert quick.runtime.pixels < plain.runtime.pixels


def test_what_the_first_look_says_can_be_asked_for():
    sample = Sample("a", scene()[None], Grid.plain(2))
    boxes, scores = road(screen_factor=4).screen(sample)
    assert scores.shape == (len(boxes), 2)
    assert scores[0, 1] > 0.9
    with pytest.raises(UsageError, match=r"inference\.screen_factor is 0"):
        road().screen(sample)
