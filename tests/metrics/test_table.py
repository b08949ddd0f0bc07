"""Rows of scores."""

import numpy as np

from unetkit.metrics.score import score_case, summarise
from unetkit.metrics.table import rows


def test_one_row_per_case_class_and_metric_with_its_state():
    reference, prediction = np.array([1, 1, 4], np.uint8), np.array([1, 2, 0], np.uint8)
    names = ("a", "b", "c", "d")
    cases = [
        score_case(id, "g", reference, found, classes=names, spacing_mm=(1,), metrics=["dice", "nsd"])
        for id, found in (("one", prediction), ("two", None))
    ]
    scores = summarise(cases, classes=names, metrics=["dice", "nsd"], tolerance_mm=1.0, split="unknown")
    table = rows(scores)
    assert len(table) == 2 * 4 * 2
    assert table[0] == {
        "case": "one", "group": "g", "class": "a", "metric": "dice", "value": 2 / 3, "state": "found",
    }  # fmt: skip
    states = [row["state"] for row in table if row["metric"] == "dice"]
    assert states == ["found", "spurious", "undefined", "missed"] + ["absent"] * 4
