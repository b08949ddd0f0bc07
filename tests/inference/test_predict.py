"""The predictor, with fake runtimes that are plain numpy."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from unetkit.errors import DataError, UsageError
from unetkit.inference.predict import Predictor
from unetkit.records.case import Grid, Intensity, Placement, Sample
from unetkit.records.plan import DataPlan, InferencePlan, Normalization, PreparationPlan
from unetkit.spatial.tiles import Tiling


class Pointwise:
    """Two classes from each pixel alone; keeps the shapes it was given."""

    notes = ()

    def __init__(self, classes=2):
        self.classes, self.shapes = classes, []

    def run(self, batch):
        assert batch.dtype == np.float32
        self.shapes.append(batch.shape)
        total = batch.sum(axis=1, keepdims=True)
        return np.concatenate([np.sin(total * (k + 1)) for k in range(self.classes)], axis=1)


class Sided:
    """A logit that grows along the first axis of its tile: mirroring must cancel it."""

    def run(self, batch):
        ramp = np.linspace(-1, 1, batch.shape[2], dtype=np.float32).reshape(
            1, 1, -1, *(1,) * (batch.ndim - 3)
        )
        return np.concatenate([0 * batch, batch + ramp], axis=1)


def predictor(runtime, *, rank=2, channels=1, classes=2, **inference):
    names = tuple(f"c{i}" for i in range(channels))
    labels = ("background", *(f"k{i}" for i in range(1, classes)))
    data = DataPlan(rank=rank, channels=names, classes=labels, label_values=tuple(range(classes)))
    preparation = PreparationPlan(normalization=(Normalization(scheme="none"),) * channels)
    plan = InferencePlan(**{"tile_size": (8,) * rank, **inference})
    return Predictor(runtime, data, preparation, plan)


def raw(shape, *, channels=1, seed=0):
    pixels = np.random.default_rng(seed).standard_normal((channels, *shape)).astype(np.float32)
    return Sample("case", pixels, Grid.plain(len(shape)))


SHAPES = [(1, 1), (1, 40), (7, 5), (8, 8), (9, 8), (20, 33), (3, 3, 3), (1, 9, 20), (17, 8, 11)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_tiled_equals_whole_for_a_pointwise_network(shape, batch_size):
    sample, rank = raw(shape, channels=2), len(shape)
    fixed = {"rank": rank, "channels": 2, "classes": 3}
    tiles, once = Pointwise(3), Pointwise(3)
    tiled = predictor(tiles, batch_size=batch_size, **fixed).sample(sample, probabilities=True)
    whole = predictor(once, whole_image_pixels=10**6, **fixed).sample(sample, probabilities=True)
    assert once.shapes == [(1, 2, *shape)]
    assert all(size <= 8 for seen in tiles.shapes for size in seen[2:])
    assert all(seen[0] <= batch_size for seen in tiles.shapes)
    assert tiled.labels.shape == shape
    assert tiled.probabilities is not None
    assert whole.probabilities is not None
    np.testing.assert_allclose(tiled.probabilities, whole.probabilities, atol=1e-6)
    sure = np.sort(whole.probabilities, axis=0)
    clear = sure[-1] - sure[-2] > 1e-5
    assert np.array_equal(tiled.labels[clear], whole.labels[clear])


def test_an_image_inside_one_tile_is_passed_as_it_is():
    runtime = Pointwise()
    predictor(runtime).sample(raw((5, 7)))
    assert runtime.shapes == [(1, 1, 5, 7)]


@pytest.mark.parametrize("shape", [(6, 7), (19, 8), (5, 9, 12)])
def test_mirroring_cancels_what_depends_on_the_side(shape):
    sample, rank = raw(shape), len(shape)
    road = predictor(Sided(), rank=rank, whole_image_pixels=10**6, mirror_axes=tuple(range(rank)))
    plain = predictor(Plain(), rank=rank, whole_image_pixels=10**6)
    mirrored = road.sample(sample, mirror=True, probabilities=True).probabilities
    expected = plain.sample(sample, probabilities=True).probabilities
    np.testing.assert_allclose(mirrored, expected, atol=1e-6)
    lopsided = road.sample(sample, probabilities=True).probabilities
    assert np.abs(lopsided - expected).max() > 0.1


class Plain:
    def run(self, batch):
        return np.concatenate([0 * batch, batch], axis=1)


class Neighbour:
    """Each pixel's logit is the next pixel's value along every axis: not symmetric at all."""

    def __init__(self):
        self.calls = 0

    def run(self, batch):
        self.calls += 1
        moved = np.roll(batch, (-1,) * (batch.ndim - 2), tuple(range(2, batch.ndim)))
        return np.concatenate([0 * batch, moved], axis=1)


def test_mirroring_is_the_mean_over_all_subsets_written_out():
    sample, runtime = raw((6, 5, 4)), Neighbour()
    road = predictor(runtime, rank=3, mirror_axes=(0, 2), tile_size=(9, 9, 9))
    found = road.sample(sample, mirror=True, probabilities=True).probabilities
    assert runtime.calls == 4
    total = np.zeros((2, 6, 5, 4))
    for subset in itertools.chain.from_iterable(itertools.combinations((0, 2), n) for n in range(3)):
        pixels = np.flip(sample.pixels[0], subset)
        moved = np.roll(pixels, (-1, -1, -1), (0, 1, 2))
        total[1] += np.flip(moved, subset) / 4
    odds = np.exp(total)
    np.testing.assert_allclose(found, odds / odds.sum(0), atol=1e-6)


def test_a_symmetric_network_answers_the_same_with_mirrors():
    sample = raw((12, 9))
    road = predictor(Pointwise(), mirror_axes=(0, 1))
    assert np.array_equal(road.sample(sample, mirror=True).labels, road.sample(sample).labels)


def test_normalisation_happens_tile_by_tile_and_equals_the_whole():
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (1, 30, 21)).astype(np.uint8)
    rule = (Intensity(10.0, 200.0, 100.0, 0.02, masked=True),)
    lazy = Sample("lazy", pixels, Grid.plain(2), intensity=rule)
    values = np.clip(pixels.astype(np.float32), 10, 200)
    ready = Sample("ready", np.where(pixels, (values - 100) * np.float32(0.02), 0), Grid.plain(2))
    road = predictor(Pointwise())
    first = road.sample(lazy, probabilities=True).probabilities
    np.testing.assert_allclose(first, road.sample(ready, probabilities=True).probabilities, atol=1e-6)


def test_a_read_only_memory_map_is_predicted_and_left_alone(tmp_path):
    np.save(tmp_path / "a.npy", raw((8, 8)).pixels)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    sample = Sample("a", mapped, Grid.plain(2))
    found = predictor(Pointwise(), mirror_axes=(0,)).sample(sample, mirror=True)
    assert found.labels.shape == (8, 8)


def test_the_crop_is_put_back_and_the_rest_is_background():
    placement = Placement((9, 12), Grid.plain(2), ((2, 7), (3, 12)))
    sample = Sample("a", np.full((1, 5, 9), 5, np.float32), Grid.plain(2), placement=placement)
    labels = predictor(Plain()).sample(sample).labels
    assert labels.sum() == 45
    assert labels[2:7, 3:12].all()


@pytest.mark.parametrize(("classes", "dtype"), [(2, np.uint8), (256, np.uint8), (257, np.uint16)])
def test_labels_have_the_smallest_unsigned_type(classes, dtype):
    road = predictor(Pointwise(classes), classes=classes)
    labels = road.sample(raw((4, 4))).labels
    assert labels.dtype == dtype
    assert labels.max() < classes


def test_an_array_may_leave_out_the_single_channel_and_the_grid():
    road = predictor(Plain())
    pixels = raw((11, 6)).pixels
    assert np.array_equal(road.array(pixels[0]).labels, pixels[0] > 0)
    grid = Grid((2.0, 3.0), (0.0, 1.0), ((1.0, 0.0), (0.0, 1.0)))
    found = road.array(pixels, grid, id="mine")
    assert (found.grid, found.id) == (grid, "mine")


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ((3, 9, 9), r"^array: expected 2 channels \(c0, c1\), got 3\. Do this: give these channels"),
        ((9, 9), r"expected 2 channels \(c0, c1\), got 1"),
        ((2, 9, 9, 9), r"^array: expected an image with 2 axes, got 3 \(shape \(9, 9, 9\)\)"),
    ],
)
def test_wrong_channels_or_axes_are_refused_by_name(shape, text):
    with pytest.raises(DataError, match=text):
        predictor(Pointwise(), channels=2).array(np.zeros(shape, np.float32))


def test_tiles_and_mirrors_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match=r"inference.tile_size is \[8\], the images have 2 axes"):
        predictor(Plain(), tile_size=(8,))
    with pytest.raises(UsageError, match=r"inference.mirror_axes is \[0, 2\], .* use some of \[0, 1\]"):
        predictor(Plain(), mirror_axes=(0, 2))


@pytest.mark.parametrize("separate", [None, 0])
@pytest.mark.parametrize("tile", [(64, 64, 64), (8, 8, 8)])
def test_a_resampled_and_cropped_ball_comes_back_in_its_place(separate, tile):
    z, y, x = np.ogrid[:12, :30, :26]
    inside = 9 - np.sqrt((2 * (z - 6)) ** 2 + (y - 14) ** 2 + (x - 12) ** 2)
    pixels = np.where(inside > -3, inside + 10, 0).astype(np.float32)  # zero around it: cropped away
    grid = Grid((2.0, 1.0, 1.0), (0.0, 0.0, 0.0), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
    road = predictor(Above(), rank=3, tile_size=tile)
    road.preparation = PreparationPlan(
        spacing_mm=(1.6, 0.75, 1.25),
        crop_to_nonzero=True,
        normalization=(Normalization(scheme="none"),),
        separate_axis=separate,
        order_image=1,
    )
    found = road.array(pixels, grid, probabilities=True)
    assert found.labels.shape == pixels.shape
    assert found.grid is grid
    wrong = (found.labels == 1) != (inside > 0)
    assert wrong.sum() < 0.06 * (inside > 0).sum()
    assert np.all(np.abs(inside[wrong]) < 1)  # only at the rim
    assert found.probabilities is not None
    assert np.all(found.probabilities[0][pixels == 0] > 0.99)


class Above:
    """Foreground where a pixel is above 10."""

    def run(self, batch):
        return np.concatenate([0 * batch, batch - 10], axis=1)


def test_a_file_is_read_predicted_and_named_in_errors(tmp_path):
    from PIL import Image

    picture = np.zeros((20, 30), np.uint8)
    picture[4:9, 10:25] = 200
    path = tmp_path / "part7.png"
    Image.fromarray(picture).save(path)
    found = predictor(Plain()).file((path,), "part7", probabilities=True)
    assert found.id == "part7"
    assert np.array_equal(found.labels, picture > 0)
    assert found.probabilities is not None
    with pytest.raises(DataError, match=r"part7\.png: expected 3 channels \(c0, c1, c2\), got 1"):
        predictor(Plain(), channels=3).file((path,), "part7")


def test_a_large_picture_needs_little_memory():
    """2048² bytes in 8 rows of tiles: the float logits of the whole (2 × 16 MiB) are never there."""
    import tracemalloc

    pixels = np.zeros((1, 2048, 2048), np.uint8)
    pixels[0, 1000:1010] = 9
    sample = Sample("wafer", pixels, Grid.plain(2), intensity=(Intensity(0.0, 255.0, 4.0, 1.0),))
    tracemalloc.start()
    labels = predictor(Plain(), tile_size=(256, 256), overlap_fraction=0.25).sample(sample).labels
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(labels, pixels[0] > 4)
    assert peak < 20 * 2**20  # labels 4 MiB, sums 4 MiB, bands of it and a few tiles


class Watcher:
    """Notes what a watcher is told."""

    def __init__(self):
        self.told = []

    def begin(self, task, total=None, *, done=0.0):
        self.told.append((task, total, done))

    def advance(self, amount=1.0, /, **shown):
        self.told.append(amount)

    def end(self):
        self.told.append("end")

    def say(self, text):
        self.told.append(text)


def test_a_watcher_counts_the_tiles_of_an_image_that_takes_several():
    for batch_size in (1, 3):
        watcher = Watcher()
        predictor(Pointwise(), batch_size=batch_size).sample(raw((20, 8)), progress=watcher)
        tiles = len(Tiling.over((20, 8), (8, 8), 0.5).boxes)
        assert watcher.told == [("tiles of case", tiles, 0.0), *[1] * tiles, "end"]
    watcher = Watcher()
    predictor(Pointwise()).sample(raw((8, 8)), progress=watcher)
    assert watcher.told == []  # one tile has no part that could be told


def test_what_a_runtime_did_differently_is_said_once():
    class Short(Pointwise):
        def __init__(self):
            super().__init__()
            self.notes = []

        def run(self, batch):
            if len(self.notes) < 2:
                self.notes.append(f"smaller batches {len(self.notes)}")
            return super().run(batch)

    watcher, road = Watcher(), predictor(Short())
    road.sample(raw((8, 8)))
    road.sample(raw((8, 8)), progress=watcher)
    road.sample(raw((8, 8)), progress=watcher)
    assert watcher.told == ["smaller batches 0", "smaller batches 1"]


def test_a_watchers_task_ends_where_the_network_fails():
    class Broken(Pointwise):
        def run(self, batch):
            return super().run(batch) * np.nan

    watcher = Watcher()
    with pytest.raises(DataError, match="finite logits"):
        predictor(Broken()).sample(raw((20, 8)), progress=watcher)
    assert watcher.told[-1] == "end"


@pytest.mark.parametrize(
    ("channels", "got", "cure"),
    [
        (1, 3, "save it as a grey picture"),
        (3, 4, "save it as a picture without alpha"),
        (2, 3, "these chann"),
    ],
)
def test_other_channels_are_refused_with_what_to_do(channels, got, cure):
    with pytest.raises(DataError, match=rf"expected {channels} channel.*got {got}\. Do this: .*{cure}"):
        predictor(Pointwise(), channels=channels).array(np.zeros((got, 8, 8), np.uint8))


def test_predicting_with_another_runtime_never_loads_torch(tmp_path):
    script = tmp_path / "without_torch.py"
    script.write_text(
        "import sys\n"
        "sys.modules['torch'] = None\n"  # any import of it fails
        "import numpy as np\n"
        "from unetkit.inference.predict import Predictor\n"
        "from unetkit.records.plan import EXAMPLE, Plan\n"
        "class Plain:\n"
        "    def run(self, batch):\n"
        "        return np.concatenate([0 * batch, batch], axis=1)\n"
        "plan = Plan.model_validate(EXAMPLE)\n"
        "road = Predictor(Plain(), plan.data, plan.preparation, plan.inference)\n"
        "assert road.array(np.eye(40)).labels.sum() == 40\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=Path.cwd())
    assert done.returncode == 0, done.stderr


def test_a_random_field_takes_a_doubtful_speck_and_only_when_asked():
    class Given:
        notes = ()

        def __init__(self):
            self.logit = np.full((16, 16), -2.0, np.float32)
            self.logit[4:12, 4:12] = 2.0
            self.logit[1, 1] = 0.3

        def run(self, batch):
            return np.stack([0 * self.logit, self.logit])[None]

    pixels = np.zeros((1, 16, 16), np.float32)
    pixels[0, 4:12, 4:12] = 1.0
    sample = Sample("case", pixels, Grid.plain(2))
    fixed = {"whole_image_pixels": 10**6}
    plain = predictor(Given(), **fixed).sample(sample)
    assert plain.labels[1, 1] == 1
    smooth = predictor(Given(), crf_steps=5, **fixed).sample(sample, probabilities=True)
    assert smooth.labels[1, 1] == 0
    assert (smooth.labels[4:12, 4:12] == 1).all()
    assert smooth.probabilities is not None
    np.testing.assert_allclose(smooth.probabilities.sum(axis=0), 1, atol=1e-5)
    filtered = predictor(Given(), guided_radius=2, **fixed).sample(sample)
    assert filtered.labels[1, 1] == 0
    assert (filtered.labels[4:12, 4:12] == 1).all()


def test_only_the_largest_object_of_a_class_stays_when_asked():
    sample = Sample("case", np.zeros((1, 3, 8), np.float32), Grid.plain(2))
    sample.pixels[0, 0, :2] = sample.pixels[0, 2, 4:7] = 1.0

    class Bright:
        notes = ()

        def run(self, batch):
            return np.concatenate([0 * batch + 0.5, batch], axis=1)

    assert predictor(Bright()).sample(sample).labels.sum() == 5
    alone = predictor(Bright(), largest_only=(True,)).sample(sample).labels
    assert alone.sum() == alone[2, 4:7].sum() == 3


def torch_road(**inference):
    """A predictor of three classes with a real network, weights as they start."""
    import torch

    from unetkit.networks.unet import build
    from unetkit.records.plan import EXAMPLE, NetworkPlan
    from unetkit.runtimes.devices import Layout
    from unetkit.runtimes.pytorch import PytorchRuntime

    torch.manual_seed(0)
    plan = NetworkPlan(**{**EXAMPLE["network"], "widths": [4, 6], "blocks": [1, 1], "norm": "batch"})
    network = build(plan, rank=2, in_channels=1, classes=3).eval()
    runtime = PytorchRuntime(network, torch.device("cpu"), Layout())
    road = predictor(runtime, classes=3, **{"tile_size": (12, 16), **inference})
    road.preparation = PreparationPlan(crop_to_nonzero=True, normalization=(Normalization(scheme="zscore"),))
    return road


def streamed(road, path, **words):
    """The labels of a file that stayed in its file, and the counts."""
    from unetkit.data.windows import open_source, prepare_source

    bands = []
    with open_source([path], road.data) as source:
        sample = prepare_source(source, road.preparation, id=path.stem)
        counts = road.stream(sample, bands.extend, folder=path.parent, **words)
    return np.concatenate(bands), counts


ODD = np.random.default_rng(5).integers(1, 60, (35, 2)).tolist()
SIZES = [(1, 1), (1, 90), (90, 1), (12, 16), (13, 17), *map(tuple, ODD)]


@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_streamed_labels_are_those_in_memory_bit_for_bit(tmp_path, shape):
    """40 sizes in the torch runtime: odd, smaller than a tile, one row, one column; constant parts too."""
    import tifffile

    number = sum(shape)
    pixels = np.random.default_rng(number).integers(0, 250, shape).astype(np.uint8)
    pixels[len(pixels) // 2 :] = (0, 7, 255)[number % 3]
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, photometric="minisblack", tile=(16, 16), compression="zlib")
    road = torch_road(batch_size=1 + number % 3, minimum_pixels=(3 * (number % 2), 0), mirror_axes=(0, 1))
    whole = road.file((path,), "a", mirror=number % 4 == 0).labels
    found, counts = streamed(road, path, mirror=number % 4 == 0)
    assert found.dtype == whole.dtype
    assert np.array_equal(found, whole)
    assert counts.tolist() == np.bincount(whole.ravel(), minlength=3).tolist()


@pytest.mark.parametrize("shape", [(70, 61), (5, 90), (97, 33)])
def test_exact_mode_gives_the_probabilities_of_the_image_in_one_piece(shape):
    exact = torch_road(mode="exact", tile_size=(40, 48))
    once = torch_road(whole_image_pixels=10**9)
    pixels = np.random.default_rng(0).integers(1, 250, shape).astype(np.uint8)
    found, expected = (road.array(pixels, probabilities=True).probabilities for road in (exact, once))
    np.testing.assert_allclose(found, expected, atol=5e-5)
    blended = torch_road(tile_size=(40, 48)).array(pixels, probabilities=True).probabilities
    assert np.abs(blended - expected).max() > 1e-3 or min(shape) < 40


def test_exact_mode_streams_as_well(tmp_path):
    import tifffile

    path, pixels = tmp_path / "a.tif", np.random.default_rng(0).integers(1, 250, (90, 61)).astype(np.uint8)
    tifffile.imwrite(path, pixels, photometric="minisblack")
    road = torch_road(mode="exact", tile_size=(40, 48))
    assert np.array_equal(streamed(road, path)[0], road.file((path,), "a").labels)


def test_a_streamed_image_is_never_held_and_its_speed_is_told(tmp_path):
    """Twice the rows, the same memory."""
    import tracemalloc

    import tifffile

    class Noted(Plain):
        notes = ()

    class Speed(Watcher):
        def advance(self, amount=1.0, /, **shown):
            self.told.append(shown)

    peaks = []
    for rows in (1024, 2048):
        path, pixels = tmp_path / f"{rows}.tif", np.zeros((rows, 1024), np.uint8)
        pixels[500:510] = 9
        tifffile.imwrite(path, pixels, photometric="minisblack", tile=(64, 64), compression="zlib")
        road, watcher, found = predictor(Noted(), tile_size=(64, 64), overlap_fraction=0.25), Speed(), []
        from unetkit.data.windows import open_source, prepare_source

        with open_source([path], road.data) as source:
            sample = prepare_source(source, road.preparation, id="a")
            tracemalloc.start()
            write = lambda bands, found=found: found.extend(int(band.sum()) for band in bands)  # noqa: E731
            road.stream(sample, write, folder=tmp_path, progress=watcher)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert sum(found) == 10 * 1024
        assert "Mpixel/s" in watcher.told[5]["speed"]
    assert peaks[1] < 1.3 * peaks[0]
    assert peaks[1] < 4 * 2**20


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_network_that_fails_half_way_ends_every_thread(tmp_path, error):
    import threading

    import tifffile

    class Broken(Pointwise):
        def run(self, batch):
            if len(self.shapes) == 7:
                raise error
            return super().run(batch)

    path = tmp_path / "a.tif"
    pixels = np.random.default_rng(0).integers(0, 250, (90, 61)).astype(np.uint8)
    tifffile.imwrite(path, pixels, photometric="minisblack")
    before = threading.active_count()
    with pytest.raises(error):
        streamed(predictor(Broken()), path)
    assert threading.active_count() == before
