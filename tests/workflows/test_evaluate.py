import csv
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from unetkit.data.formats import format_of
from unetkit.errors import DataError, UsageError
from unetkit.metrics import STANDARD
from unetkit.metrics.calibration import calibration_error
from unetkit.records.case import Case, Grid
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.records.prediction import Prediction
from unetkit.records.progress import Quiet
from unetkit.workflows.evaluate import evaluate, folder_scores, score_model
from unetkit.workflows.model import Model, load


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
    values = {case.id: case.values["foreground"] for case in scores.cases}
    assert values["a"]["dice"] == 1
    assert values["b"]["dice"] == pytest.approx(2 * 4 / 32)
    assert values["c"]["dice"] is None
    one = scores.summary["foreground"]["dice"]
    assert (one.n, one.missed, one.undefined) == (2, 0, 1)
    evaluate(found, labels, csv_file=tmp_path / "scores.csv")
    rows = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
    assert [row["dice"] for row in rows] == ["1", "0.25", ""]
    assert scores.heading("hd95") == "hd95 (px)"


def test_every_reading_of_the_labels_is_shown(tmp_path):
    labels = write(tmp_path / "labels", a=square(), b=square())
    begun = []

    class Watch(Quiet):
        def begin(self, task, total=None, *, done=0.0):
            begun.append((task, total))

    folder_scores(labels, labels, progress=Watch())
    assert begun[0] == ("reading labels", 2)
    assert begun[-1] == ("measuring", 2)


def test_a_data_set_beside_predictions_is_answered_with_its_folder_of_labels(tmp_path):
    (tmp_path / "data").mkdir()
    labels = write(tmp_path / "data" / "masks", a=square())
    (tmp_path / "data" / "images").mkdir()
    found = write(tmp_path / "found", a=square())
    with pytest.raises(UsageError, match=f"Do this: name the folder of the labels itself: .* {labels}"):
        folder_scores(found, tmp_path / "data")


def test_an_absent_prediction_takes_the_worst_value(tmp_path):
    labels = write(tmp_path / "labels", a=square(), b=square())
    found = write(tmp_path / "found", a=square())
    scores = folder_scores(found, labels)
    assert [case.absent for case in scores.cases] == [False, True]
    assert scores.summary["foreground"]["dice"].mean == 0.5


def test_255_alone_is_a_class_and_beside_others_it_is_not_labelled(tmp_path):
    labels = write(tmp_path / "labels", a=square(255))
    assert folder_scores(labels, labels).classes == ("foreground",)
    mixed = square() + square(2, at=7)
    mixed[11:] = 255
    found = square() + square(2, at=7)
    found[11:] = 1
    labels = write(tmp_path / "mixed", a=mixed)
    scores = folder_scores(write(tmp_path / "found", a=found), labels)
    assert scores.classes == ("class 1", "class 2")
    assert scores.summary["mean"]["dice"].mean == 1


def test_labels_named_as_masks_are_found(tmp_path):
    labels = write(tmp_path / "labels", a_mask=square(), b_mask=square(at=6))
    scores = folder_scores(write(tmp_path / "found", a=square(), b=square(at=6)), labels)
    assert scores.summary["mean"]["dice"].mean == 1


def named(folder, **labels):
    (folder / "dataset.json").write_text(json.dumps({"labels": {"background": 0, **labels}}))


def test_classes_are_those_a_training_would_find(tmp_path):
    three = square(128) + square(255, at=7)
    labels = write(tmp_path / "grey", a=three)
    scores = folder_scores(write(tmp_path / "found", a=square(255, at=7)), labels)
    assert scores.classes == ("class 128", "class 255")  # 255 is no gap here: it is learnt and scored
    assert scores.cases[0].values["class 255"]["dice"] == 1
    assert scores.cases[0].missed == ("class 128",)

    labels = write(tmp_path / "one-based", a=1 + square())
    scores = folder_scores(labels, labels)
    assert scores.classes == ("foreground",)
    assert scores.summary["mean"]["dice"].mean == 1


def test_the_ignore_label_of_the_files_beside_is_obeyed(tmp_path):
    mask, found = square(), square()
    mask[10:], found[10:] = 3, 1
    labels = write(tmp_path / "labels", a=mask)
    named(tmp_path, rim=1, ignore=3)
    scores = folder_scores(write(tmp_path / "found", a=found), labels)
    assert scores.classes == ("rim",)
    assert scores.summary["rim"]["dice"].mean == 1
    (tmp_path / "dataset.json").unlink()
    (tmp_path / "index.csv").write_text("id,group,ignore_value\na,g,3\n")
    scores = folder_scores(tmp_path / "found", labels)
    assert scores.classes == ("foreground",)
    assert scores.cases[0].group == "g"
    assert scores.summary["mean"]["dice"].mean == 1
    (tmp_path / "index.csv").write_text("id,ignore_value\na,3\nb,4\n")
    with pytest.raises(DataError, match="'ignore_value' must hold one whole number, got 3, 4"):
        folder_scores(tmp_path / "found", labels)


