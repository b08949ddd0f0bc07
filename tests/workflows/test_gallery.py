import re

import numpy as np
import pytest

from unetkit.records.case import Grid
from unetkit.records.run import Run
from unetkit.records.scores import CaseScores, Scores
from unetkit.workflows.case_pictures import Shown, save_pictures
from unetkit.workflows.gallery import (
    aspect,
    case_dice,
    case_words,
    gallery,
    in_order,
    legend,
    worst_first,
)


def scores(**dice):
    cases = tuple(
        CaseScores(id=id, group=id, values={"x": {"dice": value}}, missed=("x",) if value == 0 else ())
        for id, value in dice.items()
    )
    return Scores(split="s", classes=("x",), metrics=("dice",), tolerance_mm=1, cases=cases, summary={})


def made(folder, *ids, grid=None):
    labels = np.zeros((6, 8, 16), np.uint8)
    labels[3, 2:5, 2:5] = 1
    grid = grid or Grid((2.0, 1.0, 1.0), (0, 0, 0), ((0, 0, 1.0), (0, -1.0, 0), (-1.0, 0, 0)))
    return [
        save_pictures(Run(folder), i, Shown(id, np.zeros((1, 6, 8, 16)), grid, labels, labels), budget=10**6)
        for i, id in enumerate(ids)
    ]


def test_the_worst_come_first_and_the_empty_last():
    assert [case.id for case in worst_first(scores(a=0.5, b=None, c=0.0))] == ["c", "a", "b"]
    assert case_dice(scores(a=None).cases[0]) is None


def test_words_about_a_case():
    one, none = scores(a=0.0, b=None).cases
    assert case_words(one) == "Dice 0.000, missed x"
    assert case_words(none) == "nothing there, nothing found"
    assert case_words(None) == "not measured"


def test_layers_of_the_fullest_plane(tmp_path):
    ordered = in_order(made(tmp_path, "a", "c"), scores(a=0.5, c=0.0))
    assert [case.id for case, _ in ordered] == ["c", "a"]
    text = gallery(Run(tmp_path), ("background", "x"), ordered)
    assert text.index(">c<") < text.index(">a<")
    assert "Dice 0.000, missed x, slice 4 of 6" in text
    assert text.count('class="predicted fill"') == text.count('class="reference"') == 2
    assert re.findall(r'data-open="(\d)"', text) == ["0", "1"]
    assert gallery(Run(tmp_path), ("background", "x"), []) == ""
    assert legend(("background", "x")).count("swatch") == 1


@pytest.mark.parametrize(("turn", "wide"), [((0, 1, 2), 16 / 8), ((1, 0, 2), 16 / 8)])
def test_pixels_have_the_shape_they_have_in_the_world(tmp_path, turn, wide):
    directions = ((0, 0, 1.0), (0, -1.0, 0), (-1.0, 0, 0))
    grid = Grid((2.0, 1.0, 1.0), (0, 0, 0), tuple(directions[axis] for axis in turn))
    (case,) = made(tmp_path, "a", grid=grid)
    assert aspect(case) == pytest.approx(wide)
    (case,) = made(tmp_path, "a", grid=Grid((1.0, 2.0, 0.5), (0, 0, 0), directions))
    assert aspect(case) == pytest.approx(0.5)
