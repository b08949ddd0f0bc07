"""What is generated is read back as one image of the model's kind, and is the same every time."""

from __future__ import annotations

import numpy as np
import pytest

from unetkit.data.labels import COLOURS, read_pixels
from unetkit.data.prepare import prepare_pixels
from unetkit.data.windows import open_source
from unetkit.records.case import Case
from unetkit.records.plan import EXAMPLE, Normalization, Plan, PreparationPlan
from unetkit.workflows import bench_image
from unetkit.workflows.bench_image import suffix_for, write_image
from unetkit.workflows.predict import find_inputs


def a_plan(rank=2, channels=("image",), pixels="uint8", rule=None, spacing=()):
    plan = Plan.model_validate(EXAMPLE)
    data = plan.data.model_copy(update={"rank": rank, "channels": channels, "pixels": pixels})
    rules = (rule or Normalization(scheme="zscore"),) * len(channels)
    preparation = PreparationPlan(normalization=rules, spacing_mm=spacing)
    return plan.model_copy(update={"data": data, "preparation": preparation})


def read(plan, source, tmp_path):
    (one,) = find_inputs(source, tmp_path / "out", channels=plan.data.channels, rank=plan.data.rank)
    pixels, grid = read_pixels(Case.unlabelled(one.id, one.paths), plan.data)
    return one.paths, pixels, grid


PICTURES = [
    (("image",), "uint8", ["image.png"]),
    (COLOURS, "uint8", ["image.png"]),
    (("a", "b"), "uint8", ["image_0000.png", "image_0001.png"]),
    (("image",), "uint16", ["image.tif"]),
    (("image",), "int16", ["image.tif"]),
    (("image",), "float32", ["image.tif"]),
    (COLOURS, "uint16", ["red.tif", "green.tif", "blue.tif"]),
    (("a", "b", "c", "d"), "float32", [f"image_000{channel}.tif" for channel in range(4)]),
]


@pytest.mark.parametrize(("channels", "pixels", "names"), PICTURES)
def test_a_picture_is_of_the_models_channels_and_type(channels, pixels, names, tmp_path):
    plan, folder = a_plan(channels=channels, pixels=pixels), tmp_path / "in"
    folder.mkdir()
    paths, found, grid = read(plan, write_image(folder, plan, (21, 34)), tmp_path)
    assert [path.name for path in paths] == names
    assert found.shape == (len(channels), 21, 34)
    assert found.dtype == np.dtype(pixels)
    assert not grid.calibrated
    assert found.std() == pytest.approx(12, rel=0.1)
    assert found.mean() == pytest.approx(128, abs=2)
    again = tmp_path / "again"
    again.mkdir()
    assert np.array_equal(read(plan, write_image(again, plan, (21, 34)), tmp_path)[1], found)


@pytest.mark.parametrize(("channels", "pixels"), [(("CT",), "int16"), (("T1", "T2"), "float32")])
def test_a_volume_lies_in_the_plans_spacing_so_that_nothing_is_resampled(channels, pixels, tmp_path):
    plan = a_plan(3, channels, pixels, spacing=(2.5, 0.0, 0.7))
    folder = tmp_path / "in"
    folder.mkdir()
    paths, found, grid = read(plan, write_image(folder, plan, (4, 9, 7)), tmp_path)
    assert [path.name for path in paths] == ["image.nii.gz"]
    assert (found.shape, found.dtype) == ((len(channels), 4, 9, 7), np.dtype(pixels))
    assert grid.spacing_mm == pytest.approx((2.5, 1.0, 0.7))
    assert prepare_pixels(found, grid, plan.preparation, id="x").pixels.shape == found.shape


def test_a_large_picture_can_be_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_image, "PNG_PIXELS", 1000)
    monkeypatch.setattr(bench_image, "_BAND", 16)
    plan = a_plan()
    assert suffix_for(plan, (20, 50)) == ".png"
    assert suffix_for(plan, (20, 51)) == ".tif"
    source = write_image(tmp_path, plan, (70, 40))
    with open_source((source,), plan.data) as opened:
        assert opened is not None
        assert opened.shape == (70, 40)
        assert np.array_equal(opened.read(((0, 70), (0, 40))), read(plan, source, tmp_path / "o")[1])


@pytest.mark.parametrize(
    ("rule", "pixels", "mean", "spread"),
    [
        (Normalization(scheme="ct", mean=-300.0, std=40.0), "int16", -300, 40),
        (Normalization(scheme="zero_one", low=0.0, high=65535.0), "uint16", 32768, 6554),
        (Normalization(scheme="none"), "uint8", 128, 12),
    ],
)
def test_values_are_such_as_the_normalisation_was_made_for(rule, pixels, mean, spread, tmp_path):
    plan = a_plan(pixels=pixels, rule=rule)
    _, found, _ = read(plan, write_image(tmp_path, plan, (64, 64)), tmp_path / "o")
    assert found.mean() == pytest.approx(mean, rel=0.05)
    assert found.std() == pytest.approx(spread, rel=0.05)


def test_values_end_where_the_type_does(tmp_path):
    plan = a_plan(rule=Normalization(scheme="ct", mean=250.0, std=40.0))
    _, found, _ = read(plan, write_image(tmp_path, plan, (64, 64)), tmp_path / "o")
    assert found.max() == 255
    assert (found == 255).mean() == pytest.approx(0.45, abs=0.05)
