"""The table of results prints whatever a row can hold."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "benchmarks" / "main_road" / "results.py"


@pytest.fixture(scope="module")
def results():
    found = importlib.util.spec_from_file_location("main_road_results", PAGE)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def row(mean, low, high):
    return {"dice": {"mean": mean, "low": low, "high": high}}


@pytest.mark.parametrize(
    ("summary", "text"),
    [
        (row(0.5, 0.4, 0.6), "50.0 (40.0–60.0)"),
        (row(0.5, None, None), "50.0"),  # a class scored in one group has no interval
        (row(None, None, None), "–"),
        ({}, "–"),
    ],
)
def test_a_cell(results, summary, text):
    assert results.cell(summary, "dice") == text


def test_hausdorff_distances_are_no_percentages(results):
    assert results.cell({"hd95": {"mean": 2.0, "low": 1.0, "high": 3.5}}, "hd95") == "2.0 (1.0–3.5)"
