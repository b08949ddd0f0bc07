"""Errors say where, what and what to do, and carry their exit code."""

from __future__ import annotations

import pytest

from unetkit import errors
from unetkit.errors import UnetkitError, nearest


def test_an_error_reads_as_one_sentence_and_a_cure():
    wrong = errors.DataError("expected 2 classes, got 3", cure="relabel it", where="a.png")
    assert str(wrong) == "a.png: expected 2 classes, got 3. Do this: relabel it."
    assert str(UnetkitError("no disk", cure="buy one")) == "no disk. Do this: buy one."


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("UnetkitError", 1), ("UsageError", 2), ("MissingPackageError", 2), ("DataError", 3),
        ("GateError", 4), ("ResourceError", 5), ("PreemptedError", 75),
    ],
)  # fmt: skip
def test_exit_codes_are_the_documented_ones(kind, code):
    assert getattr(errors, kind).exit_code == code


def test_nearest_names_the_closest_or_all():
    assert nearest("focl", ["focal", "dice"]) == "use 'focal' (known: dice, focal)"
    assert nearest("zzz", ["focal", "dice"]) == "use one of: dice, focal"
