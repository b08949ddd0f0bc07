"""Preparation: order, normalisation and geometry by hand; a cache that survives every fault."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

import unetkit.data.entries as entries
import unetkit.data.prepare as room
from unetkit.data import intensities
from unetkit.data.prepare import Cache, prepare, prepare_pixels
from unetkit.errors import DataError, ResourceError
from unetkit.records.case import Case, Grid
from unetkit.records.plan import DataPlan, Normalization, PreparationPlan
from unetkit.spatial.intensity import apply_intensity

DATA = DataPlan(rank=2, channels=("image",), classes=("no", "yes"), label_values=(0, 255))
ZSCORE = PreparationPlan(normalization=(Normalization(scheme="zscore"),))


def plan(scheme="zscore", *, channels=1, **more):
    keys = {key: more.pop(key) for key in ("low", "high", "mean", "std") if key in more}
    return PreparationPlan(normalization=(Normalization(scheme=scheme, **keys),) * channels, **more)


def grid(*spacing):
    return Grid(spacing, (10.0, 20.0, 30.0)[: len(spacing)], Grid.plain(len(spacing)).direction)


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A case whose files are .npy, so that these tests need no image format."""

    class World:
        pixels = np.random.default_rng(0).integers(0, 255, (1, 20, 30)).astype(np.uint8)
        label = np.random.default_rng(1).integers(0, 2, (20, 30)).astype(np.uint8)
        known: np.ndarray | None = None
        reads = 0
        case = Case("a", (tmp_path / "a.png",), tmp_path / "a_mask.png", "a")

        def touch(self):
            self.case.images[0].write_bytes(self.pixels.tobytes())
            assert self.case.label is not None
            self.case.label.write_bytes(self.label.tobytes())

    here = World()
    here.touch()

    def read_pixels(case, data=None):
        here.reads += 1
        return here.pixels, Grid.plain(here.pixels.ndim - 1)

    monkeypatch.setattr(room, "read_pixels", read_pixels)
    monkeypatch.setattr(room, "read_label", lambda case, data: (here.label, here.known, Grid.plain(2)))
    return here


# What a sample is


def test_not_resampled_keeps_the_type_and_normalises_later(world):
    sample = prepare(world.case, DATA, ZSCORE)
    assert sample.pixels.dtype == np.uint8
    assert np.array_equal(sample.pixels, world.pixels)
    ready = apply_intensity(sample.pixels, sample.intensity)
    values = world.pixels.astype(np.float64)
    np.testing.assert_allclose(ready, (values - values.mean()) / values.std(), atol=1e-5)
    assert np.array_equal(sample.foreground[1], np.flatnonzero(world.label))
    assert sample.label is not None
    assert np.array_equal(sample.label, world.label)
    assert sample.known is None


@pytest.mark.parametrize("shape", [(20, 30), (6, 9, 12)])
@pytest.mark.parametrize("chunk", [50, 1 << 22])
def test_masked_zscore_measures_and_changes_only_what_is_not_zero(shape, chunk, monkeypatch):
    monkeypatch.setattr(intensities, "_SLAB_NUMBERS", chunk)
    rng = np.random.default_rng(2)
    pixels = rng.normal(100, 30, (2, *shape)).astype(np.float32)
    outside = rng.random(shape) < 0.4
    pixels[:, outside] = 0
    sample = prepare_pixels(pixels, Grid.plain(len(shape)), plan("masked_zscore", channels=2), id="x")
    ready = apply_intensity(sample.pixels, sample.intensity)
    assert (ready[:, outside] == 0).all()
    for channel, raw in zip(ready, pixels, strict=True):
        inside = raw[~outside].astype(np.float64)
        np.testing.assert_allclose(channel[~outside], (inside - inside.mean()) / inside.std(), atol=1e-4)


