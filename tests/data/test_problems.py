from __future__ import annotations

import pytest

from unetkit.data.problems import from_error, note, raise_refusals, refused, warning
from unetkit.errors import DataError


def test_notes_and_warnings_stop_nothing():
    assert raise_refusals([note("a", "x", "y"), warning("a", "x", "y", "z")]) is None


def test_one_refusal_is_the_error():
    with pytest.raises(DataError, match=r"^a\.png: it is blue\. Do this: paint it\.$") as wrong:
        raise_refusals([refused("colour", "a.png", "it is blue", "paint it")])
    assert wrong.value.exit_code == 3


def test_several_are_counted_and_the_first_are_worded():
    many = [refused("colour", f"{n}.png", f"it is blue {n}", "paint it") for n in range(5)]
    with pytest.raises(
        DataError, match=r"0\.png: it is blue 0 — and 4 more: 1\.png: .*2\.png: .*; … 2 not shown"
    ):
        raise_refusals(many)
    with pytest.raises(DataError, match=r"and 1 more: 1\.png: it is blue 1\. Do this"):
        raise_refusals(many[:2])


def test_an_error_becomes_a_finding():
    found = from_error("image", DataError("cut", cure="copy it"), "a.png")
    assert (found.severity, found.where, found.problem, found.cure) == ("refused", "a.png", "cut", "copy it")
    assert from_error("image", DataError("cut", cure="copy it", where="b.png"), "a.png").where == "b.png"
