import json
import shutil

import numpy as np
import pytest
from PIL import Image

from unetkit.cli import main
from unetkit.data.catalog import find_cases
from unetkit.data.formats import format_of
from unetkit.records.run import Run
from unetkit.records.scores import Scores
from unetkit.workflows.case_pictures import INDEX, PictureIndex, read_planes
from unetkit.workflows.evaluate import evaluate
from unetkit.workflows.model import load
from unetkit.workflows.proposal import measures_for

pytestmark = pytest.mark.usefixtures("excepthook")


def test_scores_are_those_of_the_saved_predictions(finished, wafers):
    file = finished / "model" / "scores.json"
    scores = Scores.from_json(file.read_bytes(), where=file)
    split = json.loads((finished / "split.json").read_text())
    assert [case.id for case in scores.cases] == split["held_out"]
    assert scores.split == "held-out"
    for case in scores.cases:
        found = np.asarray(Image.open(finished / "predictions" / f"{case.id}.png"))
        truth = np.asarray(Image.open(wafers / "masks" / f"{case.id}.png"))
        for value, name in enumerate(scores.classes, start=1):
            one, other = found == value, truth == value
            total = one.sum() + other.sum()
            wanted = None if total == 0 else 2 * (one & other).sum() / total
            got = case.values[name]["dice"]
            assert (got is None) == (wanted is None)
            assert wanted is None or got is not None
            assert wanted is None or abs(float(got or 0) - wanted) < 1e-9


def test_what_the_labels_call_for_is_measured_and_reported(finished, wafers):
    file = finished / "model" / "scores.json"
    scores = Scores.from_json(file.read_bytes(), where=file)
    cases = [case for case in find_cases(wafers).cases if case.id in {each.id for each in scores.cases}]
    wanted = measures_for(cases, load(finished).plan.data)
    assert "object_f1" in wanted.metrics
    assert (scores.metrics, scores.reasons) == (wanted.metrics, wanted.reasons)
    assert scores.objects.keys() == set(scores.classes)
    page = (finished / "report.html").read_text()
    assert "Objects, all cases together" in page
    assert "FROC" in page


def test_pictures_are_those_of_the_saved_predictions(finished, wafers):
    run = Run(finished)
    index = PictureIndex.from_json((finished / "pictures" / INDEX).read_bytes(), where=INDEX)
    assert len(index.cases) == 4
    for case in index.cases:
        found = np.asarray(Image.open(finished / "predictions" / f"{case.id}.png"))
        truth = np.asarray(Image.open(wafers / "masks" / f"{case.id}.png"))
        picture = np.asarray(Image.open(wafers / "images" / f"{case.id}.png"))
        assert np.array_equal(read_planes(run, case, case.prediction)[0] > 0, found > 0)
        assert np.array_equal(read_planes(run, case, case.reference)[0] > 0, truth > 0)
        assert read_planes(run, case, case.image)[0].shape == picture.shape


def test_the_card_tells_what_it_was_trained_on(finished):
    seal = json.loads((finished / "model" / "model.json").read_text())
    assert seal["facts"]["file format"] == "raster"
    assert seal["facts"]["split"] == json.loads((finished / "split.json").read_text())["how"]


def test_labels_without_geometry_cost_none(volumes, tiny_volume_words, tmp_path):
    """The images state where they lie, the labels do not: predictions and millimetres are the images'."""
    data, run = tmp_path / "data", tmp_path / "run"
    (data / "labelsTr").mkdir(parents=True)
    shutil.copytree(volumes / "imagesTr", data / "imagesTr")
    shutil.copy(volumes / "dataset.json", data)
    for path in (volumes / "labelsTr").iterdir():
        tif = data / "labelsTr" / path.name.replace(".nii.gz", ".tif")
        format_of(tif).write(tif, *format_of(path).read_label(path))
    assert main(["train", str(data), "--out", str(run), "--fold", "0/3", "-q", *tiny_volume_words]) == 0
    saved = sorted((run / "predictions").iterdir())
    assert len(saved) == 2
    for path in saved:
        image = data / "imagesTr" / path.name.replace(".nii.gz", "_0000.nii.gz")
        assert format_of(path).read_label(path)[1].matches(format_of(image).read(image)[1])
    scores = Scores.from_json((run / "model" / "scores.json").read_bytes(), where=run)
    shutil.rmtree(data / "labelsTr")
    shutil.copytree(volumes / "labelsTr", data / "labelsTr")
    again = evaluate(run, data)
    held_out = {case.id: case for case in again.cases}
    assert [held_out[case.id].values for case in scores.cases] == [case.values for case in scores.cases]
