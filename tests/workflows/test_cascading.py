"""A cascade from end to end: two stages, each case's first answer unseen, one model folder with both."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import unetkit as uk
from unetkit.cli import main
from unetkit.data.catalog import find_cases
from unetkit.data.formats import format_of
from unetkit.data.labels import class_ids
from unetkit.errors import DataError, UsageError
from unetkit.networks.store import load_model, previous_folder
from unetkit.records.files import sha256
from unetkit.records.progress import Quiet
from unetkit.records.run import Run
from unetkit.workflows.cascading import previous_model, read_previous_file, with_answers
from unetkit.workflows.measuring import prediction_path
from unetkit.workflows.readying import look
from unetkit.workflows.seen import relation
from unetkit.workflows.train import Wishes, preview


@pytest.fixture(scope="module")
def quick_volume(quick):
    """A training on volumes that takes a second."""
    sizes = {"training.patch_size": "[8,16,16]", "inference.tile_size": "[8,16,16]"}
    shape = {"network.kernels": "[[3,3,3],[3,3,3]]", "network.strides": "[[1,1,1],[2,2,2]]"}
    return {**quick, **sizes, **shape, "training.steps": "2", "inference.fit_cases": "0"}


@pytest.fixture(scope="module")
def first(volumes, quick_volume, tmp_path_factory):
    """The first stage: two folds at half the resolution."""
    low = {"data.cascade": "low", "preparation.spacing_mm": "[4,2,2]"}
    out = tmp_path_factory.mktemp("cascade") / "first"
    uk.cross_validate(volumes, out, folds=2, changes={**quick_volume, **low})
    return out


@pytest.fixture(scope="module")
def second(first, volumes, quick_volume):
    """The second stage over the same folds; read it, do not change it."""
    out = first.parent / "second"
    uk.cross_validate(volumes, out, folds=2, changes=quick_volume, previous=first)
    return out


def count_parameters(folder: Path) -> int:
    """Numbers that the network of a folder has learned."""
    return sum(weight.numel() for weight in load_model(folder)[0].parameters())


def answer(run: Path, case) -> np.ndarray:
    """What the run that held a case out said of it."""
    path = prediction_path(Run(run), case)
    return format_of(path).read_label(path)[0]


def test_each_case_comes_with_what_a_network_said_that_had_not_seen_it(first, second, volumes):
    cases = find_cases(volumes).cases
    for number in range(2):
        run = Run(second / f"fold-{number}")
        split = json.loads(run.split.read_text())
        assert read_previous_file(run).fold == number
        for case in with_answers(cases, run):
            apart = [n for n in range(2) if f"{first}/fold-{n}/" in str(case.previous)]
            (fold,) = apart
            assert case.id in json.loads((first / f"fold-{fold}" / "split.json").read_text())["held_out"]
            assert (case.id in split["held_out"]) == (fold == number)
    assert with_answers(cases, Run(first / "fold-0")) == cases


def test_the_folder_holds_both_stages_and_predicts_by_itself(first, second, volumes, tmp_path):
    run = second / "fold-0"
    plan = json.loads((run / "model" / "plan.json").read_text())
    assert plan["data"]["cascade"] == "full"
    assert previous_folder(run / "model") == run / "model" / "previous"
    for name in ("plan.json", "weights.safetensors", "model.json"):
        assert sha256(run / "model" / "previous" / name) == sha256(first / "fold-0" / "model" / name)
    assert load_model(run / "model")[0].in_channels == 2
    moved = shutil.copytree(run / "model", tmp_path / "elsewhere")
    model = uk.load(moved)
    data = model.plan.data
    held_out = json.loads((run / "split.json").read_text())["held_out"]
    for case in (each for each in find_cases(volumes).cases if each.id in held_out):
        # stage one then stage two, as in training: the held-out case was seen by neither
        said = answer(first / "fold-0", case)
        assert np.array_equal(uk.load(moved / "previous").predictor.case(case).labels, said)
        found = model.predictor.case(case).labels
        assert np.array_equal(found, class_ids(answer(run, case), data, where=case.id)[0])
        # by hand: the answer of the first stage as a channel of the second
        pixels, grid = format_of(case.images[0]).read(case.images[0])
        sample = replace(model.predictor.inputs.array(pixels, grid, id="x"), previous=None)
        with pytest.raises(UsageError, match="the answer of the first one is missing"):
            model.predictor.sample(sample)
        told = replace(sample, previous=class_ids(said, data, where="x")[0])
        assert np.array_equal(model.predictor.sample(told).labels, found)
    assert (
        "first stage | a network at a spacing of 4 × 2 × 2 mm, in previous/"
        in (moved / "model_card.md").read_text()
    )
    result = uk.predict(moved, volumes / "imagesTr", tmp_path / "out", tta=True)
    assert len(result.written) == 6
    digests = json.loads((run / "split.json").read_text())["digests"]
    assert relation(run / "model", {id: digests[id] for id in held_out}) == "held-out"


def test_the_second_stage_listens_to_the_first(second, volumes):
    model = uk.load(second / "fold-0")
    case = find_cases(volumes).cases[0]
    pixels, grid = format_of(case.images[0]).read(case.images[0])
    sample = model.predictor.inputs.array(pixels, grid, id="x")
    shares = [
        model.predictor.sample(replace(sample, previous=np.full_like(sample.previous, k)), probabilities=True)
        for k in (0, 1)
    ]
    assert not np.array_equal(shares[0].probabilities, shares[1].probabilities)


def test_every_fold_of_the_second_stage_becomes_an_ensemble_of_cascades(second, volumes, tmp_path):
    file = json.loads((second / "model" / "model.json").read_text())
    seals = [second / "model" / "members" / str(n) / "previous" / "model.json" for n in range(2)]
    assert [row["previous_sha256"] for row in file["members"]] == [sha256(seal) for seal in seals]
    image = next((volumes / "imagesTr").iterdir())
    found = uk.load(second).predict(image, probabilities=True)
    parts = [uk.load(second / f"fold-{n}").predict(image, probabilities=True) for n in range(2)]
    wanted = np.mean([part.probabilities.astype(np.float64) for part in parts], axis=0)
    np.testing.assert_allclose(found.probabilities, wanted, atol=1e-6)
    copied = shutil.copytree(second / "model", tmp_path / "copied")
    shutil.copyfile(
        copied / "members" / "1" / "previous" / "model.json",
        copied / "members" / "0" / "previous" / "model.json",
    )
    with pytest.raises(DataError, match="the first stage of this cascade is missing or not the one"):
        uk.load(copied).predict(image)


def test_evaluate_report_monitor_and_info_take_a_cascade(second, volumes):
    run = second / "fold-0"
    scores = uk.evaluate(run, volumes)
    assert scores.split == "training"
    assert len(scores.cases) == 6
    assert "data.cascade" in (run / "report.html").read_text()
    assert uk.monitor(run, volumes / "imagesTr").images == 6
    found = uk.info(run)
    assert found.facts["first stage"].endswith("in previous/")
    places = (run / "model" / "previous", run / "model")
    assert found.parameters == sum(map(count_parameters, places))


SINGLE = {
    "export": lambda run, data, out, changes: uk.export(run, "onnx", out),
    "compress": lambda run, data, out, changes: uk.compress(run, data, out, prune=0.5),
    "update": lambda run, data, out, changes: uk.update(run, data, out),
    "init": lambda run, data, out, changes: uk.train(data, out, init=run, changes=changes),
    "registry": lambda run, data, out, changes: uk.Registry(out).add(run),
}


@pytest.mark.parametrize("verb", list(SINGLE))
def test_what_needs_a_single_network_says_so(verb, second, volumes, quick_volume, tmp_path):
    run = second / "fold-0"
    with pytest.raises(UsageError, match="this model is a cascade of two networks, and this needs a single"):
        SINGLE[verb](run, volumes, tmp_path / "out", quick_volume)


def test_a_cascade_takes_no_first_look(second):
    model = uk.load(second / "fold-0")
    with pytest.raises(UsageError, match="the second stage of a cascade, whose first stage is a first look"):
        model.with_values({"inference.screen_factor": "2", "inference.screen_thresholds": "[0.5]"})


def test_a_first_stage_that_does_not_fit_is_refused(first, second, volumes, quick_volume, tmp_path):
    train = {"changes": quick_volume, "fold": (0, 2)}
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="there is no first one"):
        uk.train(volumes, out, changes={**quick_volume, "data.cascade": "full"})
    with pytest.raises(UsageError, match="this is a single run"):
        uk.train(volumes, out, previous=first / "fold-0", **train)
    with pytest.raises(UsageError, match=r"expected the first stage of a cascade .* got data.cascade=full"):
        uk.train(volumes, out, previous=second, **train)
    with pytest.raises(UsageError, match="no fold of the first stage held out the cases") as wrong:
        preview(volumes, out, previous=first, changes=quick_volume, fold=(0, 3))
    assert wrong.value.cure.endswith("--seed 0 and --fold k/2 or --fold all/2")
    with pytest.raises(UsageError, match="cannot learn from teachers"):
        uk.train(volumes, out, previous=first, teachers=[first / "fold-0"], **train)
    moved = shutil.copytree(volumes, tmp_path / "data")
    image = moved / "imagesTr" / "case0_0000.nii.gz"
    pixels, grid = format_of(image).read(image)
    format_of(image).write(image, pixels[0][::-1], grid)
    with pytest.raises(DataError, match="'case0' is not what the first stage was trained on"):
        uk.train(moved, out, previous=first, **train)
    assert not (out / "plan.json").exists()


def test_it_goes_on_with_its_own_first_stage_alone(first, volumes, quick_volume, tmp_path):
    place = shutil.copytree(first, tmp_path / "first")
    out = tmp_path / "second"
    settings = {"changes": quick_volume, "fold": (0, 2)}
    uk.train(volumes, out, previous=place, **settings)
    (out / "manifest.json").unlink()
    with pytest.raises(UsageError, match="a resumed run keeps its first stage"):
        uk.train(volumes, out, previous=tmp_path, resume=True, **settings)
    assert uk.train(volumes, out, resume=True, **settings).scores is not None
    lost = next((place / "fold-1" / "predictions").iterdir())
    lost.unlink()
    (out / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"the answer of the first stage for '.*' is missing"):
        uk.train(volumes, out, resume=True, **settings)
    seal = place / "fold-0" / "model" / "model.json"
    seal.write_text(seal.read_text() + " ")
    with pytest.raises(DataError, match="this run of the first stage is gone, or has changed"):
        previous_model(Run(out))


def test_pictures_go_the_same_road(wafers, quick, tmp_path):
    one, two = tmp_path / "first", tmp_path / "second"
    changes = {**quick, "training.steps": "2", "inference.fit_cases": "0"}
    low = {"data.cascade": "low", "preparation.spacing_mm": "[2,2]"}
    uk.cross_validate(wafers, one, folds=2, changes={**changes, **low})
    assert uk.load(one / "fold-0").plan.preparation.spacing_mm == (2, 2)
    done = uk.train(wafers, two, previous=one, fold=(1, 2), changes=changes)
    classes = len(done.plan.data.classes)
    assert load_model(two / "model")[0].in_channels == len(done.plan.data.channels) + classes - 1
    case = find_cases(wafers).cases[0]
    assert done.predict(case.images[0]).labels.shape == (64, 64)
    image = tmp_path / "large.tif"
    tifffile.imwrite(image, np.asarray(Image.open(case.images[0])), tile=(32, 32))
    told = []
    watch = Quiet()
    watch.say = told.append
    large = {"inference.stream_above_pixels": "1"}
    assert uk.predict(two, image, tmp_path / "out", changes=large, progress=watch).written
    assert told == ["large is answered by a cascade: it is predicted in memory as a whole"]
    seen = look(wafers, Wishes.of({"changes": low}), progress=Quiet())
    assert max(seen.plan.training.patch_size) <= 32  # planned for the images as the first stage sees them


def test_the_command_line_names_the_first_stage(first, volumes, quick_volume, tmp_path, capsys, excepthook):
    words = [word for key, value in quick_volume.items() for word in ("--set", f"{key}={value}")]
    words += ["--fold", "1/2", "--previous", str(first), "--dry-run", "--json", "-q"]
    assert main(["train", str(volumes), "--out", str(tmp_path / "out"), *words]) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert plan["data"]["cascade"] == "full"
    assert plan["augmentation"]["cascade_morphology"] == 0.4
    assert not (tmp_path / "out").exists()
