"""Who teaches is written into the run, and must be what it was; images without a label take part."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import unetkit as uk
from unetkit.data.catalog import Catalog, find_cases
from unetkit.data.prepare import Cache
from unetkit.errors import DataError, UsageError
from unetkit.networks.store import read_plan
from unetkit.records.run import Run
from unetkit.runtimes.devices import Layout
from unetkit.workflows.distilling import student_plan
from unetkit.workflows.ensemble_folder import write_ensemble
from unetkit.workflows.teaching import (
    asked_teachers,
    load_teachers,
    note_teachers,
    read_teachers,
    refuse_other_teachers,
    refuse_unlike,
    unlabelled_batches,
)

HERE = torch.device("cpu")


@pytest.fixture
def partly(wafers, tmp_path):
    """The wafers as a CSV: the last four pictures have no label, the very last is of a held-out group."""
    data = shutil.copytree(wafers, tmp_path / "data")
    names = sorted(path.name for path in (data / "images").iterdir())
    rows = []
    for number, name in enumerate(names):
        label = "" if number >= len(names) - 4 else f"masks/{name}"
        group = "held" if number in (0, 1, len(names) - 1) else f"g{number}"
        split = "val" if number in (0, 1) else "train" if label else ""
        rows.append(f"{name.split('.')[0]},images/{name},{label},{group},{split}")
    table = data / "cases.csv"
    table.write_text("id,image,label,group,split\n" + "\n".join(rows) + "\n")
    return table


def test_images_without_a_label_are_noted_but_not_those_of_a_held_out_group(finished, partly, tmp_path):
    catalog, run = find_cases(partly), Run(tmp_path / "run")
    assert len(catalog.unlabelled) == 4
    held_out = [case.id for case in catalog.cases if case.split == "val"]
    teachers = asked_teachers([finished])
    assert note_teachers(run, teachers, catalog, held_out=held_out) == 3
    file = read_teachers(run)
    assert list(file.unlabelled) == [case.id for case in catalog.unlabelled[:3]]
    plan = read_plan(finished / "model")
    cache = Cache(tmp_path / "cache", plan.data, plan.preparation)
    batches = unlabelled_batches(file, partly, cache, plan, HERE)
    batch = batches.at(0)
    assert not bool(batch.known.any())
    assert {case for step in range(9) for case in batches.at(step).cases} == set(file.unlabelled)
    image = catalog.unlabelled[0].images[0]
    shutil.copy(catalog.cases[0].images[0], image)
    with pytest.raises(DataError, match="is not what this run was started with"):
        unlabelled_batches(file, partly, cache, plan, HERE)


def test_a_student_learns_on_them_too(finished, partly, tmp_path):
    plan = student_plan(read_plan(finished / "model"), "plain").with_values({"training.steps": "4"})
    told = []

    class Watch:
        begin = advance = end = lambda *_, **__: None

        def say(self, text):
            told.append(text)

    run = uk.train(partly, tmp_path / "run", plan=plan, teachers=[finished], progress=Watch())
    assert "teachers: 1, and 3 images without a label" in told
    assert len(read_teachers(run.run).unlabelled) == 3
    assert run.scores is not None


def test_teachers_are_frozen_and_must_be_what_they_were(finished, tmp_path):
    model = shutil.copytree(finished / "model", tmp_path / "model")
    run = Run(tmp_path / "run")
    plan = read_plan(model)
    assert read_teachers(run) is None
    note_teachers(run, asked_teachers([model]), Catalog(Path("none"), "csv", ()), held_out=())
    (network,) = load_teachers(read_teachers(run), plan, HERE, Layout())
    assert not network.training
    assert not any(weight.requires_grad for weight in network.parameters())
    refuse_other_teachers(run, [])
    refuse_other_teachers(run, [model])
    with pytest.raises(UsageError, match="a resumed run keeps its teachers"):
        refuse_other_teachers(run, [model, finished])
    with pytest.raises(UsageError, match="a resumed run keeps its teachers"):
        refuse_other_teachers(Run(tmp_path / "other"), [model])
    seal = model / "model.json"
    seal.write_text(json.dumps({**json.loads(seal.read_text()), "weights_sha256": "0" * 64}))
    with pytest.raises(DataError, match="these weights are not those the run learns from"):
        load_teachers(read_teachers(run), plan, HERE, Layout())


def test_teachers_of_other_pixels_or_classes_are_refused(finished):
    plan = read_plan(finished / "model")
    refuse_unlike(plan, plan, where=finished)
    other = plan.with_values({"preparation.order_image": "1"})
    with pytest.raises(UsageError, match=r"prepared in another way.*several seeds or folds"):
        refuse_unlike(other, plan, where=finished)
    other = plan.with_values({"data.channels": '["red"]'})
    with pytest.raises(UsageError, match=r"share their channels: expected .*, got \('red',\)"):
        refuse_unlike(other, plan, where=finished)
    sliced = plan.with_values({"data.rank": "3", "data.slice_axis": "0"})
    whole = plan.with_values({"data.rank": "3"})
    with pytest.raises(UsageError, match="share their slice axis: expected 0, got None"):
        refuse_unlike(whole, sliced, where=finished)
    with pytest.raises(UsageError, match="there is no model here"):
        asked_teachers(["nowhere"])


def test_an_ensemble_teaches_with_each_of_its_networks(finished, tmp_path):
    place = finished / "model"
    write_ensemble(tmp_path / "both", [("a", place), ("b", place)], read_plan(place))
    found = asked_teachers([finished, tmp_path / "both"])
    members = [tmp_path / "both" / "members" / name for name in "01"]
    assert [each.source for each in found] == [str(place), *map(str, members)]
    with pytest.raises(UsageError, match="there is no model here"):
        asked_teachers([tmp_path])
