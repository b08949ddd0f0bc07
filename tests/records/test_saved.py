"""A saved record knows its version: newer files are refused, older ones are brought up to date."""

from __future__ import annotations

import json
import math
from typing import ClassVar

import pytest

from unetkit.errors import UsageError
from unetkit.networks.store import Seal
from unetkit.records.fingerprint import Fingerprint
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.records.saved import Saved
from unetkit.records.scores import Scores
from unetkit.records.split import SplitFile


def _name_split(tree: dict) -> dict:
    first, last = tree.pop("name").split(" ")
    return {**tree, "first": first, "last": last}


def _weight_in_grams(tree: dict) -> dict:
    grams = tree.pop("kilograms") * 1000
    return {**tree, "grams": grams}


class Person(Saved):
    """Version 1 had ``name`` and ``kilograms``, version 2 ``first``, ``last`` and ``kilograms``."""

    upgrades: ClassVar = {1: _name_split, 2: _weight_in_grams}

    version: int = 3
    first: str
    last: str
    grams: float
    tags: tuple[str, ...] = ()


class Plain(Saved):
    """A record that never was versioned."""

    name: str


def read(model, **tree):
    return model.from_json(json.dumps(tree), where="a.json")


def test_every_older_version_is_brought_up_to_date():
    now = Person(first="Ada", last="Byron", grams=60000, tags=("x",))
    assert read(Person, version=1, name="Ada Byron", kilograms=60, tags=["x"]) == now
    assert read(Person, version=2, first="Ada", last="Byron", kilograms=60, tags=["x"]) == now
    assert Person.from_json(now.to_json(), where="a.json") == now
    assert read(Person, version=1, name="A B", kilograms=math.inf).grams == math.inf


def test_a_file_that_states_no_version_is_of_this_one():
    assert read(Person, first="Ada", last="Byron", grams=1).version == 3


@pytest.mark.parametrize("version", [4, 99, "99", 99.0])
def test_a_newer_file_is_refused_before_its_unknown_keys_are(version):
    with pytest.raises(UsageError) as wrong:
        read(Person, version=version, whatever=1)
    number = int(version)
    assert str(wrong.value) == (
        f"a.json: written by a newer unetkit (version {number}, this one knows 3). "
        "Do this: update unetkit, or use a file that this one wrote."
    )


def test_an_older_file_without_an_upgrade_is_refused():
    with pytest.raises(UsageError, match=r"written by an older unetkit \(version 0, this one knows 3 and"):
        read(Person, version=0)


def test_what_is_no_number_or_no_object_is_answered_as_before():
    with pytest.raises(UsageError, match="'version': Input should be a valid integer"):
        read(Person, version="new", first="a", last="b", grams=1)
    for text in ("[]", "3", "{", b"\xff\xfe", "[" * 100_000):
        with pytest.raises(UsageError, match=r"a\.json: not a valid record"):
            Person.from_json(text, where="a.json")


def test_a_record_without_a_version_is_as_it_was():
    assert read(Plain, name="a").name == "a"
    with pytest.raises(UsageError, match="unknown key 'version'"):
        read(Plain, name="a", version=1)


@pytest.mark.parametrize("model", [Plan, Scores, Fingerprint, Seal, SplitFile])
def test_every_record_of_a_run_refuses_a_newer_file(model):
    with pytest.raises(UsageError, match=r"written by a newer unetkit \(version 99, this one knows 1\)"):
        read(model, version=99)


def test_the_version_of_a_plan_cannot_be_set():
    with pytest.raises(UsageError, match="'version' says how the plan is written and cannot be set"):
        Plan.model_validate(EXAMPLE).with_values({"version": "99"})