def test_a_known_class_that_no_reference_holds_is_spurious(tmp_path):
    labels = write(tmp_path / "labels", a=square(), b=0 * square())
    found = write(tmp_path / "found", a=square(), b=square(2))
    with pytest.raises(DataError, match=r"b\.png: the label value 2 is beyond the 2 classes"):
        folder_scores(found, labels)
    named(tmp_path, rim=1, dent=2)
    scores = folder_scores(found, labels)
    assert scores.cases[1].spurious == ("dent",)
    assert scores.summary["dent"]["dice"].mean == 0
    empty = write(tmp_path / "labels", a=0 * square())
    assert [case.spurious for case in folder_scores(found, empty).cases] == [("rim",), ("dent",)]
    write(found, b=square(7))
    with pytest.raises(DataError, match=r"b\.png: the label value 7 is beyond the 3 classes"):
        folder_scores(found, labels)


def test_what_was_decided_about_the_labels_is_said(tmp_path):
    said: list[str] = []

    class Told(Quiet):
        def say(self, text):
            said.append(text)

    labels = write(tmp_path / "labels", a=1 + square())
    folder_scores(labels, labels, progress=Told())
    assert "the value 1 was taken as the background" in said[0]


def volume(path, at, grid):
    path.parent.mkdir(exist_ok=True)
    mask = np.zeros((8, 12, 12), np.uint8)
    mask[at : at + 2, 3:9, 3:9] = 1
    format_of(path).write(path, mask, grid)
    return path.parent


THICK = Grid((5.0, 1.0, 1.0), (0.0, 0.0, 0.0), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))


@pytest.mark.parametrize(("label", "found"), [("a.tif", "a.nii.gz"), ("a.nii.gz", "a.tif")])
def test_millimetres_are_those_of_the_file_that_states_them(tmp_path, label, found):
    labels = volume(tmp_path / "labels" / label, 2, THICK)
    scores = folder_scores(volume(tmp_path / "found" / found, 3, THICK), labels)
    assert scores.cases[0].values["foreground"]["hd95"] == pytest.approx(5)
    assert scores.heading("hd95") == "hd95 (mm)"


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Grid((1.0, 1.0, 1.0), THICK.origin_mm, THICK.direction), r"spacing .*\(5, 1, 1\), got \(1, 1, 1\)"),
        (Grid(THICK.spacing_mm, (0.0, 9.0, 0.0), THICK.direction), r"origin .*\(0, 0, 0\), got \(0, 9, 0\)"),
        (Grid(THICK.spacing_mm, THICK.origin_mm, THICK.direction[::-1]), "the direction of its label"),
    ],
)
def test_a_prediction_that_lies_elsewhere_is_refused(tmp_path, other, words):
    labels = volume(tmp_path / "labels" / "a.nii.gz", 2, THICK)
    found = volume(tmp_path / "found" / "a.nii.gz", 2, other)
    with pytest.raises(DataError, match=words) as caught:
        folder_scores(found, labels)
    assert caught.value.where == str(found / "a.nii.gz")
    assert "resample" in caught.value.cure


def test_names_and_groups_come_from_the_files_beside(finished, wafers):
    scores = evaluate(wafers / "masks", wafers / "masks", csv_file=None)
    assert scores.classes == ("scratch", "particle", "stain")
    assert {case.group for case in scores.cases} == {"wafer00", "wafer01", "wafer02"}
    assert scores.summary["mean"]["dice"].mean == 1


def test_label_files_are_not_mirrored(tmp_path):
    labels = write(tmp_path / "labels", a=square())
    with pytest.raises(UsageError, match="label files cannot be mirrored"):
        evaluate(labels, labels, tta=True)


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
    with pytest.raises(DataError, match="all-background labels"):
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
    return json.loads((run / "split.json").read_text())


def test_the_labels_decide_what_is_measured_beside_the_standard_metrics(tmp_path):
    specks = square() + square(at=8)
    labels = write(tmp_path / "labels", a=specks, b=specks)
    found = write(tmp_path / "found", a=square(), b=specks)
    scores = folder_scores(found, labels)
    assert scores.metrics == (*STANDARD, "object_recall", "object_precision", "object_f1")
    assert scores.reasons["object_f1"].startswith("foreground: 2 objects per case; ")
    values = {case.id: case.values["foreground"] for case in scores.cases}
    assert (values["a"]["object_recall"], values["a"]["object_precision"]) == (0.5, 1)
    assert (scores.objects["foreground"][0].found, scores.objects["foreground"][0].reference) == (3, 4)
    one = write(tmp_path / "one", a=square())
    assert folder_scores(one, one).metrics == STANDARD
    asked = folder_scores(one, one, metrics=["cldice"])
    assert asked.metrics == (*STANDARD, "cldice")
    assert asked.reasons == {}
    with pytest.raises(UsageError, match=r"there is no metric 'cldise'\. Do this: use 'cldice'"):
        folder_scores(one, one, metrics=["cldise"])


