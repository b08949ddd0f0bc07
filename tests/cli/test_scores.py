"""Scores as tables: what a person sees of objects, subgroups and differences."""

from unetkit.cli.scores import show_against, show_scores, show_subgroups
from unetkit.metrics.score import summarise
from unetkit.records.scores import CaseObjects, CaseScores, ReaderAgreement
from unetkit.workflows.comparison import Against
from unetkit.workflows.subgroups import Subgroup


def scored(**more):
    cases = [
        CaseScores(
            id=str(number),
            group=str(number),
            values={"x": {"dice": value}},
            objects={"x": CaseObjects(found=(4.0,), missed=(30.0,), right=(4.0,), wrong=(2.0, 9.0))},
        )
        for number, value in enumerate((0.25, 0.75, None))
    ]
    scores = summarise(cases, classes=["x"], metrics=["dice"], tolerance_mm=1.0, split="held-out")
    return scores.model_copy(update=more)


def test_objects_curves_and_reasons(capsys):
    show_scores(scored(reasons={"object_f1": "x: 2 objects per case"}, froc={"x": ((0.5, 0.25), (1.0, 0.5))}))
    told = capsys.readouterr().out
    assert "object_f1: measured because of x: 2 objects per case" in told
    assert told.count("0.500 [0.250, 0.750]") == 1  # the mean over one class is not said again
    assert "3 of 6" in told
    assert "3 of 9" in told
    assert "below 30" in told
    assert "30 and more" in told
    assert "Objects found at so many false alarms per image" in told
    plain = scored(objects={})
    show_scores(plain)
    assert "Objects" not in capsys.readouterr().out.replace(plain.convention, "")


def test_calibration_is_one_line_and_none_without(capsys):
    rows = ((0.9, 0.5, 2), (0.5, 0.5, 2))
    show_scores(scored(calibration=rows, calibration_objects=rows[:1]))
    line = "expected calibration error (ECE): 0.200 over all pixels, 0.400 over pixels it calls an object"
    assert line in " ".join(capsys.readouterr().out.split())
    show_scores(scored())
    assert "ECE" not in capsys.readouterr().out


def test_readers_are_one_line(capsys):
    show_scores(scored(readers=ReaderAgreement(cases=2, among=0.83, model=0.7, consensus=None)))
    line = "readers (2 cases), Dice: 0.830 one against another, 0.700 the model against each, – against their"
    assert line in capsys.readouterr().out


def test_subgroups(capsys):
    scores = scored()
    show_subgroups(scores, ())
    assert capsys.readouterr().out == ""
    show_subgroups(scores, (Subgroup(column="site", value="north", cases=3, summary=scores.summary),))
    told = capsys.readouterr().out
    assert told.startswith("By site: mean [95 % interval]")
    assert told.count("north") == 1  # of a single class the mean over classes says nothing more


def test_differences(capsys):
    show_against(scored(), "other", {})
    assert capsys.readouterr().out == ""
    rows = {
        "x": {"dice": Against(mean=0.125, low=-0.1, high=0.3, cases=9, p_value=0.0312)},
        "mean": {"dice": Against(mean=None)},
    }
    show_against(scored(), "runs/b", rows)
    told = capsys.readouterr().out
    assert "The first minus runs/b, case by case" in told
    assert "+0.1250 [-0.1000, +0.3000]" in told
    assert "0.031" in told
