"""A model says what it has seen wherever it goes, by hashes alone."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from unetkit.data.facts import digest_of
from unetkit.records.case import Case
from unetkit.records.files import write_text
from unetkit.records.run import Run
from unetkit.records.seen import SEEN, SeenFile
from unetkit.records.split import SplitFile
from unetkit.workflows.seen import copy_seen, note_seen, read_seen, relation
from unetkit.workflows.starting import Start
from unetkit.workflows.teaching import Teacher, TeachersFile


def hashed(*letters):
    return {letter: letter * 64 for letter in letters}


@pytest.fixture
def run(tmp_path):
    """A run that was trained on a and b, and held c out."""
    made = Run(tmp_path / "run")
    file = SplitFile(source="s", train=("a", "b"), held_out=("c",), how="h", digests=hashed(*"abc"))
    write_text(made.split, file.to_json())
    note_seen(made)
    return made


def test_it_holds_hashes_and_no_name(run):
    seen = read_seen(run.model)
    assert seen == SeenFile(trained_on=("a" * 64, "b" * 64), held_out=("c" * 64,))
    assert "source" not in (run.model / SEEN).read_text()


def test_it_goes_where_the_model_goes(run, tmp_path):
    alone = shutil.copytree(run.model, tmp_path / "alone")
    (tmp_path / "exported").mkdir()
    copy_seen(run.model, tmp_path / "exported")
    for place in (run.model, alone, tmp_path / "exported"):
        assert relation(place, hashed("a")) == relation(place, hashed("a", "c", "x")) == "training"
        assert relation(place, hashed("c")) == "held-out"
        assert relation(place, hashed("c", "x")) == "unknown"
    assert relation(tmp_path, hashed("a")) == "unknown"


def test_an_ensemble_has_seen_what_any_member_has_seen(tmp_path):
    for number, (train, held_out) in enumerate((("ab", "c"), ("ac", "b"))):
        part = Run(tmp_path / f"fold-{number}")
        file = SplitFile(source="s", train=tuple(train), held_out=(held_out,), how="", digests=hashed(*"abc"))
        write_text(part.split, file.to_json())
        note_seen(part)
        shutil.copytree(part.model, tmp_path / "e" / "members" / str(number))
    for name in ("model.json", "plan.json"):
        (tmp_path / "e" / name).touch()
    assert read_seen(tmp_path / "e") == SeenFile(trained_on=tuple(sorted(hashed(*"abc").values())))
    assert relation(tmp_path / "e" / "members" / "1", hashed("b")) == "held-out"
    assert relation(tmp_path / "e", hashed("b")) == "training"


def test_a_folder_from_before_is_told_by_its_run(run, tmp_path):
    (run.model / SEEN).unlink()
    assert [relation(run.model, hashed(letter)) for letter in "acx"] == ["training", "held-out", "unknown"]
    shutil.move(run.model, tmp_path / "elsewhere" / "model")
    assert read_seen(tmp_path / "elsewhere" / "model") is None
    copy_seen(tmp_path / "elsewhere" / "model", tmp_path)
    assert not (tmp_path / SEEN).exists()


def test_what_it_was_made_of_and_what_was_shown_again_counts(run, tmp_path):
    teacher, later = Run(tmp_path / "teacher"), Run(tmp_path / "later")
    for each, train, held_out in ((teacher, "d", ""), (later, "e", "cbf")):
        digests = hashed(*train, *held_out)
        file = SplitFile(source="s", train=tuple(train), held_out=tuple(held_out), how="", digests=digests)
        write_text(each.split, file.to_json())
    note_seen(teacher)
    write_text(later.start, Start(source=str(run.model), weights_sha256="0").to_json())
    taught = TeachersFile(teachers=(Teacher(source=str(teacher.model), weights_sha256="0"),))
    write_text(later.teachers, taught.to_json())
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(pixels).save(tmp_path / "old.png")
    seen = note_seen(later, [Case.unlabelled("old", (tmp_path / "old.png",))])
    assert set(seen.trained_on) == {digest_of(pixels[None]), *hashed(*"abde").values()}
    assert seen.held_out == ("c" * 64, "f" * 64)  # the model that it started from was trained on b
    assert read_seen(later.model) == seen
