import numpy as np

from unetkit.records.run import Run
from unetkit.records.scores import CaseScores, Scores
from unetkit.workflows.gallery import case_dice, gallery, number, worst_first
from unetkit.workflows.pictures import save_pictures


def scores(**dice):
    cases = tuple(
        CaseScores(id=id, group=id, values={"x": {"dice": value}}, missed=("x",) if value == 0 else ())
        for id, value in dice.items()
    )
    return Scores(split="s", classes=("x",), metrics=("dice",), tolerance_mm=1, cases=cases, summary={})


def test_the_worst_come_first_and_the_empty_last():
    assert [case.id for case in worst_first(scores(a=0.5, b=None, c=0.0))] == ["c", "a", "b"]
    assert case_dice(scores(a=None).cases[0]) is None


def test_numbers():
    assert [number(None), number(0.5), number(12.345, "hd95")] == ["–", "0.500", "12.35"]


def test_layers_and_slices(tmp_path):
    run = Run(tmp_path)
    labels = np.zeros((6, 8, 8), np.uint8)
    labels[1:5, 2:5, 2:5] = 1
    made = [
        save_pictures(run, i, id, np.zeros((1, 6, 8, 8)), reference=labels, prediction=labels)
        for i, id in enumerate(("a", "c"))
    ]
    text = gallery(run, ("background", "x"), scores(a=0.5, c=0.0), made)
    assert text.index(">c<") < text.index(">a<")
    assert "missed x" in text
    assert text.count("slice shown") == 2
    assert text.count('class="predicted fill"') == sum(len(one.slices) for one in made)
    assert gallery(run, ("background", "x"), None, []) == ""
