"""One cached sample: what is stored comes back, a whole entry stays, a damaged one makes way."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from unetkit.data import entries
from unetkit.data.entries import load_entry, store_entry, sweep_parts
from unetkit.errors import ResourceError
from unetkit.records.case import Grid, Intensity, Placement, Sample

GRID = Grid((2.5, 0.1), (1e-3, -7.0), ((0.6, 0.8), (-0.8, 0.6)))


def sample(value=7):
    return Sample(
        "a",
        np.full((2, 3, 4), value, np.int16),
        GRID,
        np.arange(12, dtype=np.uint8).reshape(3, 4) % 3,
        np.arange(12).reshape(3, 4) > 1,
        Placement((9, 9), GRID, ((1, 4), (2, 6))),
        {1: np.array([1, 4]), 2: np.array([2, 5, 8])},
        (Intensity(-math.inf, math.inf, 0.1, 1 / 3), Intensity(-5.0, 9.0, 0.0, 1.0, masked=True)),
    )


def test_everything_comes_back_to_the_last_digit(tmp_path):
    store_entry(tmp_path / "e", sample())
    got, want = load_entry(tmp_path / "e", "b"), sample()
    assert got is not None
    assert got.id == "b"
    assert (got.grid, got.placement, got.intensity) == (want.grid, want.placement, want.intensity)
    for name in ("pixels", "label", "known"):
        assert np.array_equal(getattr(got, name), getattr(want, name))
        assert getattr(got, name).dtype == getattr(want, name).dtype
    assert {key: list(value) for key, value in got.foreground.items()} == {1: [1, 4], 2: [2, 5, 8]}
    assert list(tmp_path.iterdir()) == [tmp_path / "e"]


def test_a_whole_entry_stays_and_a_damaged_one_makes_way(tmp_path):
    store_entry(tmp_path / "e", sample(1))
    store_entry(tmp_path / "e", sample(2))
    kept = load_entry(tmp_path / "e", "a")
    assert kept is not None
    assert (kept.pixels == 1).all()
    os.truncate(tmp_path / "e" / "pixels.npy", 10)
    assert load_entry(tmp_path / "e", "a") is None
    store_entry(tmp_path / "e", sample(3))
    made = load_entry(tmp_path / "e", "a")
    assert made is not None
    assert (made.pixels == 3).all()
    assert list(tmp_path.iterdir()) == [tmp_path / "e"]


def test_a_record_with_an_unknown_key_is_not_used(tmp_path):
    store_entry(tmp_path / "e", sample())
    record = json.loads((tmp_path / "e" / "sample.json").read_text())
    (tmp_path / "e" / "sample.json").write_text(json.dumps({**record, "surprise": 1}))
    assert load_entry(tmp_path / "e", "a") is None
    assert load_entry(tmp_path / "absent", "a") is None


def test_a_folder_that_is_gone_is_explained(tmp_path):
    with pytest.raises(ResourceError, match="cannot write this file") as wrong:
        store_entry(tmp_path / "gone" / "e", sample())
    assert "choose an output folder that you may write to" in str(wrong.value)


def test_only_old_leftovers_are_swept(tmp_path, monkeypatch):
    (tmp_path / ".part-x").mkdir()
    (tmp_path / ".part-x" / "pixels.npy").write_bytes(b"half")
    store_entry(tmp_path / "e", sample())
    sweep_parts(tmp_path)
    assert (tmp_path / ".part-x").exists()
    monkeypatch.setattr(entries, "_STALE_SECONDS", -1.0)
    sweep_parts(tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "e"]


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is a POSIX signal")
@pytest.mark.parametrize("after", [1, 2, 3, 4, 5])
def test_a_process_killed_at_any_write_leaves_no_entry(tmp_path, after):
    """The writer kills itself with SIGKILL at its ``after``-th fsync."""
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import test_entries
from unetkit.data import entries
count, real = 0, os.fsync
def fsync(handle):
    global count
    count += 1
    if count == {after}:
        os.kill(os.getpid(), signal.SIGKILL)
    real(handle)
entries.os.fsync = fsync
entries.store_entry(Path({str(tmp_path)!r}) / "e", test_entries.sample())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert load_entry(tmp_path / "e", "a") is None
    store_entry(tmp_path / "e", sample())
    assert load_entry(tmp_path / "e", "a") is not None
