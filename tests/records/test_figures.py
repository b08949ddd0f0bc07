"""Numbers as people read them: digits, signs, and what stands where there is none."""

from __future__ import annotations

import subprocess
import sys

import pytest

from unetkit.metrics import METRICS
from unetkit.records.figures import (
    amount,
    difference,
    figure,
    metric_name,
    p_value,
    per_cent,
    score,
    with_interval,
)


def test_shares_have_three_digits_and_lengths_two():
    assert [score(None), score(0.5), score(12.345, "hd95"), score(1, "assd")] == [
        "–",
        "0.500",
        "12.35",
        "1.00",
    ]
    assert score(0.1234, "object_f1") == score(0.1234, "volume_error") == "0.123"
    assert (difference(0.00126), difference(-0.5, "hd95"), difference(None)) == ("+0.0013", "-0.50", "–")


def test_an_interval_needs_both_ends_and_a_middle():
    assert with_interval(0.5, 0.25, 0.75) == "0.500 [0.250, 0.750]"
    assert with_interval(4.0, 3.5, 4.5, metric="hd95") == "4.00 [3.50, 4.50]"
    assert with_interval(0.01, -0.01, 0.02, apart=True) == "+0.0100 [-0.0100, +0.0200]"
    for low, high in ((None, 0.75), (0.25, None), (None, None)):
        assert with_interval(0.5, low, high) == "0.500"
    assert with_interval(None, 0.1, 0.2) == with_interval(None, 0.1, 0.2, apart=True) == "–"


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [(0, 1, "0.0 %"), (0.0004, 1, "<0.1 %"), (0.0006, 1, "0.1 %"), (1, 0, "100 %"), (0.99999, 2, ">99.99 %")],
)
def test_little_is_not_nothing_and_nearly_all_not_all(share, digits, text):
    assert per_cent(share, digits=digits) == text


def test_small_ones_are_not_rounded_to_zero():
    assert p_value(0.0009999) == "<0.001"
    assert p_value(0.001) == "0.001"
    assert [figure(value) for value in (0, 999.6, 1000.4, -0.00123)] == ["0", "1000", "1000", "-0.00123"]


def test_many_have_a_prefix():
    assert [amount(value) for value in (0, 999, 999.6, 1e6, 31_030_000)] == ["0", "999", "1 k", "1 M", "31 M"]
    assert (amount(999_600, "B"), amount(3e12, "B")) == ("1 MB", "3000 GB")


def test_every_metric_has_a_name_of_words():
    names = [metric_name(name) for name in METRICS]
    assert len(set(names)) == len(METRICS)
    assert not [name for name in names if "_" in name]


def test_the_doors_may_write_numbers_before_anything_heavy_is_there():
    code = "import sys, unetkit.records.figures; print({'pydantic', 'numpy', 'torch'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
