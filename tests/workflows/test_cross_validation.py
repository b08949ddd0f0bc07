"""The record of all folds, and its tables."""

from __future__ import annotations

import re

from unetkit.records.run import Run
from unetkit.records.scores import Scores
from unetkit.workflows.comparison import Against, Mean
from unetkit.workflows.cross_validation import (
    OPTIONS_HEAD,
    Candidate,
    as_html,
    fold_head,
    fold_rows,
    option_rows,
    read_cross_validation,
    refinement_sentence,
)
from unetkit.workflows.refinement import Gain


def scores_of(folder):
    path = folder / "model" / "scores.json"
    return Scores.from_json(path.read_bytes(), where=path)


def test_one_row_per_fold_and_one_for_all(validated, tmp_path):
    found, scores = read_cross_validation(Run(validated)), scores_of(validated)
    head, rows = fold_head(scores), fold_rows(found, scores)
    assert head[:3] == ("fold", "trained on", "held out")
    assert head[3:7] == ("Dice scratch", "Dice particle", "Dice stain", "Dice mean")
    assert head[7:] == ("HD95 (px)", "NSD @ 1 px")
    assert [row[:3] for row in rows] == [*((str(n), "8", "4") for n in range(3)), ("all folds", "", "12")]
    assert all(len(row) == len(head) for row in rows)
    pooled = scores.summary["mean"]["dice"]
    assert rows[-1][6] == f"{pooled.mean:.3f} [{pooled.low:.3f}, {pooled.high:.3f}]"
    means = [fold.summary["mean"]["dice"] for fold in found.folds]
    total = sum(one.mean * one.n for one in means) / sum(one.n for one in means)
    assert abs(total - pooled.mean) < 1e-12
    assert [one.low for one in means] == [None] * 3  # one wafer each: a group has no spread
    assert read_cross_validation(Run(tmp_path)) is None


def test_the_page_shows_folds_options_and_the_field(validated):
    found, scores = read_cross_validation(Run(validated)), scores_of(validated)
    options = (
        Candidate(names=("a<b",), dice=Mean(mean=0.5, low=0.4, high=0.6, cases=12)),
        Candidate(
            names=("a<b", "c"),
            dice=Mean(mean=0.7, cases=12),
            against_best_alone=Against(mean=0.2, cases=12, p_value=0.03),
            chosen=True,
        ),
    )
    gain = Gain(
        before={"x": 0.5},
        after={"x": 0.4},
        gain=Against(mean=-0.1, low=-0.2, high=0.0, cases=12, p_value=0.1),
        accepted=False,
        values={},
    )
    text = as_html(found.model_copy(update={"candidates": options, "refinement": gain}), scores)
    assert "a&lt;b + c" in text
    assert "a<b" not in text
    assert option_rows(found.model_copy(update={"candidates": options})) == [
        ("a<b", "0.500 [0.400, 0.600]", "–", "–", ""),
        ("a<b + c", "0.700", "+0.2000", "0.030", "yes"),
    ]
    assert len(OPTIONS_HEAD) == 5
    assert refinement_sentence(gain) in text
    assert refinement_sentence(gain) == (
        "The refinement that was tried changes the mean Dice of 12 unseen cases by -0.1000 "
        "[-0.2000, +0.0000]: it was left out."
    )
    assert "the whole ensemble, which has seen all of them, was not measured" in text
    report = (validated / "report.html").read_text()
    assert ">Folds</h2>" in report
    assert re.search(r"each by networks that had never seen it", report)


def test_what_was_not_measured_has_no_page(validated):
    found = read_cross_validation(Run(validated))
    assert found.finished
    bare = found.model_copy(
        update={"folds": tuple(fold.model_copy(update={"summary": {}}) for fold in found.folds)}
    )
    assert not bare.finished
    assert as_html(bare, scores_of(validated)) == ""
    assert as_html(found, None) == ""
