"""Tiles and what puts them together; a network over the plane, against a loop over slices."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from unetkit.data.windows import open_source, prepare_source
from unetkit.errors import UsageError
from unetkit.inference.exact import Reach
from unetkit.inference.layout import layout, refuse_unfit
from unetkit.inference.predict import Predictor
from unetkit.records.case import Grid, Intensity, Sample
from unetkit.records.plan import DataPlan, InferencePlan, Normalization, PreparationPlan


class Weighed:
    """Two classes; every channel counts differently, and so does the row and the column of a tile."""

    notes = ()

    def __init__(self, *, local=False):
        self.shapes, self.local = [], local

    def run(self, batch):
        self.shapes.append(batch.shape)
        weights = np.arange(1, 1 + batch.shape[1], dtype=np.float32) / 8
        total = np.tensordot(batch, weights, (1, 0))
        if self.local:
            total = ndimage.uniform_filter(total, (0, 3, 3), mode="constant")
        return np.stack([0 * total, total - 1], axis=1).astype(np.float32)


def data(axis=0, context=1, channels=2):
    names = tuple(f"c{number}" for number in range(channels))
    return DataPlan(
        rank=3, channels=names, classes=("no", "yes"), label_values=(0, 1),
        slice_axis=axis, context_slices=context,
    )  # fmt: skip


def predictor(runtime, plan, **inference):
    preparation = PreparationPlan(normalization=(Normalization(scheme="none"),) * len(plan.channels))
    return Predictor(runtime, plan, preparation, InferencePlan(**{"tile_size": (8, 8), **inference}))


def volume(shape=(5, 9, 11), channels=2):
    pixels = np.random.default_rng(0).integers(0, 9, (channels, *shape)).astype(np.uint8)
    return Sample("v", pixels, Grid.plain(3), intensity=(Intensity(0, 9, 4.0, 0.5),) * channels)


def by_hand(sample, axis, context, run):
    """Slice after slice: each with its neighbours, the outermost repeated, through the network by itself."""
    ready = (sample.pixels.astype(np.float32) - 4) * 0.5
    length = ready.shape[1 + axis]
    answers = []
    for index in range(length):
        near = [min(max(place, 0), length - 1) for place in range(index - context, index + context + 1)]
        channels = [one.take(place, axis=axis) for one in ready for place in near]
        answers.append(run(np.stack(channels)[None])[0])
    return np.stack(answers, axis=1 + axis).astype(np.float64)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("context", "batch"), [(0, 1), (1, 3), (2, 2)])
@pytest.mark.parametrize("whole", [0, 1000])
def test_a_volume_is_answered_slice_by_slice(axis, context, batch, whole):
    sample, runtime = volume(), Weighed()
    road = predictor(runtime, data(axis, context), batch_size=batch, whole_image_pixels=whole)
    found = road.sample(sample, probabilities=True)
    odds = np.exp(by_hand(sample, axis, context, Weighed().run))
    np.testing.assert_allclose(found.probabilities, odds / odds.sum(0), atol=1e-5)
    assert found.labels.shape == sample.pixels.shape[1:]
    assert all(len(seen) == 4 and seen[1] == 2 * (1 + 2 * context) for seen in runtime.shapes)
    edge = max(max(seen[2:]) for seen in runtime.shapes)
    assert edge > 8 if whole else edge <= 8


@pytest.mark.parametrize("axis", [0, 2])
def test_exact_tiles_of_slices_give_the_answer_of_whole_slices(axis):
    sample = volume((3, 40, 37) if axis == 0 else (40, 37, 3))
    road = predictor(Weighed(local=True), data(axis), tile_size=(24, 24), mode="exact")
    wanted = by_hand(sample, axis, 1, Weighed(local=True).run)
    found = road.sample(sample, probabilities=True)
    odds = np.exp(wanted)
    np.testing.assert_allclose(found.probabilities, odds / odds.sum(0), atol=1e-5)
    assert np.array_equal(found.labels, wanted.argmax(axis=0))


def test_slices_are_mirrored_in_their_plane():
    class Sided(Weighed):
        def run(self, batch):
            ramp = np.linspace(-1, 1, batch.shape[3], dtype=np.float32)
            return super().run(batch) + np.stack([0 * ramp, ramp])[None, :, None]

    sample = volume()
    road = predictor(Sided(), data(), whole_image_pixels=1000, mirror_axes=(1,))
    plain = predictor(Weighed(), data(), whole_image_pixels=1000)
    wanted = plain.sample(sample, probabilities=True).probabilities
    mirrored = road.sample(sample, mirror=True, probabilities=True).probabilities
    np.testing.assert_allclose(mirrored, wanted, atol=1e-5)
    assert np.abs(road.sample(sample, probabilities=True).probabilities - wanted).max() > 0.05


def test_slices_without_a_pixel_near_them_are_not_computed():
    sample, runtime = volume((6, 8, 8), channels=1), Weighed()
    sample.pixels[:, :4] = 0
    road = predictor(runtime, data(channels=1), skip_tiles="empty")
    found = road.sample(sample)
    assert len(runtime.shapes) == 3  # the two with pixels, and the one that has them for a neighbour
    assert not found.labels[:3].any()
    everything = predictor(Weighed(), data(channels=1)).sample(sample)
    assert np.array_equal(found.labels[3:], everything.labels[3:])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_that_stays_in_its_file_is_answered_alike(axis, tmp_path):
    from unetkit.data.formats import format_of

    path, sample = tmp_path / "v.nii", volume((6, 20, 18), channels=1)
    format_of(path).write(path, sample.pixels[0], Grid((2.0, 1.0, 1.0), (0.0,) * 3, Grid.plain(3).direction))
    road = predictor(Weighed(), data(axis, 2, channels=1))
    wanted = road.file((path,), "v")
    with open_source((path,), road.data) as source:
        windowed = prepare_source(source, road.preparation, id="v")
        bands = []
        counts = road.stream(
            windowed, lambda rows: bands.extend(band.copy() for band in rows), folder=tmp_path
        )
    assert np.array_equal(np.concatenate(bands), wanted.labels)
    assert counts.tolist() == np.bincount(wanted.labels.ravel(), minlength=2).tolist()
    assert len({int(value) for value in counts}) == 2


def test_the_reach_is_asked_for_a_slice_and_each_slice_has_an_answer_of_its_own():
    asked = []

    def reach(whole):
        asked.append(whole)
        return (Reach(1, 2), Reach(1, 3))

    plan = InferencePlan(tile_size=(16, 16), mode="exact")
    boxes, _ = layout((30, 4, 32), data(axis=1), plan, reach=reach)
    assert asked == [(30, 32)]
    assert {box[1].stop - box[1].start for box in boxes} == {1}
    assert sorted({box[1].start for box in boxes}) == [0, 1, 2, 3]
    assert max(box[0].stop - box[0].start for box in boxes) <= 16


def test_what_does_not_fit_a_slice_is_refused():
    plan = data()
    with pytest.raises(UsageError, match=r"inference.tile_size is \[8, 8, 8\], a slice has 2 axes"):
        refuse_unfit(plan, InferencePlan(tile_size=(8, 8, 8)))
    with pytest.raises(UsageError, match=r"inference.mirror_axes is \[2\], a slice has 2 axes"):
        refuse_unfit(plan, InferencePlan(tile_size=(8, 8), mirror_axes=(2,)))
    with pytest.raises(UsageError, match=r"screen_factor is 4, but this network sees slice by slice"):
        refuse_unfit(plan, InferencePlan(tile_size=(8, 8), screen_factor=4))
    with pytest.raises(UsageError, match=r"data.slice_axis is 0, but the images have 2 axes"):
        predictor(Weighed(), plan.model_copy(update={"rank": 2}))
