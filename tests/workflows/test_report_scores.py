import numpy as np
import pytest

from unetkit.metrics.calibration import calibration, calibration_error
from unetkit.metrics.score import score_case, summarise
from unetkit.records.run import Run
from unetkit.records.scores import ReaderAgreement
from unetkit.workflows.report_scores import calibration_curves, case_table, class_table, headline

METRICS = ("dice", "hd95", "object_recall", "object_precision", "object_f1")


def scores(count=2, **more):
    there = np.zeros((12, 12), np.uint8)
    there[1:4, 1:4] = there[8:10, 8:10] = 1
    rows = []
    for number in range(count):
        said = there.copy()
        said[8:10, 8:10] = 0
        rows.append(
            score_case(
                f"c{number}", f"g{number}", there, said, classes=["x"], spacing_mm=(1, 1), metrics=METRICS
            )
        )
    found = summarise(rows, classes=["x"], metrics=METRICS, tolerance_mm=1.0, split="held-out")
    return found.model_copy(update=more)


def test_objects_and_curves_stand_below_the_classes():
    text = class_table(scores(froc={"x": ((0.5, 0.25), (1.0, 0.75))}))
    assert "Objects, all cases together" in text
    assert ">2 of 4<" in text
    assert ">0.750<" in text
    assert ">0.5<" in text
    plain = scores().model_copy(update={"objects": {}})
    assert "Objects, all" not in class_table(plain)
    assert "--resume" not in class_table(plain)
    assert "unet train" in class_table(None)


def test_why_a_metric_is_measured_is_said_once():
    why = "x: 2 objects per case; <small> ones."
    text = class_table(scores(reasons={"object_recall": why, "object_f1": why}))
    assert (
        text.count("object recall, object F1: measured because of x: 2 objects per case; &lt;small&gt;") == 1
    )
    assert "measured because" not in class_table(scores())


def test_both_calibrations_are_shown_with_the_numbers_of_the_table():
    random = np.random.default_rng(0)
    shares = random.random((2, 40, 40))
    shares /= shares.sum(axis=0)
    labels = (random.random((40, 40)) < 0.1).astype(np.uint8)
    rows = calibration(shares, labels)
    near = calibration(shares, labels, labels > 0)
    text = calibration_curves(scores(calibration=rows, calibration_objects=near))
    assert text.count("<svg") == 2
    sure, right = shares.max(axis=0), shares.argmax(axis=0) == labels
    for where in (np.ones_like(labels) > 0, labels > 0):
        assert f">{100 * sure[where].mean():.1f} %<" in text
        assert f">{100 * right[where].mean():.1f} %<" in text
        assert f">{where.sum():,}<" in text
    assert f">{100 * calibration_error(near):.1f}<" in text
    assert calibration_curves(None) == calibration_curves(scores()) == ""


def test_the_headline_tells_how_sure_and_how_right_it_is(tmp_path):
    rows = ((0.9, 0.5, 2), (0.5, 0.5, 2))
    text = headline(Run(tmp_path), scores(calibration_objects=rows), None)
    assert ">70 % sure<" in text
    assert "50 % right, over the pixels it calls an object; the gap (ECE) is 20.0 points" in text
    assert "Dice, mean over classes" in text
    for none in ((), ((0.0, 0.0, 0),)):
        assert "Its confidence" not in headline(Run(tmp_path), scores(calibration_objects=none), None)
    assert headline(Run(tmp_path), None, None) == '<div class="cards"></div>'


@pytest.mark.parametrize(("count", "folded"), [(2, False), (13, True)])
def test_many_cases_are_folded_away(count, folded):
    text = case_table(scores(count))
    assert ("<details>" in text) is folded
    assert text.count("<tr>") == count + 1
    assert case_table(None) == ""


def test_readers_stand_beside_the_model():
    found = ReaderAgreement(cases=3, among=0.83, model=0.755, consensus=None)
    text = class_table(scores(readers=found))
    assert "3 cases with several readers" in text
    for cell in ("readers, one against another</td>", ">0.830<", ">0.755<", ">–<"):
        assert cell in text
    assert "Readers" not in class_table(scores())
