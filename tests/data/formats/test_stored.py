"""Parts of plain arrays in files."""

import numpy as np
import pytest

from unetkit.data.formats.stored import StoredArray
from unetkit.errors import DataError

REGIONS = [((0, 2), (1, 4), (2, 5)), ((1, 2), (0, 5), (0, 7)), ((0, 2), (3, 3), (1, 1))]


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize(("order", "rows_axis"), [("<", 0), (">", 1), ("<", 2)])
def test_a_part_is_the_slice_of_the_whole(tmp_path, region, order, rows_axis):
    array = np.arange(70, dtype=np.dtype(f"{order}u2")).reshape(2, 5, 7)
    path = tmp_path / "a.raw"
    path.write_bytes(b"head." + array.tobytes())
    stored = StoredArray(path, offset=5, shape=array.shape, dtype=array.dtype, rows_axis=rows_axis)
    found = stored.read(region)
    assert found.dtype == np.uint16
    assert found.dtype.isnative
    assert np.array_equal(found, array[tuple(slice(a, b) for a, b in region)])


def test_a_file_that_was_cut_meanwhile_is_refused_by_its_rows(tmp_path):
    path = tmp_path / "a.raw"
    path.write_bytes(bytes(20))
    stored = StoredArray(path, offset=0, shape=(4, 7), dtype=np.dtype(np.uint8), rows_axis=0)
    assert stored.read(((0, 2), (0, 7))).shape == (2, 7)
    with pytest.raises(DataError, match=r"a\.raw: this file is truncated: it ends before the rows 1 to 4"):
        stored.read(((1, 4), (0, 7)))
    path.unlink()
    with pytest.raises(DataError, match=r"a\.raw: this file cannot be read any more"):
        stored.read(((0, 1), (0, 7)))
