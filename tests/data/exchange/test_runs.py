from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unetkit.data.exchange.runs import unpack_counts, unpack_runs
from unetkit.errors import DataError

HERE = Path("a.json")


def packed(counts):
    """COCO's string, written from the description of the format: 5 bits a letter, the sixth says "more"."""
    text = ""
    for number, count in enumerate(counts):
        value = count - counts[number - 2] if number > 2 else count
        while True:
            code, value = value & 31, value >> 5
            done = value == (-1 if code & 16 else 0)
            text += chr(48 + (code if done else code | 32))
            if done:
                break
    return text


def runs(flat):
    """Counts of a mask, zeros first."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat.astype(int), [2]])))
    return np.diff(np.concatenate([[0], edges])).tolist()


def test_a_string_of_cocos_own():
    # from the documentation of cocoapi: M=[0 0 1 1 1 0 1] has the counts [2 3 1 1]
    assert unpack_counts("231N", where=HERE) == [2, 3, 1, 1]
    assert unpack_counts("", where=HERE) == []


@pytest.mark.parametrize("order", ["rows", "columns"])
def test_any_mask_comes_back(order):
    random = np.random.default_rng(0)
    for shape in ((7, 9), (1, 40), (50, 3)):
        for share in (0.02, 0.5, 1.0, 0.0):
            mask = random.random(shape) < share
            counts = runs(mask.ravel() if order == "rows" else mask.T.ravel())
            assert unpack_counts(packed(counts), where=HERE) == counts
            np.testing.assert_array_equal(unpack_runs(counts, shape, order=order, where=HERE), mask)


def test_counts_may_end_early_but_never_late():
    assert unpack_runs([2, 1], (2, 3), order="rows", where=HERE).astype(int).tolist() == [
        [0, 0, 1],
        [0, 0, 0],
    ]
    for counts in ([2, 5], [-1, 2], [1.0, 2], ["1"], [True], [2**70]):
        with pytest.raises(DataError, match=r"a\.json: the run lengths of a mask do not fit its size"):
            unpack_runs(counts, (2, 3), order="rows", where=HERE)


def test_a_claim_meets_our_limit():
    with pytest.raises(DataError, match="would unpack to"):
        unpack_runs([], (10**6, 10**6), order="rows", where=HERE)


@pytest.mark.parametrize("text", ["o", "2é", " 1", "o" * 99, "ooooooooooooooo0"])
def test_what_is_no_string_of_counts_is_refused(text):
    with pytest.raises(DataError, match="run lengths"):
        unpack_counts(text, where=HERE)
