"""Each case is measured with what has not seen it, and each fold with rules that the other folds told."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from unetkit.data.catalog import find_cases
from unetkit.data.formats import format_of
from unetkit.data.labels import class_ids
from unetkit.inference.predict import Predictor
from unetkit.records.case import Case, Grid
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.records.prediction import Prediction
from unetkit.records.progress import Quiet
from unetkit.records.run import Run
from unetkit.records.scores import Scores
from unetkit.workflows import out_of_fold
from unetkit.workflows.configurations import Fold
from unetkit.workflows.model import Model, load
from unetkit.workflows.out_of_fold import measure_folds
from unetkit.workflows.proposal import measures_for

SPECK = (slice(0, 3), slice(0, 3))


def test_the_saved_predictions_are_those_of_the_fold_and_the_scores_are_theirs(validated, wafers):
    """No rule was asked for by networks of three steps: what is saved is what the fold's model says, bare."""
    scores = Scores.from_json((validated / "model" / "scores.json").read_bytes(), where=validated)
    assert scores.split == "cross-validation"
    plan = load(validated).plan
    assert plan.inference.minimum_pixels == ()
    by_id = {case.id: case for case in scores.cases}
    assert len(by_id) == 12
    paths = [validated / f"fold-{number}" / "model" / "scores.json" for number in range(3)]
    folds = [Scores.from_json(path.read_bytes(), where=path) for path in paths]
    for name in ("calibration", "calibration_objects"):
        pixels = [sum(row[2] for row in getattr(each, name)) for each in (scores, *folds)]
        assert pixels[0] == sum(pixels[1:])
    assert sum(row[2] for row in scores.calibration) == 12 * 64 * 64
    for number in range(3):
        model = load(validated / f"fold-{number}")
        one = model.sole
        bare = one.inference.model_copy(update={"minimum_pixels": (), "largest_only": ()})
        predictor = Predictor(one.runtime, one.data, one.preparation, bare)
        own = Scores.from_json((model.folder / "scores.json").read_bytes(), where=model.folder)
        for case in own.cases:
            path = validated / "predictions" / f"{case.id}.png"
            saved, _ = class_ids(format_of(path).read_label(path)[0], plan.data, where=path)
            asked = predictor.file((wafers / "images" / f"{case.id}.png",), case.id)
            np.testing.assert_array_equal(saved, asked.labels)
            truth = np.asarray(Image.open(wafers / "masks" / f"{case.id}.png"))
            for index, name in enumerate(scores.classes, start=1):
                found, there = saved == index, truth == plan.data.label_values[index]
                total = found.sum() + there.sum()
                wanted = None if not total else pytest.approx(2 * (found & there).sum() / total)
                assert by_id[case.id].values[name]["dice"] == wanted


