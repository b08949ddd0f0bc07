from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unetkit.data.formats.checks import file_bytes, refuse_claim, smallest_unsigned, whole_numbers
from unetkit.errors import DataError

HERE = Path("a.nii")


def test_whole_floats_are_cast_and_others_refused():
    assert whole_numbers(HERE, np.array([0.0, 3.0], np.float32)).tolist() == [0, 3]
    with pytest.raises(DataError, match=r"a\.nii: float labels: expected whole numbers, got 0\.5 \(1 such"):
        whole_numbers(HERE, np.array([0.0, 0.5]))
    with pytest.raises(DataError, match="got nan"):
        whole_numbers(HERE, np.array([np.nan]))


def test_booleans_become_numbers():
    assert whole_numbers(HERE, np.array([True, False])).dtype == np.uint8


def test_complex_labels_are_refused():
    with pytest.raises(DataError, match="complex128 has no class ids"):
        whole_numbers(HERE, np.zeros(2, complex))


@pytest.mark.parametrize(
    ("high", "dtype"), [(0, "uint8"), (255, "uint8"), (256, "uint16"), (65535, "uint16")]
)
def test_the_smallest_type_that_holds_the_labels(high, dtype):
    assert smallest_unsigned(np.array([0, high]), HERE).dtype == dtype


@pytest.mark.parametrize("labels", [np.array([-1]), np.array([65536]), np.array([0.5])])
def test_labels_that_fit_no_type_are_refused(labels):
    with pytest.raises(DataError, match="labels must be whole numbers from 0 to 65535"):
        smallest_unsigned(labels, HERE)


def test_a_claim_is_compared_with_the_file_and_the_limit():
    refuse_claim(HERE, 10, held=10, limit=10)
    with pytest.raises(DataError, match="truncated: its header claims 11 bytes, it can hold at most 10"):
        refuse_claim(HERE, 11, held=10)
    with pytest.raises(DataError, match="would unpack to 11 bytes, the limit is 10"):
        refuse_claim(HERE, 11, limit=10)


def test_a_missing_an_empty_and_a_folder(tmp_path):
    with pytest.raises(DataError, match=r"none\.png: this file cannot be read \(No such file"):
        file_bytes(tmp_path / "none.png")
    with pytest.raises(DataError, match="expected a file, got a folder"):
        file_bytes(tmp_path)
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"empty \(0 bytes\)"):
        file_bytes(tmp_path / "empty.png")
