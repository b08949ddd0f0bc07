"""Scores as a table."""

import csv

import numpy as np

from unetkit.metrics.score import score_case, summarise
from unetkit.metrics.table import to_csv


def test_one_row_per_case_and_class_with_what_became_of_it():
    reference, prediction = np.array([1, 1, 4], np.uint8), np.array([1, 2, 0], np.uint8)
    names = ("a", "b", "c", "d")
    known = {"classes": names, "spacing_mm": (1,), "metrics": ["dice", "nsd"]}
    cases = [
        score_case("one", "g", reference, prediction, **known, calibrated=False),
        score_case('two, "x"', "g", reference, None, **known),
    ]
    scores = summarise(cases, classes=names, metrics=["dice", "nsd"], tolerance_mm=1.0, split="unknown")
    table = list(csv.DictReader(to_csv(scores).splitlines()))
    assert [row["case"] for row in table] == ["one"] * 4 + ['two, "x"'] * 4
    assert table[0] == {
        "case": "one", "group": "g", "class": "a", "dice": "0.666667", "nsd": "1",
        "missed": "0", "spurious": "0", "absent": "0", "unit": "px",
    }  # fmt: skip
    flags = [f"{row['missed']}{row['spurious']}{row['absent']} {row['dice']}" for row in table]
    assert flags[:4] == ["000 0.666667", "010 0", "000 ", "100 0"]
    assert [flag[2] for flag in flags[4:]] == ["1"] * 4
    assert table[4]["unit"] == "mm"
    assert scores.heading("hd95") == "hd95 (mm or px)"
