"""Where a version is from."""

from __future__ import annotations

import hashlib

from unetkit.records.files import write_text
from unetkit.records.run import Run
from unetkit.records.split import SplitFile
from unetkit.workflows.lineage import data_digest, digest_of, parent_of


def hashes(*names):
    return {name: hashlib.sha256(name.encode()).hexdigest() for name in names}


def run_of(folder, *train):
    """A run that was trained on some images and kept one for measuring."""
    file = SplitFile(
        source="s", train=train, held_out=("kept",), how="", digests=hashes(*train, "kept"), label_digests={}
    )
    write_text(Run(folder).split, file.to_json())
    return Run(folder)


def test_the_hash_of_the_data_changes_with_any_of_it_and_not_with_its_order(tmp_path):
    one, other = run_of(tmp_path / "a", "x", "y"), run_of(tmp_path / "b", "y", "x")
    assert data_digest(one) == data_digest(other) != data_digest(run_of(tmp_path / "c", "x"))
    assert data_digest(Run(tmp_path / "none")) == ""
    assert digest_of({}) != digest_of({"a": ""})
    assert parent_of(Run(tmp_path / "none"), ()) is None
