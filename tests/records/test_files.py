"""A file is whole or not there; a full disk keeps the old one and says so."""

from __future__ import annotations

import subprocess
import sys

import pytest

from unetkit.errors import ResourceError
from unetkit.records.files import atomic, atomic_folder, sha256, sweep, write_bytes, write_text


def test_write_and_hash(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "abc")
    assert path.read_text() == "abc"
    assert sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert path.stat().st_mode & 0o777 in (0o644, 0o664, 0o600)


class BoomError(RuntimeError):
    """Something that goes wrong in the middle of a write."""


def test_a_write_that_fails_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")

    def half() -> None:
        with atomic(path) as file:
            file.write(b"half of the n")
            raise BoomError

    with pytest.raises(BoomError):
        half()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match=r"file/x: cannot write .* Do this: choose an output folder"):
        write_text(tmp_path / "file" / "x", "abc")


def test_full_disk_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    code = (
        "import resource, signal; from pathlib import Path\n"
        "from unetkit.records.files import write_bytes\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"write_bytes(Path({str(path)!r}), b'x' * 100_000)\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "no room left to write this file" in answer.stderr
    assert "what was saved before is intact" in answer.stderr
    assert path.read_bytes() == b"old"


def test_sweep_removes_what_a_kill_left(tmp_path):
    (tmp_path / ".part-a-123").write_text("half")
    (tmp_path / "a").write_text("whole")
    assert sweep(tmp_path) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_folder_appears_whole_and_takes_the_place_of_an_old_one(tmp_path):
    path = tmp_path / "new" / "folder"
    for content in ("one", "two"):
        with atomic_folder(path) as part:
            (part / content).write_text(content)
            assert not (path / content).exists()
        assert [each.read_text() for each in path.iterdir()] == [content]
        assert [each.name for each in path.parent.iterdir()] == ["folder"]
    assert path.stat().st_mode & 0o777 in (0o755, 0o775, 0o700)
    with atomic_folder(path) as part:
        (part / "inner" / "most").mkdir(parents=True)
        (part / "inner" / "most" / "three").write_text("three")
    assert [each.relative_to(path).as_posix() for each in path.rglob("*") if each.is_file()] == [
        "inner/most/three"
    ]


def test_a_folder_that_fails_leaves_the_old_one_and_no_rubbish(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").touch()

    def half() -> None:
        with atomic_folder(tmp_path / "folder") as part:
            (part / "half").touch()
            raise BoomError

    with pytest.raises(BoomError):
        half()
    assert [each.name for each in (tmp_path / "folder").iterdir()] == ["old"]
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]
    (tmp_path / "file").touch()
    with (
        pytest.raises(ResourceError, match="cannot write this file"),
        atomic_folder(tmp_path / "file" / "folder"),
    ):
        pass


def test_a_folder_with_folders_inside_appears_whole(tmp_path):
    for text in ("one", "two"):
        with atomic_folder(tmp_path / "m") as part:
            (part / "members" / "0").mkdir(parents=True)
            (part / "members" / "0" / "x").write_text(text)
            assert not (tmp_path / "m" / "members" / "0" / "x").exists() or text == "two"
        assert (tmp_path / "m" / "members" / "0" / "x").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
