"""The page about metrics tells the truth: its example runs and its figures are ours."""

import doctest
import math
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_example_runs():
    result = doctest.testfile(str(PAGE), module_relative=False)
    assert result.attempted > 10
    assert result.failed == 0


def test_its_figures():
    rising = [f"{4 + (math.hypot(64, 64) - 4) * k / 100:.1f}" for k in (20, 50, 80)]
    assert f"{rising[0]}, {rising[1]} and {rising[2]}" in PAGE.read_text(encoding="utf-8")
