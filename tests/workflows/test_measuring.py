import json

import numpy as np
from PIL import Image

from unetkit.records.scores import Scores


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


def test_pictures_are_listed_for_the_report(finished):
    rows = json.loads((finished / "pictures" / "index.json").read_text())
    assert len(rows) == 4
    assert all((finished / "pictures" / one["image"]).is_file() for row in rows for one in row["slices"])
