"""Places to centre patches on: all of them when few, a bounded share when many, the same every time."""

from __future__ import annotations

import numpy as np
import pytest

from unetkit.data import foreground as room
from unetkit.data.foreground import foreground


@pytest.mark.parametrize("chunk", [7, 1 << 22])
@pytest.mark.parametrize("shape", [(20, 30), (8, 9, 10)])
def test_few_places_are_all_kept_whatever_the_chunk(shape, chunk, monkeypatch):
    monkeypatch.setattr(room, "_CHUNK", chunk)
    rng = np.random.default_rng(0)
    label, known = rng.integers(0, 4, shape).astype(np.uint8), rng.random(shape) < 0.7
    found = foreground(label, known)
    assert sorted(found) == [1, 2, 3]
    for value, places in found.items():
        assert np.array_equal(places, np.flatnonzero((label == value) & known))


def test_many_places_are_thinned_evenly_and_always_alike(monkeypatch):
    label = np.ones((100, 100), np.uint8)
    label[0] = 0
    first = foreground(label, None, least=2000)[1]
    monkeypatch.setattr(room, "_CHUNK", 333)
    again = foreground(label, None, least=2000)[1]
    assert np.array_equal(first, again)
    assert len(first) == 2000
    assert len(np.unique(first)) == 2000
    assert (np.diff(first) > 0).all()
    # Even over the 9900 places: the mean of 2000 of them strays by 57 (one standard deviation).
    assert first.mean() == pytest.approx(5049.5, abs=4 * 57)


def test_never_under_one_percent_and_never_over_the_cap():
    label = np.ones((300, 200), np.uint8)
    assert len(foreground(label, None, least=10)[1]) == 600
    assert len(foreground(label, None, least=10, most=500)[1]) == 500


def test_no_class_no_places():
    assert foreground(np.zeros((4, 4), np.uint8), None) == {}
    assert foreground(np.ones((2, 2), np.uint8), np.zeros((2, 2), bool)) == {}
