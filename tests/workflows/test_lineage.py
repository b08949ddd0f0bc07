"""What a version has learned, and where it is from."""

from __future__ import annotations

import hashlib

from unetkit.records.files import write_text
from unetkit.records.registered import NOTE, NoteFile, version_folder
from unetkit.records.run import Run
from unetkit.records.split import SplitFile
from unetkit.workflows.lineage import (
    SHOWN,
    data_digest,
    digest_of,
    has_learned,
    known_images,
    learned_images,
    parent_of,
)


def hashes(*names):
    return {name: hashlib.sha256(name.encode()).hexdigest() for name in names}


def run_of(folder, *train):
    """A run that was trained on some images and kept one for measuring."""
    file = SplitFile(
        source="s", train=train, held_out=("kept",), how="", digests=hashes(*train, "kept"), label_digests={}
    )
    write_text(Run(folder).split, file.to_json())
    return Run(folder)


def test_what_the_version_it_started_from_has_learned_counts_too(tmp_path):
    first = learned_images(run_of(tmp_path / "a", "x", "y"), tmp_path, None)
    assert set(first) == {digest[:SHOWN] for digest in hashes("x", "y").values()}
    note = NoteFile(number=1, after="", learned=first)
    write_text(version_folder(tmp_path, 1) / NOTE, note.to_json())
    second = learned_images(run_of(tmp_path / "b", "z"), tmp_path, 1)
    assert set(second) == {digest[:SHOWN] for digest in hashes("x", "y", "z").values()}
    assert has_learned(version_folder(tmp_path, 1), hashes("q", "x"))
    assert not has_learned(version_folder(tmp_path, 1), hashes("q", "kept"))
    assert learned_images(Run(tmp_path / "none"), tmp_path, None) == ()
    assert known_images(tmp_path / "none") == frozenset()


def test_a_note_of_before_says_nothing(tmp_path):
    write_text(tmp_path / NOTE, '{"version": 1, "number": 1, "after": ""}')
    assert known_images(tmp_path) == frozenset()


def test_the_hash_of_the_data_changes_with_any_of_it_and_not_with_its_order(tmp_path):
    one, other = run_of(tmp_path / "a", "x", "y"), run_of(tmp_path / "b", "y", "x")
    assert data_digest(one) == data_digest(other) != data_digest(run_of(tmp_path / "c", "x"))
    assert data_digest(Run(tmp_path / "none")) == ""
    assert digest_of({}) != digest_of({"a": ""})
    assert parent_of(Run(tmp_path / "none"), ()) is None
