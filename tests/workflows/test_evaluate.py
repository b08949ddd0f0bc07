import csv
import shutil

import numpy as np
import pytest
from PIL import Image

from unetkit.errors import DataError, UsageError
from unetkit.workflows.evaluate import evaluate, folder_scores, to_csv
from unetkit.workflows.model import load


def write(folder, **masks):
    folder.mkdir(exist_ok=True)
    for name, mask in masks.items():
        Image.fromarray(np.asarray(mask, np.uint8)).save(folder / f"{name}.png")
    return folder


def square(value=1, at=2):
    mask = np.zeros((12, 12), np.uint8)
    mask[at : at + 4, at : at + 4] = value
    return mask


def test_numbers_by_hand(tmp_path):
    labels = write(tmp_path / "labels", a=square(), b=square(), c=0 * square())
    found = write(tmp_path / "found", a=square(), b=square(at=4), c=0 * square())
    scores = folder_scores(found, labels)
    values = {case.id: case.values["class 1"] for case in scores.cases}
    assert values["a"]["dice"] == 1
    assert values["b"]["dice"] == pytest.approx(2 * 4 / 32)
    assert values["c"]["dice"] is None
    one = scores.summary["class 1"]["dice"]
    assert (one.n, one.missed, one.undefined) == (2, 0, 1)
    rows = list(csv.DictReader(to_csv(scores).splitlines()))
    assert [row["dice"] for row in rows] == ["1", "0.25", ""]


def test_an_absent_prediction_takes_the_worst_value(tmp_path):
    labels = write(tmp_path / "labels", a=square(), b=square())
    found = write(tmp_path / "found", a=square())
    scores = folder_scores(found, labels)
    assert [case.absent for case in scores.cases] == [False, True]
    assert scores.summary["class 1"]["dice"].mean == 0.5


def test_255_alone_is_a_class_and_beside_others_it_is_not_labelled(tmp_path):
    labels = write(tmp_path / "labels", a=square(255))
    assert folder_scores(labels, labels).classes == ("class 255",)
    mixed = square()
    mixed[10:] = 255
    found = square()
    found[10:] = 1
    labels = write(tmp_path / "mixed", a=mixed)
    scores = folder_scores(write(tmp_path / "found", a=found), labels)
    assert scores.classes == ("class 1",)
    assert scores.summary["class 1"]["dice"].mean == 1


def test_names_and_groups_come_from_the_files_beside(finished, wafers):
    scores = evaluate(wafers / "masks", wafers / "masks", csv_file=None)
    assert scores.classes == ("scratch", "particle", "stain")
    assert {case.group for case in scores.cases} == {"wafer00", "wafer01", "wafer02"}
    assert scores.summary["mean"]["dice"].mean == 1


def test_what_cannot_be_compared_is_refused(tmp_path):
    labels = write(tmp_path / "labels", a=square())
    with pytest.raises(UsageError, match="no prediction has the stem of a label"):
        evaluate(write(tmp_path / "other", z=square()), labels)
    with pytest.raises(UsageError, match="this is not a folder"):
        evaluate(tmp_path / "none", labels)
    with pytest.raises(DataError, match="the prediction has shape"):
        evaluate(write(tmp_path / "small", a=square()[:8]), labels)
    with pytest.raises(DataError, match="beyond the 2 classes"):
        evaluate(write(tmp_path / "odd", a=square(7)), labels)
    empty = write(tmp_path / "empty", a=0 * square())
    with pytest.raises(DataError, match="nothing but background"):
        evaluate(labels, empty)


def test_a_model_knows_what_it_has_seen(finished, wafers, tmp_path):
    model = load(finished)
    ids = {"wafer00", "wafer01", "wafer02"}
    trained = {id.partition("-")[0] for id in read_split(finished)["train"]}
    for groups, relation in ((ids - trained, "held-out"), (trained, "training")):
        data = tmp_path / relation
        for folder in ("images", "masks"):
            (data / folder).mkdir(parents=True)
            for path in (wafers / folder).iterdir():
                if path.name.partition("-")[0] in groups:
                    shutil.copy(path, data / folder)
        shutil.copy(wafers / "dataset.json", data)
        scores = evaluate(model, data)
        assert scores.split == relation
        assert sum(row[2] for row in scores.calibration) == len(scores.cases) * 64 * 64


def read_split(run):
    import json

    return json.loads((run / "split.json").read_text())
