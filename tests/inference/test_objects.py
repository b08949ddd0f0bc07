"""Objects cleaned band by band are those cleaned in the whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays

from unetkit.inference.cleanup import cleaned
from unetkit.inference.objects import cleaned_rows

SHAPES = some.sampled_from([(9, 7), (12, 1), (1, 5), (6, 4, 3)])
LABELS = SHAPES.flatmap(lambda shape: arrays(np.uint8, shape, elements=some.integers(0, 2)))


@settings(max_examples=150, deadline=None)
@given(
    LABELS,
    some.sets(some.integers(1, 11)),
    some.tuples(some.integers(0, 9), some.integers(0, 9)),
    some.tuples(some.booleans(), some.booleans()),
)
def test_bands_cleaned_equal_the_whole_cleaned(tmp_path_factory, labels, cuts, minimum, largest):
    bands = np.split(labels, sorted(cut for cut in cuts if cut < len(labels)))
    found = list(cleaned_rows(bands, minimum, tmp_path_factory.getbasetemp(), largest_only=largest))
    assert [len(band) for band in found] == [len(band) for band in bands]
    assert np.array_equal(np.concatenate(found), cleaned(labels, minimum, largest))


def test_a_snake_through_every_band_is_one_object(tmp_path):
    labels = np.zeros((40, 9), np.uint16)
    for row in range(0, 40, 2):
        labels[row] = 1
        labels[row + 1, 0 if row % 4 else 8] = 1
    labels[5, 3:5] = 0
    size = int(labels.sum())
    for least in (size, size + 1):
        found = np.concatenate(list(cleaned_rows(np.split(labels, 40), (least,), tmp_path)))
        assert found.dtype == np.uint16
        assert np.array_equal(found, cleaned(labels, (least,)))
        assert found.any() == (least == size)


def test_nothing_to_clean_passes_and_no_file_is_left(tmp_path):
    band = np.ones((2, 2), np.uint8)
    assert next(cleaned_rows([band], (1, 0), tmp_path)) is band

    def broken():
        yield band
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        list(cleaned_rows(broken(), (2,), tmp_path))
    assert list(tmp_path.iterdir()) == []
