"""What counts as refused, as harmless and as a crash; and that the damage is the seed's alone."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from unetkit.errors import DataError, UsageError


@pytest.fixture
def bench(script):
    return script("medicine/corrupted.py")


@pytest.fixture
def specimen(bench, tmp_path):
    (tmp_path / "png").mkdir()
    Image.fromarray(np.arange(99, dtype=np.uint8).reshape(9, 11)).save(tmp_path / "png" / "a.png")
    return bench.Specimen("png", "PNG", "a.png", ("a.png",))


def came(bench, specimen, folder, data):
    path = folder / specimen.name / "a.png"
    whole = path.read_bytes()
    expected, _ = bench.read(specimen, path.parent, folder)
    path.write_bytes(whole if data is None else data)
    damage = bench.Damage(specimen, "a.png", bench.TRUNCATED, data)
    found = bench.outcome(damage, path.parent, folder, expected)
    path.write_bytes(whole)
    return found


def test_what_comes_of_a_file_is_told_apart(bench, specimen, tmp_path, monkeypatch):
    whole = (tmp_path / "png" / "a.png").read_bytes()
    assert came(bench, specimen, tmp_path, whole) == (bench.SAME, "")
    assert came(bench, specimen, tmp_path, whole + b"more")[0] == bench.SAME
    assert came(bench, specimen, tmp_path, whole[:-5])[0] == bench.REFUSED
    other = tmp_path / "other.png"
    Image.fromarray(np.zeros((9, 11), np.uint8)).save(other)
    assert came(bench, specimen, tmp_path, other.read_bytes())[0] == bench.OTHER
    real, errors = bench.read, [DataError("x", cure="y"), UsageError("x", cure="y"), KeyError("x")]

    def read(given, folder, out):
        answer = real(given, folder, out)
        if len(asked) % 2:
            asked.append(1)
            raise errors[len(asked) // 2 - 1]
        asked.append(1)
        return answer

    asked: list[int] = []
    monkeypatch.setattr(bench, "read", read)
    outcomes = [came(bench, specimen, tmp_path, None)[0] for _ in errors]
    assert outcomes == [bench.UNNAMED, bench.UNNAMED, bench.CRASH]


def test_cuts_go_to_the_ends_and_between_the_parts(bench, specimen, tmp_path):
    data = (tmp_path / "png" / "a.png").read_bytes()
    first, again = (list(bench.cuts({"a.png": data}, random.Random(3))) for _ in range(2))
    assert first == again
    lengths = {length for length, _ in first}
    assert {0, 1, len(data) - 1, len(data) - 12} <= lengths  # its last chunk begins 12 bytes before the end
    assert max(lengths) < len(data)


def test_a_tiffs_header_is_what_is_no_pixel(bench, tmp_path):
    import tifffile

    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.full((8, 8), 77, np.uint8), photometric="minisblack")
    data = path.read_bytes()
    head = set(bench.header_bytes("a.tif", data))
    assert len(head) == len(data) - 64
    assert all(data[at] == 77 for at in range(len(data)) if at not in head)
    assert len(bench.header_bytes("a.nii", bytes(500))) == 352


def test_outcomes_are_counted_and_shown(bench, script):
    rows = [{"kind": "PNG", "sort": bench.TRUNCATED, "came": word} for word in ("refused", "refused", "same")]
    counts = bench.table([*rows, {"kind": "PNG", "sort": bench.BOMB, "came": "crash"}])
    assert counts == {"PNG": {"truncated": {"refused": 2, "same": 1}, "bomb": {"crash": 1}}}
    lines = script("medicine/results.py").damaged({"formats": counts})
    assert "| PNG | 2/1/0/0/0 | 0/0/0/0/0 | 0/0/0/0/0 | 0/0/0/0/1 |" in lines
    assert script("medicine/results.py").damaged({}) == []
