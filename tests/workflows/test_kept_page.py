"""The matrix of an update as a picture: every number is there, and nothing that a name could smuggle in."""

from __future__ import annotations

import re

from unetkit.records.kept import Interval, Kept, UpdateFile
from unetkit.workflows.kept_page import kept_section, matrix_chart

NONE = Interval(value=None)


def file_of(**more) -> UpdateFile:
    def kept(high):
        old = Interval(value=0.9, low=0.85, high=0.95)
        return Kept(
            matrix=((old, Interval(value=0.1)), (Interval(value=high), NONE)),
            accuracy=Interval(value=0.77),
            backward=Interval(value=-0.05, low=-0.1, high=0.01),
            forward=NONE,
            forgetting=Interval(value=0.05),
        )

    values = {
        "method": "replay",
        "model": "old<i>",
        "model_sha256": "",
        "data": "new",
        "stages": ("before", "after"),
        "domains": ("golden<b>", "new"),
        "classes": {"scratch": kept(0.81), "mean": kept(0.82)},
        "notes": ("nothing is <known>",),
    }
    return UpdateFile(**{**values, **more})


def test_every_number_of_the_matrix_is_in_the_picture():
    text = matrix_chart("mean", file_of())
    shown = re.findall(r">([\d.–]+)</text><title>", text)
    assert shown == ["0.900", "0.100", "0.820", "–"]
    shades = [float(value) for value in re.findall(r'fill-opacity="([\d.]+)"', text)]
    assert shades == [0.51, 0.11, 0.47, 0.06]  # the fuller, the higher
    assert "0.900 [0.850, 0.950]" in text


def test_the_mean_comes_first_and_names_are_escaped():
    text = kept_section(file_of())
    assert text.index("Dice, mean") < text.index("Dice, scratch")
    assert text.index("Matrix of mean") < text.index("Matrix of scratch")
    assert "-0.050<br><small>-0.100 to 0.010</small>" in text
    for bad in ("<b>", "<i>", "<known>"):
        assert bad not in text
    assert "nothing is &lt;known&gt;" in text


def test_without_anything_measured_the_method_is_said_all_the_same():
    text = kept_section(file_of(classes={}, domains=()))
    assert "Method: replay" in text
    assert "<svg" not in text
