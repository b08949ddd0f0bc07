"""Lines that are whole or do not count."""

import pytest

from unetkit.errors import ResourceError
from unetkit.records.journal import Journal


def test_events_come_back_in_order_and_a_torn_line_is_left_out(tmp_path):
    journal = Journal(tmp_path / "new" / "a.jsonl")
    assert list(journal.events()) == []
    journal.note("one", x=1)
    with journal.path.open("a") as file:
        file.write('{"event": "tw')
    journal.note("three", x="ä")
    assert list(journal.events()) == [{"event": "one", "x": 1}, {"event": "three", "x": "ä"}]
    assert list(journal.events("three")) == [{"event": "three", "x": "ä"}]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="cannot write this file"):
        Journal(tmp_path / "file" / "a.jsonl").note("one")