def test_a_model_whose_probabilities_are_true_has_no_gap(tmp_path):
    """Labels are drawn with the very chances that are claimed; chosen by the labels too, the gap were 0.3."""
    random = np.random.default_rng(0)
    chance = random.random((200, 200), dtype=np.float32)
    labels = write(tmp_path / "labels", a=(random.random((200, 200)) < chance).astype(np.uint8))
    said = Prediction("a", (chance > 0.5).astype(np.uint8), Grid.plain(2), np.stack([1 - chance, chance]))
    plan = Plan.model_validate(EXAMPLE).with_values({"data.label_values": "[0,1]"})
    model = Model(tmp_path, plan, SimpleNamespace(case=lambda *_, **__: said), "cpu")  # pyright: ignore[reportArgumentType]
    scores = score_model(model, [Case("a", (), labels / "a.png", "a")], split="unknown")
    assert sum(row[2] for row in scores.calibration_objects) == said.labels.sum()
    assert calibration_error(scores.calibration_objects) < 0.02


def test_a_model_is_told_how_many_objects_it_finds_at_how_many_false_alarms(finished, wafers):
    scores = evaluate(finished, wafers)
    assert "object_f1" in scores.metrics
    assert list(scores.froc) == list(scores.classes)
    for name, curve in scores.froc.items():
        assert len(curve) == 7, name
        assert all(0 <= share <= 1 for _, share in curve)
        assert [share for _, share in curve] == sorted(share for _, share in curve)


def test_readers_are_compared_where_their_marks_are(finished, wafers, tmp_path):
    data = shutil.copytree(wafers, tmp_path / "data")
    (data / "readers").mkdir()
    lines = [line for line in (data / "index.csv").read_text().splitlines() if line]
    for mask in sorted((data / "masks").iterdir())[:3]:
        there = np.array(Image.open(mask)) > 0
        marks = (
            there * 1 + (there | np.eye(64, dtype=bool)) * 2
        )  # the second reader sees a scratch everywhere
        Image.fromarray(marks.astype(np.uint8)).save(data / "readers" / mask.name)
    (data / "index.csv").write_text("\n".join([f"{lines[0]},readers", *(f"{line},2" for line in lines[1:])]))
    scores = evaluate(finished, data)
    assert scores.readers.cases == 3
    pairs = []
    for path in sorted((data / "readers").iterdir()):
        one, other = (np.array(Image.open(path)) >> reader & 1 for reader in range(2))
        pairs.append(2 * (one & other).sum() / (one.sum() + other.sum()))
    assert scores.readers.among == pytest.approx(np.mean(pairs))
    assert 0 <= scores.readers.model <= 1
    assert evaluate(finished, wafers).readers is None


def test_a_dicom_label_without_empty_slices_is_laid_on_its_prediction(tmp_path, write_series):
    highdicom = pytest.importorskip("highdicom", reason="highdicom is not installed")
    import pydicom

    from unetkit.data.formats.dicom import write_labels
    from unetkit.data.formats.dicom_segments import segment_codes

    ball = np.zeros((5, 6, 7), np.uint8)
    ball[1, 1:3, 2:5] = ball[3, 2:4, 1:6] = 1
    write_series(tmp_path / "scans" / "a", np.zeros(ball.shape, np.uint16))
    (tmp_path / "found").mkdir()
    (tmp_path / "labels").mkdir()
    write_labels(tmp_path / "found" / "a.dcm", ball, source=tmp_path / "scans" / "a", names=["ball"])
    planes = [pydicom.dcmread(path) for path in (tmp_path / "scans" / "a").iterdir()]
    planes.sort(key=lambda each: each.InstanceNumber)
    code = segment_codes("ball")
    highdicom.seg.Segmentation(
        planes,
        ball,
        "BINARY",
        [highdicom.seg.SegmentDescription(1, "ball", code[0], code[1], "MANUAL")],
        highdicom.UID(),
        2,
        highdicom.UID(),
        1,
        "x",
        "x",
        "0",
        "1",
    ).save_as(tmp_path / "labels" / "a.dcm")
    scores = folder_scores(tmp_path / "found", tmp_path / "labels")
    assert scores.summary["mean"]["dice"].mean == 1
    assert scores.unit == "mm"
    (tmp_path / "found" / "a.dcm").unlink()
    grid = format_of(tmp_path / "scans" / "a").describe(tmp_path / "scans" / "a").grid
    format_of(tmp_path / "a.nii.gz").write(tmp_path / "found" / "a.nii.gz", np.roll(ball, 1, axis=2), grid)
    moved = folder_scores(tmp_path / "found", tmp_path / "labels").summary["mean"]["dice"].mean
    assert moved == pytest.approx(2 * 12 / 32)


def test_a_model_is_measured_on_cases_without_any_object(finished, wafers, tmp_path):
    healthy = shutil.copytree(wafers, tmp_path / "healthy")
    for path in (healthy / "masks").iterdir():
        Image.fromarray(np.zeros((64, 64), np.uint8)).save(path)
    scores = evaluate(finished, healthy)
    for case in scores.cases:
        assert {case.values[name]["dice"] for name in case.spurious} <= {0.0}
        assert all(case.values[name]["dice"] is None for name in scores.classes if name not in case.spurious)
    (healthy / "masks" / path.name).write_bytes(b"x")
    with pytest.raises(DataError, match=path.name):
        evaluate(finished, healthy)
