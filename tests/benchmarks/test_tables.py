"""Numbers and tables hold whatever a row can hold."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def tables(script):
    return script("tables.py")


def row(mean, low, high):
    return {"mean": mean, "low": low, "high": high}


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (row(0.5, 0.4, 0.6), "50.0 (40.0–60.0)"),
        (row(0.5, None, None), "50.0"),  # a class scored in one group has no interval
        (row(None, None, None), "–"),
        ({}, "–"),
        (None, "–"),
    ],
)
def test_a_mean_in_points(tables, found, text):
    assert tables.mean(found, scale=100) == text


def test_signs_scales_and_chances(tables):
    assert tables.mean(row(2.0, 1.0, 3.5)) == "2.0 (1.0–3.5)"
    assert tables.mean(row(0.02, -0.01, 0.05), scale=100, sign=True) == "+2.0 (-1.0–5.0)"
    assert [tables.chance(value) for value in (0.0312, 1.0, None)] == ["0.031", "1", "–"]


def test_a_table(tables):
    assert tables.table(("a", "b"), [(1, "x")]) == ["| a | b |", "|---|---|", "| 1 | x |"]


def test_rows_say_when_and_where_they_were_made(tables, tmp_path):
    facts = {"job": "b", "date": "2026-01-02", "commit": "abc", "machine": "2 cores", "seconds": 3.0}
    for name in ("b", "a"):
        (tmp_path / f"{name}.json").write_text(json.dumps({**facts, "steps": 5}))
    rows = tables.rows_of(tmp_path)
    assert list(rows) == ["a", "b"]
    assert tables.made(rows)[-1] == "| b | 2026-01-02 | abc | 2 cores | 3.0 | – |"


def test_facts_are_listed_as_they_are(tables):
    rows = {"a": {"job": "a", "seconds": 1, "ratio": 2.5, "sides": ["x", "y"]}, "b": {"job": "b"}}
    assert tables.listed(rows) == ["* **a** — ratio: 2.5; sides: ['x', 'y']", "* **b** — done"]


@pytest.mark.parametrize("claim", ["inference", "medicine"])
def test_pages_of_facts_alone(script, tmp_path, claim):
    (tmp_path / "rows").mkdir()
    facts = {"job": "x", "date": "2026-01-02", "commit": "abc", "machine": "2 cores", "seconds": 3.0}
    (tmp_path / "rows" / "x.json").write_text(json.dumps(facts | {"ratio": 2.5}))
    script(f"{claim}/results.py").write(tmp_path / "rows", tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text().splitlines()
    assert "* **x** — ratio: 2.5" in page
    assert page[-1] == "| x | 2026-01-02 | abc | 2 cores | 3.0 | – |"


def test_the_page_of_the_main_road(script, tmp_path):
    (tmp_path / "rows").mkdir()
    facts = {"job": "x", "date": "2026-01-02", "commit": "abc", "machine": "2 cores", "seconds": 3.0}
    summary = {
        "dice": row(0.5, 0.4, 0.6) | {"n": 4, "missed": 1, "undefined": 2},
        "iou": row(0.25, None, None),
        "hd95": row(3.0, 1.0, 3.5),
    }
    scored = facts | {"steps": 7, "scores": {"class 1": summary}}
    (tmp_path / "rows" / "drive-unetkit.json").write_text(json.dumps(scored))
    (tmp_path / "rows" / "kill.json").write_text(json.dumps(facts | {"kills": 50, "cpu_share": 0.5}))
    script("main_road/results.py").write(tmp_path / "rows", tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text().splitlines()
    wanted = "| drive | unetkit | class 1 | 4 | 1 | 2 | 50.0 (40.0–60.0) | 25.0 | 3.0 (1.0–3.5) | 7 |"
    assert wanted in page
    assert "* **kill** — kills: 50" in page
    assert "| kill | 2026-01-02 | abc | 2 cores | 3.0 | 0.5 |" in page


@pytest.mark.parametrize("folder", ["architectures", "compression", "continual", "inference", "medicine"])
def test_a_page_without_rows_has_a_title(script, folder, tmp_path):
    (tmp_path / "rows").mkdir()
    script(f"{folder}/results.py").write(tmp_path / "rows", tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text().startswith("# ")
