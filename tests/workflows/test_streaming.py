"""``predict`` of images that stay in their files: same labels, same files, or none."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from unetkit.data.formats import format_of
from unetkit.data.formats.georeference import georeference_tags
from unetkit.data.labels import COLOURS
from unetkit.data.windows import open_source
from unetkit.errors import ResourceError
from unetkit.inference.predict import Predictor
from unetkit.records.case import Georeference, Grid
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.records.progress import Quiet
from unetkit.workflows import streaming
from unetkit.workflows.model import Model, load
from unetkit.workflows.predict import predict
from unetkit.workflows.streaming import too_large


@pytest.fixture
def scene(wafers, tmp_path):
    """A picture of several wafers as a tiled TIFF."""
    parts = [np.asarray(Image.open(path)) for path in sorted((wafers / "images").iterdir())[:6]]
    pixels = np.concatenate([np.concatenate(parts[:3], axis=1), np.concatenate(parts[3:], axis=1)])
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "scene.tif"
    tifffile.imwrite(path, pixels, photometric="minisblack", tile=(32, 32), compression="zlib")
    return path


def with_values(finished, **changes):
    """The model, its plan changed, in the predictor as well; always in tiles."""
    model = load(finished)
    inference = model.plan.inference.model_copy(update={"whole_image_pixels": 0, **changes})
    model.plan = model.plan.model_copy(update={"inference": inference})
    model.predictor.inference = inference
    return model


def test_the_plan_decides_and_both_roads_write_the_same_labels(finished, scene, tmp_path):
    rows = predict(with_values(finished, stream_above_pixels=1), scene, tmp_path / "rows")
    whole = predict(with_values(finished, stream_above_pixels=10**9), scene, tmp_path / "whole")
    assert not rows.refused + whole.refused
    (one,), (other,) = rows.written, whole.written
    assert one.pixels == other.pixels
    labels, expected = (format_of(each.path).read_label(each.path)[0] for each in (one, other))
    assert labels.dtype == expected.dtype
    assert np.array_equal(labels, expected)
    with tifffile.TiffFile(one.path) as written, tifffile.TiffFile(other.path) as plain:
        assert written.is_bigtiff
        assert not plain.is_bigtiff


def test_pictures_probabilities_and_small_images_stay_in_memory(finished, wafers, scene, tmp_path):
    model = with_values(finished, stream_above_pixels=1)
    picture = predict(model, wafers / "images" / "wafer00-0.png", tmp_path / "a")
    kept = predict(model, scene, tmp_path / "b", probabilities=True)
    small = predict(with_values(finished), scene, tmp_path / "c")
    for result, suffix in ((picture, ".png"), (kept, ".tif"), (small, ".tif")):
        assert not result.refused
        assert result.written[0].path.suffix == suffix
    for result in (kept, small):
        with tifffile.TiffFile(result.written[0].path) as file:
            assert not file.is_bigtiff


def test_an_image_that_fills_a_quarter_of_the_free_memory_stays_in_its_file(finished, scene, monkeypatch):
    data = load(finished).plan.data
    with open_source([scene], data) as source:
        pixels = source.shape[0] * source.shape[1]
        room = 4 * (2 * pixels + 4 * pixels)
        for free, expected in ((room, False), (room - 8, True), (None, False)):
            monkeypatch.setattr(streaming, "free_memory", lambda free=free: free)
            assert too_large(source, 0) is expected
        assert too_large(source, pixels - 1)
        assert not too_large(source, pixels)
        monkeypatch.setattr(streaming, "LIMIT_BYTES", pixels - 1)
        assert too_large(source, 0)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, "disk"])
def test_what_stops_half_way_leaves_no_file_and_the_old_one(finished, scene, tmp_path, monkeypatch, error):
    model = with_values(finished, stream_above_pixels=1)
    out = tmp_path / "out"
    out.mkdir()
    (out / "scene.tif").write_bytes(b"old")
    full, place, name, last = error == "disk", model.predictor.runtime, "run", 9
    if full:  # while rows are written, not while tiles are computed
        place, name, last = streaming, "raw_values", 1
    work, calls = getattr(place, name), []

    def stopped(*given):
        calls.append(1)
        if len(calls) > last:
            raise OSError(28, "No space left on device") if full else error
        return work(*given)

    monkeypatch.setattr(place, name, stopped)
    with pytest.raises(ResourceError if full else error):
        predict(model, scene, out)
    assert [path.name for path in out.iterdir()] == ["scene.tif"]
    assert (out / "scene.tif").read_bytes() == b"old"


def test_a_file_damaged_half_way_is_refused_and_leaves_nothing(finished, scene, tmp_path):
    with tifffile.TiffFile(scene) as file:
        at = file.pages[0].dataoffsets[-2]
    data = bytearray(scene.read_bytes())
    data[at : at + 60] = bytes(60)
    scene.write_bytes(data)
    result = predict(with_values(finished, stream_above_pixels=1), scene, tmp_path / "out")
    assert "truncated or damaged" in result.refused[0].problem
    assert result.refused[0].where.endswith("scene.tif")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_wrong_channels_are_refused_before_any_work(finished, tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((40, 40, 3), np.uint8), photometric="rgb", tile=(16, 16))
    result = predict(with_values(finished, stream_above_pixels=1), path, tmp_path / "out")
    assert "expected 1 channel " in result.refused[0].problem
    assert "save it as a grey picture" in result.refused[0].cure


def test_what_has_to_be_resampled_is_said_and_predicted_whole(finished, scene, tmp_path):
    class Watcher(Quiet):
        def __init__(self):
            self.said = []

        def say(self, text):
            self.said.append(text)

    model, watcher = with_values(finished, stream_above_pixels=1), Watcher()
    preparation = model.plan.preparation.model_copy(update={"spacing_mm": (1.5, 1.5)})
    model.plan = model.plan.model_copy(update={"preparation": preparation})
    model.predictor.preparation = preparation
    result = predict(model, scene, tmp_path / "out", progress=watcher)
    assert not result.refused
    assert watcher.said == ["scene has to be resampled: it is predicted in memory as a whole"]


@pytest.mark.parametrize("suffix", [".npy", ".zarr"])
def test_arrays_come_back_as_they_came_on_both_roads(finished, scene, tmp_path, suffix):
    if suffix == ".zarr":
        pytest.importorskip("zarr", reason="zarr is not installed")
    source = tmp_path / f"scene{suffix}"
    pixels = tifffile.imread(scene)
    format_of(source).write(source, pixels, Grid.plain(2))
    streamed = with_values(finished, stream_above_pixels=1, pyramid_levels=2)
    rows = predict(streamed, source, tmp_path / "rows")
    whole = predict(with_values(finished, stream_above_pixels=10**9), source, tmp_path / "whole")
    picture = predict(with_values(finished, stream_above_pixels=10**9), scene, tmp_path / "picture")
    found = []
    for result in (rows, whole, picture):
        assert not result.refused
        path = result.written[0].path
        assert path.suffix == (suffix if result is not picture else ".tif")
        found.append(format_of(path).read_label(path)[0])
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])
    if suffix == ".zarr":
        assert {each.name for each in rows.written[0].path.iterdir()} == {"zarr.json", "0", "1", "2"}
        assert {each.name for each in whole.written[0].path.iterdir()} == {"zarr.json", "0"}


@pytest.mark.parametrize("above", [1, 10**9])
def test_levels_and_the_place_on_earth_are_written_on_both_roads(finished, scene, tmp_path, above):
    place = Georeference((0.5, 0.5, 0.0), (0.0,) * 6, (), (1, 1, 0, 1, 1024, 0, 1, 1))
    source = tmp_path / "earth.tif"
    tags = [(*tag, True) for tag in georeference_tags(place)]
    pixels = tifffile.imread(scene)
    tifffile.imwrite(source, pixels, photometric="minisblack", tile=(32, 32), extratags=tags)
    model = with_values(finished, stream_above_pixels=above)
    result = predict(model, source, tmp_path / "out", changes={"inference.pyramid_levels": "2"})
    path = result.written[0].path
    with tifffile.TiffFile(path) as file:
        levels = [level.asarray() for level in file.series[0].levels]
    labels, grid = format_of(path).read_label(path)
    assert grid.georeference == place
    assert len(levels) == 3
    assert all(np.array_equal(level, labels[:: 2**n, :: 2**n]) for n, level in enumerate(levels))


class Reddish:
    """A network of no weights: class 1 where there is more red than blue."""

    notes = ()

    def run(self, batch):
        return np.stack([batch[:, 2], batch[:, 0]], axis=1)


@pytest.mark.parametrize("name", ["scan.svs", "scan.ndpi", "scan.mrxs"])
def test_a_slide_becomes_a_tiled_label_file_with_its_spacing(tmp_path, slides, openslide, name):
    if not name.endswith("mrxs"):
        pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    y, x = np.mgrid[:90, :128]
    pixels = np.stack([2 * x, x + y, 2 * y], axis=-1).astype(np.uint8) // 32 * 32
    source = tmp_path / name
    if name.endswith("svs"):
        slides.write_svs(source, pixels, mpp="0.25")
    elif name.endswith("ndpi"):
        slides.write_ndpi(source, pixels, per_mm=4000)
    else:
        clear = np.dstack([pixels, np.where(x < 100, 255, 0).astype(np.uint8)])
        slides.write_stand_in(source, clear, mpp_x="0.25", mpp_y="0.25", background_color="ff0000")
    preparation = {"normalization": [{"scheme": "none"}] * 3}
    data = {**EXAMPLE["data"], "channels": COLOURS}
    inference = {**EXAMPLE["inference"], "stream_above_pixels": 1, "pyramid_levels": 2}
    tree = {**EXAMPLE, "data": data, "preparation": preparation, "inference": inference}
    plan = Plan.model_validate(tree)
    predictor = Predictor(Reddish(), plan.data, plan.preparation, plan.inference)
    result = predict(Model(tmp_path, plan, predictor, "cpu"), source, tmp_path / "out")
    assert not result.refused
    path = result.written[0].path
    assert path.name == "scan.tif"
    labels, grid = format_of(path).read_label(path)
    red, _, blue = format_of(source).read(source)[0].astype(int)
    assert np.array_equal(labels, 255 * (red > blue))
    assert result.written[0].pixels == {"defect": int((red > blue).sum())}
    assert 0.3 < (red > blue).mean() < 0.9
    assert grid.calibrated
    assert grid.spacing_mm == pytest.approx((0.00025, 0.00025))
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff
        assert file.pages[0].is_tiled
        assert [level.shape for level in file.series[0].levels] == [(90, 128), (45, 64), (23, 32)]