@pytest.mark.parametrize(
    ("preparation", "expected"),
    [
        (plan("ct", low=-100, high=200, mean=50, std=25), [-6.0, -2.0, 6.0]),
        (plan("zero_one", low=0, high=1000), [-0.5, 0.0, 0.9]),
        (plan("none"), [-500.0, 0.0, 900.0]),
        (plan("zero_one", low=7, high=7), [-507.0, -7.0, 893.0]),
    ],
)
def test_fixed_schemes_by_hand(preparation, expected):
    pixels = np.array([[[-500, 0, 900]]], np.int16)
    sample = prepare_pixels(pixels, Grid.plain(2), preparation, id="x")
    assert sample.pixels.dtype == np.int16
    np.testing.assert_allclose(apply_intensity(sample.pixels, sample.intensity)[0, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("scheme", ["zscore", "masked_zscore"])
@pytest.mark.parametrize("value", [0, 9])
def test_a_constant_image_becomes_zero_and_never_nan(scheme, value):
    sample = prepare_pixels(np.full((1, 4, 4), value, np.uint8), Grid.plain(2), plan(scheme), id="x")
    assert not apply_intensity(sample.pixels, sample.intensity).any()


def test_crop_then_normalise_then_resample():
    rng = np.random.default_rng(4)
    pixels = np.zeros((1, 12, 20, 20), np.int16)
    pixels[0, 2:10, 5:15, 4:18] = rng.integers(1, 500, (8, 10, 14))
    preparation = plan(crop_to_nonzero=True, spacing_mm=(1.0, 1.0, 1.0))
    sample = prepare_pixels(pixels, grid(2.0, 1.0, 0.5), preparation, id="x")
    assert sample.pixels.shape == (1, 16, 10, 7)
    assert sample.pixels.dtype == np.float32
    assert sample.intensity == ()
    inside = pixels[0, 2:10, 5:15, 4:18].astype(np.float64)
    normal = (inside - inside.mean()) / inside.std()
    want = ndimage.zoom(normal, (2, 1, 0.5), order=3, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(sample.pixels[0], want, atol=1e-4)
    assert sample.placement is not None
    assert sample.placement.crop == ((2, 10), (5, 15), (4, 18))
    assert sample.placement.shape == (12, 20, 20)
    assert sample.grid.spacing_mm == (1.0, 1.0, 1.0)
    # The first old pixel kept is at 10+2*2, 20+5, 30+4*.5; its corner is shared by the first new one.
    assert sample.grid.origin_mm == pytest.approx((14 - 1 + 0.5, 25.0, 32 - 0.25 + 0.5))


def test_the_edges_stay_in_the_world_when_the_shape_is_rounded():
    sample = prepare_pixels(
        np.zeros((1, 7, 9), np.uint8), grid(1.0, 1.0), plan(spacing_mm=(2.0, 1.0)), id="x"
    )
    assert sample.pixels.shape == (1, 4, 9)
    extent = [n * s for n, s in zip(sample.pixels.shape[1:], sample.grid.spacing_mm, strict=True)]
    assert extent == pytest.approx([7.0, 9.0])


def test_what_is_not_known_is_resampled_as_a_class_of_its_own(world):
    world.label = np.zeros((20, 30), np.uint8)
    world.label[:, 10:20] = 1
    world.known = np.ones((20, 30), bool)
    world.known[:, 20:] = False
    world.label[:, 20:] = 0
    sample = prepare(world.case, DATA, plan(spacing_mm=(0.5, 0.5)))
    assert sample.label is not None
    assert sample.known is not None
    assert np.array_equal(sample.known, world.known.repeat(2, 0).repeat(2, 1))
    assert np.array_equal(sample.label, world.label.repeat(2, 0).repeat(2, 1))
    assert sample.label.dtype == np.uint8


def test_known_is_dropped_when_the_crop_leaves_only_what_is_known(world):
    world.known = np.ones((20, 30), bool)
    world.known[0] = False
    world.pixels = world.pixels.clip(1)
    world.pixels[:, :3] = 0
    assert prepare(world.case, DATA, plan(crop_to_nonzero=True)).known is None


@pytest.mark.parametrize(
    ("kind", "stored"),
    [(">u2", "uint16"), ("f8", "float32"), ("f2", "float32"), ("?", "uint8"), ("<i4", "int32")],
)
def test_types_are_the_machines_own(kind, stored):
    pixels = np.array([[[0, 1], [1, 1]]]).astype(kind)
    sample = prepare_pixels(pixels, Grid.plain(2), ZSCORE, id="x")
    assert sample.pixels.dtype == np.dtype(stored)
    assert np.array_equal(sample.pixels, pixels)


def test_a_file_and_an_array_are_prepared_alike(world):
    array = prepare_pixels(world.pixels, Grid.plain(2), plan(spacing_mm=(0.7, 1.3)), id="a")
    file = prepare(world.case, DATA, plan(spacing_mm=(0.7, 1.3)))
    assert np.array_equal(array.pixels, file.pixels)
    assert array.grid == file.grid
    assert array.label is None


# What is refused


def test_another_size_of_label_is_refused(world):
    world.label = world.label[:, :-1]
    with pytest.raises(DataError, match=r"image has shape \(20, 30\) and its label \(20, 29\)") as wrong:
        prepare(world.case, DATA, ZSCORE)
    assert "a_mask.png" in str(wrong.value)
    assert "export the label on the image's own grid" in str(wrong.value)


@pytest.mark.parametrize("shape", [(3, 20, 30), (1, 4, 20, 30)])
def test_other_channels_or_axes_are_refused(world, shape):
    world.pixels = np.zeros(shape, np.uint8)
    with pytest.raises(DataError, match=r"expected 1 channels on 2 axes, got \d channels of shape") as wrong:
        prepare(world.case, DATA, ZSCORE)
    assert wrong.value.where == "a"


def test_an_array_of_other_channels_is_refused():
    with pytest.raises(DataError, match="expected 1 channels, got 3"):
        prepare_pixels(np.zeros((3, 4, 4)), Grid.plain(2), ZSCORE, id="x")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_pixels_that_are_not_finite_are_refused_by_name(value):
    with pytest.raises(DataError, match="expected finite pixels, got NaN or infinity") as wrong:
        prepare_pixels(np.array([[[0.0, value]]]), Grid.plain(2), ZSCORE, id="scan 7")
    assert str(wrong.value).startswith("scan 7: ")


# The cache


def same(one, other):
    assert one.id == other.id
    assert one.grid == other.grid
    assert one.placement == other.placement
    assert one.intensity == other.intensity
    for mine, theirs in ((one.pixels, other.pixels), (one.label, other.label), (one.known, other.known)):
        if mine is None or theirs is None:
            assert mine is theirs
        else:
            assert mine.dtype == theirs.dtype
            assert np.array_equal(mine, theirs)
    assert one.foreground.keys() == other.foreground.keys()
    assert all(np.array_equal(one.foreground[k], other.foreground[k]) for k in one.foreground)


def entry_of(cache, world, tmp_path):
    return tmp_path / "cache" / cache.key(world.case)


@pytest.mark.parametrize("known", [False, True])
def test_the_cache_gives_back_what_was_prepared_memory_mapped(world, tmp_path, known):
    if known:
        world.known = np.ones((20, 30), bool)
        world.known[3] = False
    cache = Cache(tmp_path / "cache", DATA, ZSCORE)
    sample = cache.get(world.case)
    assert isinstance(sample.pixels, np.memmap)
    assert not sample.pixels.flags.writeable
    same(sample, prepare(world.case, DATA, ZSCORE))
    reads = world.reads
    same(Cache(tmp_path / "cache", DATA, ZSCORE).get(world.case), sample)
    assert world.reads == reads
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [cache.key(world.case)]


def test_a_case_without_label_is_cached_too(world, tmp_path):
    bare = Case("b", world.case.images, None, "b")
    cache = Cache(tmp_path / "cache", DATA, ZSCORE)
    sample = cache.get(bare)
    assert sample.label is None
    assert sample.foreground == {}
    assert cache.key(bare) != cache.key(world.case)


def test_how_the_network_sees_a_volume_changes_nothing_in_the_cache(world, tmp_path):
    sliced = DATA.model_copy(update={"slice_axis": 0, "context_slices": 2})
    keys = {Cache(tmp_path / "cache", data, ZSCORE).key(world.case) for data in (DATA, sliced)}
    assert len(keys) == 1


def test_an_axis_of_no_planned_spacing_is_not_resampled():
    pixels = np.random.default_rng(0).standard_normal((1, 5, 8, 8)).astype(np.float32)
    place = Grid((4.0, 1.0, 1.0), (0.0,) * 3, Grid.plain(3).direction)
    found = prepare_pixels(pixels, place, plan("none", spacing_mm=(0.0, 2.0, 2.0), order_image=1), id="x")
    assert found.pixels.shape == (1, 5, 4, 4)
    assert found.grid.spacing_mm == (4.0, 2.0, 2.0)
    np.testing.assert_allclose(found.pixels[0, :, 0, 0], pixels[0, :, :2, :2].mean((1, 2)), atol=1e-5)


def test_the_key_follows_content_plan_region_and_version(world, tmp_path, monkeypatch):
    def key(preparation=ZSCORE, data=DATA, case=world.case):
        return Cache(tmp_path / "cache", data, preparation).key(case)

    keys = [
        key(),
        key(plan(crop_to_nonzero=True)),
        key(data=DATA.model_copy(update={"label_values": (0, 1)})),
        key(case=Case("a", world.case.images, world.case.label, "a", region=((0, 5), (0, 5)))),
    ]
    monkeypatch.setattr(room, "CACHE_VERSION", 99)
    keys.append(key())
    monkeypatch.undo()
    world.case.images[0].write_bytes(b"other")
    keys.append(key())
    assert len(set(keys)) == len(keys)
    moved = tmp_path / "elsewhere.png"
    shutil.copy(world.case.images[0], moved)
    assert key(case=Case("z", (moved,), world.case.label, "z")) == keys[-1]


def test_a_file_changed_in_place_is_prepared_anew(world, tmp_path):
    cache = Cache(tmp_path / "cache", DATA, ZSCORE)
    cache.get(world.case)
    world.pixels = 255 - world.pixels
    world.touch()
    later = time.time() + 9  # some file systems keep no fractions of a second
    for path in (*world.case.images, world.case.label):
        os.utime(path, (later, later))
    assert np.array_equal(cache.get(world.case).pixels, world.pixels)


DAMAGE = {
    "a shorter array": lambda entry: os.truncate(entry / "pixels.npy", 100),
    "an empty array": lambda entry: os.truncate(entry / "label.npy", 0),
    "a longer array": lambda entry: (entry / "label.npy").write_bytes(b"x" * 5000),
    "no array": lambda entry: (entry / "foreground.npy").unlink(),
    "no record": lambda entry: (entry / "sample.json").unlink(),
    "half a record": lambda entry: os.truncate(entry / "sample.json", 40),
    "a foreign record": lambda entry: (entry / "sample.json").write_text('{"files": {}}'),
    "a record without the pixels": lambda entry: forget_pixels(entry),
    "another header": lambda entry: flip_header(entry / "pixels.npy"),
    "an empty folder": lambda entry: [path.unlink() for path in entry.iterdir()],
    "a file in its place": lambda entry: (shutil.rmtree(entry), entry.write_text("x")),
}


def forget_pixels(entry: Path):
    record = json.loads((entry / "sample.json").read_text())
    del record["files"]["pixels.npy"]
    (entry / "sample.json").write_text(json.dumps(record))


def flip_header(path: Path):
    content = bytearray(path.read_bytes())
    content[1] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_never_used_and_built_anew(world, tmp_path, damage):
    cache = Cache(tmp_path / "cache", DATA, ZSCORE)
    good = prepare(world.case, DATA, ZSCORE)
    cache.get(world.case)
    reads = world.reads
    DAMAGE[damage](entry_of(cache, world, tmp_path))
    same(Cache(tmp_path / "cache", DATA, ZSCORE).get(world.case), good)
    assert world.reads == reads + 1
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [cache.key(world.case)]


@pytest.mark.parametrize("fatal", ["pixels.npy", "label.npy", "sample.json"])
def test_a_writer_killed_midway_leaves_no_entry(world, tmp_path, monkeypatch, fatal):
    """The folder that a SIGKILL leaves is made by hand: some files, one of them half."""
    cache = Cache(tmp_path / "cache", DATA, ZSCORE)
    part = tmp_path / "cache" / ".part-dead"
    part.mkdir()
    for name in ("pixels.npy", "label.npy", "sample.json"):
        (part / name).write_bytes(b"half")
        if name == fatal:
            break
    same(cache.get(world.case), prepare(world.case, DATA, ZSCORE))
    Cache(tmp_path / "cache", DATA, ZSCORE)
    assert part.exists()
    os.utime(part, (0, time.time() - 2 * 24 * 3600))
    Cache(tmp_path / "cache", DATA, ZSCORE)
    assert not part.exists()


def test_an_error_while_writing_leaves_nothing_and_says_what_to_do(world, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(entries.np, "save", full)
    cache = Cache(tmp_path / "cache", DATA, ZSCORE)
    with pytest.raises(ResourceError, match="no room left to write this file") as wrong:
        cache.get(world.case)
    assert wrong.value.exit_code == 5
    assert "free space on that disk" in str(wrong.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_explained(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResourceError, match="cannot write this file"):
        Cache(tmp_path / "file" / "cache", DATA, ZSCORE)


def test_a_disk_that_forgets_is_reported_and_not_tried_for_ever(world, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "load_entry", lambda entry, id: None)
    with pytest.raises(ResourceError, match="cannot be read back after writing it"):
        Cache(tmp_path / "cache", DATA, ZSCORE).get(world.case)


def test_a_missing_file_is_named(world, tmp_path):
    world.case.images[0].unlink()
    with pytest.raises(
        DataError, match=r"expected a readable file.*a\.png|expected a readable file"
    ) as wrong:
        Cache(tmp_path / "cache", DATA, ZSCORE).get(world.case)
    assert "a.png" in str(wrong.value)


def test_a_refused_case_leaves_nothing(world, tmp_path):
    world.label = world.label[1:]
    with pytest.raises(DataError, match="and its label"):
        Cache(tmp_path / "cache", DATA, ZSCORE).get(world.case)
    assert list((tmp_path / "cache").iterdir()) == []


def test_writers_may_race_on_a_fresh_and_on_a_damaged_entry(world, tmp_path):
    good = prepare(world.case, DATA, ZSCORE)
    entry = entry_of(Cache(tmp_path / "cache", DATA, ZSCORE), world, tmp_path)
    for damaged in (False, True, True):
        if damaged:
            os.truncate(entry / "pixels.npy", 130)
        start, got, wrong = threading.Barrier(4), [], []

        def work(start=start, got=got, wrong=wrong):
            start.wait()
            try:
                got.append(Cache(tmp_path / "cache", DATA, ZSCORE).get(world.case))
            except (ResourceError, DataError) as error:
                wrong.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert wrong == []
        assert len(got) == 4
        for sample in got:
            same(sample, good)
        assert [path.name for path in (tmp_path / "cache").iterdir()] == [entry.name]


def test_an_entry_follows_from_every_slice_of_a_folder(tmp_path, world):
    series = tmp_path / "series"
    series.mkdir()
    for name in "ab":
        (series / name).write_bytes(bytes(128) + b"DICM" + name.encode())
    cache = Cache(tmp_path / "cache", DATA, ZSCORE)

    def key():
        return cache.key(Case("a", (series,), world.case.label, "a"))

    first = key()
    assert key() == first
    (series / "b").write_bytes(bytes(128) + b"DICM" + b"another")
    second = key()
    (series / "b").rename(series / "c")
    assert len({first, second, key()}) == 3
