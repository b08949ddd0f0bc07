"""A model says what it has seen wherever it goes, by hashes alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import unetkit as uk
from unetkit.data.facts import digest_of
from unetkit.records.case import Case
from unetkit.records.files import write_text
from unetkit.records.run import Run
from unetkit.records.seen import SEEN, SeenFile
from unetkit.records.split import SplitFile
from unetkit.workflows.seen import note_seen, read_seen, relation
from unetkit.workflows.starting import asked_start


def split_of(run):
    return SplitFile.from_json(run.split.read_bytes(), where=run.split)


@pytest.fixture
def sides(finished):
    """Digests of the training and of the held-out cases."""
    split = split_of(Run(finished))
    return tuple({id: split.digests[id] for id in ids} for ids in (split.train, split.held_out))


def test_it_holds_hashes_and_no_name(finished, sides):
    seen = read_seen(finished / "model")
    assert [set(each) for each in (seen.trained_on, seen.held_out)] == [set(s.values()) for s in sides]
    text = (finished / "model" / SEEN).read_text()
    assert "wafer" not in text
    assert seen.trained_on == tuple(sorted(seen.trained_on))


def test_it_goes_where_the_model_goes(finished, exported, sides, tmp_path):
    alone = shutil.copytree(finished / "model", tmp_path / "alone")
    version = uk.Registry(tmp_path / "registry").add(finished).folder
    trained, held_out = sides
    for place in (finished / "model", alone, exported, Path(version)):
        assert relation(place, trained) == relation(place, {**trained, **held_out}) == "training"
        assert relation(place, held_out) == "held-out"
        assert relation(place, {**held_out, "other": "0" * 64}) == "unknown"


def test_an_ensemble_has_seen_what_any_member_has_seen(validated, tmp_path):
    digests = split_of(Run(validated)).digests
    alone = shutil.copytree(validated / "model", tmp_path / "alone")
    assert set(read_seen(alone).trained_on) == set(digests.values())
    assert read_seen(alone).held_out == ()
    for number in range(3):
        part = split_of(Run(validated / f"fold-{number}"))
        held_out = {id: part.digests[id] for id in part.held_out}
        assert relation(alone / "members" / str(number), held_out) == "held-out"
        assert relation(alone, held_out) == "training"


def test_a_folder_from_before_is_told_by_its_run(finished, sides, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "model" / SEEN).unlink()
    assert [relation(run / "model", each) for each in sides] == ["training", "held-out"]
    shutil.move(run / "model", tmp_path / "moved")
    assert read_seen(tmp_path / "moved") is None
    assert relation(tmp_path / "moved", sides[0]) == "unknown"


def test_what_it_started_from_and_what_was_shown_again_counts(finished, sides, tmp_path):
    run = Run(tmp_path / "run")
    trained, held_out = sides
    kept = next(iter(held_out.values()))
    file = SplitFile(
        source="new",
        train=("a",),
        held_out=("b", "c"),
        how="by hand",
        digests={"a": "a" * 64, "b": "b" * 64, "c": next(iter(trained.values()))},
    )
    write_text(run.split, file.to_json())
    write_text(run.start, asked_start(finished).to_json())
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(pixels).save(tmp_path / "old.png")
    seen = note_seen(run, [Case("old", (tmp_path / "old.png",), None, "old")])
    assert set(seen.trained_on) == {"a" * 64, digest_of(pixels[None]), *trained.values()}
    assert seen.held_out == ("b" * 64,)  # 'c' was trained on before
    assert kept not in seen.trained_on
    assert SeenFile.from_json((run.model / SEEN).read_bytes(), where=SEEN) == seen
