"""What is noted of an image, and the reference in a model's folder."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from unetkit.data.formats import format_of
from unetkit.errors import DataError, UsageError
from unetkit.metrics.score import summarise
from unetkit.records.drift import REFERENCE
from unetkit.records.scores import CaseScores, Scores
from unetkit.records.split import SplitFile
from unetkit.spatial.regions import components
from unetkit.workflows.model import load
from unetkit.workflows.monitor import monitor
from unetkit.workflows.observing import Observation, read_reference, save_reference, with_scores


def test_a_training_leaves_the_reference_of_its_held_out_cases(finished):
    reference = read_reference(finished / "model")
    split = SplitFile.from_json((finished / "split.json").read_bytes(), where="s")
    assert set(reference.ids) == set(split.held_out)
    assert len(reference.embeddings) == len(reference.ids)
    scores = Scores.from_json((finished / "model" / "scores.json").read_bytes(), where="s")
    place = reference.names.index("performance.dice")
    for id, row in zip(reference.ids, reference.values, strict=True):
        values = [one["dice"] for one in next(c for c in scores.cases if c.id == id).values.values()]
        defined = [value for value in values if value is not None]
        assert row[place] == (pytest.approx(np.mean(defined), rel=1e-4) if defined else None)
    manifest = json.loads((finished / "manifest.json").read_text())
    assert f"model/{REFERENCE}" in manifest["files"]


def test_what_is_noted_of_a_prediction(finished, wafers, tmp_path):
    """Areas and objects are those of the label files that ``predict`` writes."""
    from unetkit.workflows.predict import predict

    folder = shutil.copytree(finished / "model", tmp_path / "model")
    model = load(folder)
    monitor(model, wafers / "images", learn=True)
    reference = read_reference(folder)
    predict(model, wafers / "images", tmp_path / "out")
    values = dict(zip(model.plan.data.classes, model.plan.data.label_values, strict=True))
    for id, row in zip(reference.ids, reference.values, strict=True):
        labels, _ = format_of(tmp_path / "out" / f"{id}.png").read_label(tmp_path / "out" / f"{id}.png")
        noted = dict(zip(reference.names, row, strict=True))
        for name in model.classes[1:]:
            here = labels == values[name]
            assert noted[f"prediction.area.{name}"] == pytest.approx(here.mean(), rel=1e-4)
            assert noted[f"prediction.objects.{name}"] == components(here)[1]
        assert 0 <= noted["prediction.entropy"] <= 1
    shares = model.predict(wafers / "images" / f"{reference.ids[0]}.png", probabilities=True).probabilities
    entropy = np.mean([[-sum(p * np.log(p) for p in pixel) for pixel in row] for row in shares.T])
    first = dict(zip(reference.names, reference.values[0], strict=True))
    assert first["prediction.entropy"] == pytest.approx(entropy / np.log(len(shares)), rel=1e-3)


def seen(count):
    return [Observation(f"i{n}", {"a": float(n)}, np.full(3, n)) for n in range(count)]


def test_a_reference_is_kept_small_and_says_what_is_missing(finished, tmp_path):
    folder = shutil.copytree(finished / "model", tmp_path / "model")
    rows = [*seen(1200), Observation("odd", {"a": 1.0, "b": 2.0}, None)]
    rows = with_scores(
        rows,
        summarise(
            [CaseScores(id="i0", group="g", values={"x": {"dice": 0.5}})],
            classes=("x",), metrics=("dice",), tolerance_mm=1.0, split="unknown",
        ),
    )  # fmt: skip
    found = save_reference(folder, rows, source="here")
    assert len(found.ids) == 401  # every third
    assert found.names == ("a", "performance.dice", "b")
    assert found.values[0] == (0.0, 0.5, None)
    assert found.values[-1] == (1.0, None, 2.0)
    assert found.embeddings == ()  # one image has none
    assert read_reference(folder) == found


def test_a_reference_that_is_not_the_models_is_refused(finished, tmp_path):
    folder = shutil.copytree(finished / "model", tmp_path / "model")
    path = folder / REFERENCE
    whole = save_reference(folder, seen(3), source="here")
    path.write_text(whole.model_copy(update={"model_sha256": "0" * 64}).to_json())
    with pytest.raises(DataError, match=r"that of another model \(SHA-256 differs\).*--learn"):
        read_reference(folder)
    path.write_text(whole.model_copy(update={"ids": ("a",)}).to_json())
    with pytest.raises(DataError, match="this reference is not whole"):
        read_reference(folder)
    path.write_text("{")
    with pytest.raises(DataError, match=r"learn it anew"):
        read_reference(folder)
    path.unlink()
    with pytest.raises(UsageError, match=r"has no reference to hold images against.*--learn"):
        read_reference(folder)
