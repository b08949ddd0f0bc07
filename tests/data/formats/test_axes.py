"""Which axis is which, and parts with the channels first."""

from pathlib import Path

import numpy as np
import pytest

from unetkit.data.formats import Header
from unetkit.data.formats.axes import (
    ArrayWindows,
    channels_first,
    channels_of,
    label_axes,
    nameless_axes,
    space_of,
)
from unetkit.errors import DataError
from unetkit.records.case import Grid

PATH = Path("a.npy")


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((9, 8), "YX"),
        ((4, 9, 8), "CYX"),
        ((9, 8, 3), "YXC"),
        ((5, 9, 8), "ZYX"),
        ((2, 5, 9, 8), "CZYX"),
        ((5, 9, 8, 1), "ZYXC"),
    ],
)
def test_a_short_axis_at_either_end_is_that_of_channels(shape, axes):
    found, note = nameless_axes(shape, PATH)
    assert found == axes
    assert bool(note) == (len(shape) > 2)
    array = np.arange(np.prod(shape)).reshape(shape)
    first = channels_first(array, axes)
    assert first.shape == (channels_of(axes, shape), *space_of(axes, shape))
    assert first[-1].sum() == (array if "C" not in axes else array.take(-1, axes.index("C"))).sum()


@pytest.mark.parametrize("shape", [(9,), (5, 6, 7, 8), (1, 1, 5, 6, 7)])
def test_other_arrays_are_refused(shape):
    with pytest.raises(DataError, match=r"a\.npy: an array of shape .* is neither a picture nor a volume"):
        nameless_axes(shape, PATH)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((9, 8), "YX"), ((3, 9, 8), "ZYX"), ((9, 8, 3), "ZYX"), ((1, 9, 8), "CYX"), ((9, 8, 1), "YXC")],
)
def test_a_label_has_no_channels(shape, axes):
    assert label_axes(shape, PATH) == axes


def test_a_part_is_asked_for_in_the_stored_order():
    stored = np.random.default_rng(0).integers(0, 9, (1, 6, 7, 2), dtype=np.uint8)
    asked = []

    def read(spans):
        asked.append(spans)
        return stored[tuple(slice(*span) for span in spans)]

    windows = ArrayWindows(Header(2, (6, 7), "uint8", Grid.plain(2)), ".YXC", read)
    found = windows.read(((1, 4), (2, 7)))
    assert asked == [((0, 1), (1, 4), (2, 7), (0, 2))]
    assert np.array_equal(found, stored[0, 1:4, 2:7].transpose(2, 0, 1))
    assert found.flags.c_contiguous