def test_what_the_labels_call_for_is_measured_as_in_any_evaluation(validated, wafers):
    scores = Scores.from_json((validated / "model" / "scores.json").read_bytes(), where=validated)
    wanted = measures_for(find_cases(wafers).cases, load(validated).plan.data)
    assert "object_f1" in wanted.metrics
    assert (scores.metrics, scores.reasons) == (wanted.metrics, wanted.reasons)
    assert scores.objects.keys() == set(scores.classes)
    assert "Objects, all cases together" in (validated / "report.html").read_text()


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Sixteen pictures with a blob of 100 pixels; the test says which are predicted with a speck."""
    cases, specks = [], set()
    for number in range(16):
        mask = np.zeros((32, 32), np.uint8)
        mask[10:20, 10:20] = 1
        for kind in ("image", "label"):
            Image.fromarray(mask * 200 if kind == "image" else mask).save(tmp_path / f"{kind}{number:02}.png")
        image, label = (tmp_path / f"{kind}{number:02}.png" for kind in ("image", "label"))
        cases.append(Case(id=f"c{number:02}", images=(image,), label=label, group=f"g{number}"))
    plan = Plan.model_validate(EXAMPLE).with_values(
        {"data.label_values": "[0,1]", "inference.tile_size": "[32,32]"}
    )
    asked = []

    def average(members, plan, place, *, device):
        def case(case, **_):
            asked.append((members, case.id))
            labels = np.asarray(Image.open(case.label)).copy()
            labels[SPECK] = case.id in specks
            one = labels.astype(np.float32)
            return Prediction(case.id, labels, Grid.plain(2), np.stack([1 - one, one]))

        return Model(place, plan, SimpleNamespace(case=case), device)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(out_of_fold, "load_average", average)
    folds = [
        Fold(cases=tuple(part), models=(tmp_path / f"a{n}", tmp_path / f"b{n}"), trained_on=8)
        for n, part in enumerate((cases[:8], cases[8:]))
    ]
    (tmp_path / "run").mkdir()
    return SimpleNamespace(folds=folds, specks=specks, plan=plan, run=Run(tmp_path / "run"), asked=asked)


def measured(world, plan=None, folds=None):
    return measure_folds(
        folds or world.folds, (0, 1), plan or world.plan, world.run, device="cpu", progress=Quiet()
    )


def saved(world, case):
    path = world.run.folder / "predictions" / f"{case.id}.png"
    return np.asarray(Image.open(path))


def test_specks_everywhere_are_taken_out_by_what_the_other_fold_told(world):
    world.specks.update(f"c{n:02}" for n in range(16))
    found = measured(world)
    assert found.rules_by_fold
    assert found.scores.summary["defect"]["dice"].mean == 1
    assert [one.summary["defect"]["dice"].n for one in found.folds] == [8, 8]
    assert found.plan.inference.minimum_pixels == (100,)
    reason = found.plan.reasons["inference.minimum_pixels"]
    assert reason.startswith("Smaller objects were mostly wrong; mean Dice on up to 16 out-of-fold cases: ")
    case = world.folds[1].cases[0]
    np.testing.assert_array_equal(saved(world, case), np.asarray(Image.open(case.label)))
    assert {(members[0].name, members[1].name) for members, _ in world.asked} == {("a0", "b0"), ("a1", "b1")}
    assert [id for _, id in world.asked] == [f"c{n:02}" for n in range(16)]


def test_a_fold_is_not_measured_with_a_rule_of_its_own(world):
    """Specks in the first fold alone: the second has no reason for a rule, so the first keeps its specks."""
    world.specks.update(f"c{n:02}" for n in range(8))
    found = measured(world)
    wanted = 2 * 100 / 209
    first, second = (one.summary["defect"]["dice"].mean for one in found.folds)
    assert first == pytest.approx(wanted)
    assert second == 1
    assert found.scores.summary["defect"]["dice"].mean == pytest.approx((wanted + 1) / 2)
    assert saved(world, world.folds[0].cases[0])[SPECK].all()
    assert found.plan.inference.minimum_pixels == (100,)  # all sixteen cases together do ask for it
    assert found.scores.calibration  # of all cases, as their networks said


def test_without_specks_there_is_no_rule(world):
    found = measured(world)
    assert not found.rules_by_fold
    assert found.plan is world.plan
    assert found.scores.summary["defect"]["dice"].mean == 1


def test_several_objects_in_every_label_are_counted_with_and_without_rules(world):
    for fold in world.folds:
        for case in fold.cases:
            mask = np.asarray(Image.open(case.label)).copy()
            mask[24:30, 24:30] = 1
            Image.fromarray(mask).save(case.label)
    for specks in ((), [f"c{n:02}" for n in range(16)]):
        world.specks.update(specks)
        found = measured(world)
        assert found.rules_by_fold is bool(specks)
        assert found.scores.reasons["object_f1"].startswith("defect: 2 objects per case")
        assert found.scores.summary["defect"]["object_recall"].mean == 1
        assert found.scores.objects["defect"][0].found == 32
        assert found.scores.summary["defect"]["object_precision"].mean == 1


def test_what_was_set_by_hand_stays_and_one_fold_fits_nothing(world):
    world.specks.update(f"c{n:02}" for n in range(16))
    own = world.plan.with_values({"inference.largest_only": "[true]"})
    assert measured(world, plan=own).plan is own
    alone = measured(world, folds=world.folds[:1])
    assert alone.plan is world.plan
    assert alone.scores.summary["defect"]["dice"].mean == pytest.approx(200 / 209)


def test_predictions_of_an_earlier_call_are_gone(world):
    stale = world.run.folder / "predictions" / "old.png"
    stale.parent.mkdir()
    stale.write_bytes(b"x")
    measured(world)
    assert not stale.exists()
    assert len(list(stale.parent.iterdir())) == 16


def test_readers_are_compared_with_the_saved_predictions_of_all_folds(tmp_path):
    data = Plan.model_validate(EXAMPLE).data
    run, cases = Run(tmp_path), []
    marks = np.array([[0, 1, 2, 3]], np.uint8)
    value = data.label_values[1]
    for name, said in (("a", [0, 1, 0, 1]), ("b", [0, 0, 1, 1]), ("c", [0, 0, 0, 0])):
        paths = [tmp_path / f"{name}.{what}.png" for what in ("label", "readers")]
        case = Case(name, (tmp_path / f"{name}.png",), paths[0], name)
        for path, values in (
            (paths[0], (marks == 3) * value),
            (paths[1], marks),
            (out_of_fold.prediction_path(run, case), np.array([said]) * value),
        ):
            format_of(path).write(path, values.astype(np.uint8), Grid.plain(2))
        with_readers = {"readers": paths[1], "reader_count": 2} if name != "c" else {}
        cases.append(dataclasses.replace(case, **with_readers))
    folds = [Fold((case,), (), 0) for case in cases]
    found = out_of_fold.agreement(folds, data, run)
    assert (found.cases, found.among) == (2, 0.5)
    assert found.model == pytest.approx((1 + 0.5) / 2)
    assert found.consensus == pytest.approx(2 / 3)
    assert out_of_fold.agreement(folds[2:], data, run) is None
