"""A volume slice by slice, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from unetkit.errors import UsageError
from unetkit.records.case import Grid, Intensity, Sample
from unetkit.records.data import DataPlan
from unetkit.spatial.slices import Slices


def data(rank=3, **changes):
    return DataPlan(rank=rank, channels=("a", "b"), classes=("no", "yes"), label_values=(0, 1), **changes)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("context", [0, 1, 3])
def test_a_stack_is_every_channel_of_every_neighbour(axis, context):
    volume = np.random.default_rng(0).standard_normal((2, 4, 5, 6))
    slices = Slices(axis, context)
    for index in range(volume.shape[1 + axis]):
        wanted = []
        for channel in volume:
            for place in range(index - context, index + context + 1):
                inside = min(max(place, 0), volume.shape[1 + axis] - 1)  # the outermost slices repeat
                wanted.append(channel.take(inside, axis=axis))
        assert np.array_equal(slices.stack(volume, index), np.stack(wanted))
        assert slices.count * 2 == len(wanted)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_what_is_read_of_a_volume_shows_the_same_stack(axis):
    volume = np.random.default_rng(0).standard_normal((1, 4, 5, 6))
    slices, length = Slices(axis, 2), volume.shape[1 + axis]
    for index in range(length):
        box = tuple(slice(index, index + 1) if a == axis else slice(1, 3) for a in range(3))
        seen = slices.seen(box, length)
        part = volume[(slice(None), *seen)]
        got = slices.stack(part, box[axis].start - seen[axis].start)
        assert np.array_equal(got, slices.stack(volume, index)[:, 1:3, 1:3])
        assert seen[axis].stop - seen[axis].start == min(index + 3, length) - max(index - 2, 0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_picture_is_normalised_and_takes_its_label_with_it(axis):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 3, (2, 4, 5, 6)).astype(np.uint8)
    label, known = random.integers(0, 2, (4, 5, 6)).astype(np.uint8), random.random((4, 5, 6)) < 0.5
    rules = (Intensity(0, 9, 1.0, 2.0, masked=True), Intensity(0, 9, 0.5, 1.0, masked=True))
    grid = Grid((3.0, 2.0, 1.0), (0.0,) * 3, Grid.plain(3).direction)
    more = {"intensity": rules, "readers": label * 2, "reader_count": 2}
    sample = Sample("x", pixels, grid, label, known, **more)
    ready = np.stack([(pixels[0] - 1.0) * 2, pixels[1] - 0.5])
    ready[:, ~pixels.any(axis=0)] = 0  # empty in every channel of its own slice, whatever the neighbours hold
    slices = Slices(axis, 1)
    for index in range(pixels.shape[1 + axis]):
        found = slices.picture(sample, index)
        np.testing.assert_allclose(found.pixels, slices.stack(ready, index))
        assert np.array_equal(found.label, label.take(index, axis=axis))
        assert np.array_equal(found.known, known.take(index, axis=axis))
        assert np.array_equal(found.readers, 2 * found.label)
        assert found.reader_count == 2
        assert found.grid.spacing_mm == slices.in_plane((3.0, 2.0, 1.0))
        assert (found.id, found.intensity, found.grid.placed) == ("x", (), False)
    bare = Slices(axis).picture(Sample("x", pixels, grid), 0)
    assert (bare.label, bare.known) == (None, None)


def test_sizes_in_the_plane_and_in_the_volume():
    assert [Slices(axis).in_volume((7, 8)) for axis in range(3)] == [(1, 7, 8), (7, 1, 8), (7, 8, 1)]
    assert [Slices(axis).in_plane((6, 7, 8)) for axis in range(3)] == [(7, 8), (6, 8), (6, 7)]


def test_only_volumes_have_slices():
    assert Slices.of(data()) is None
    assert Slices.of(data(slice_axis=2, context_slices=1)) == Slices(2, 1)
    with pytest.raises(UsageError, match=r"data.slice_axis is 0, but the images have 2 axes and no slices"):
        Slices.of(data(2, slice_axis=0))
    with pytest.raises(UsageError, match=r"data.context_slices is 2, but .* set data.slice_axis to the axis"):
        Slices.of(data(context_slices=2))
    with pytest.raises(UsageError, match=r"data\.slice_axis and data\.cascade=full contradict one another"):
        Slices.of(data(slice_axis=0, cascade="full"))
