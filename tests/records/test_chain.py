"""A chain of hashes: what is appended is found, and what is changed is noticed, wherever it is."""

from __future__ import annotations

import itertools
import json

import pytest

from unetkit.errors import DataError
from unetkit.records.chain import START, append_link, read_chain


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.jsonl"
    for number in range(5):
        append_link(path, "event", {"number": number, "share": 0.1 * number, "word": "ä"})
    return path


def test_what_was_appended_is_read(log):
    links = read_chain(log)
    assert [link.facts["number"] for link in links] == list(range(5))
    assert links[0].before == START
    assert all(after.before == link.hash for link, after in itertools.pairwise(links))
    assert read_chain(log.with_name("none")) == ()


@pytest.mark.parametrize("line", range(5))
@pytest.mark.parametrize("key", ["number", "time", "event", "facts", "before", "hash"])
def test_any_change_of_any_line_is_found(log, line, key):
    lines = log.read_text().splitlines()
    record = json.loads(lines[line])
    changed = {"number": 9, "facts": {"number": 7}}.get(key, "0" * 63 + "1")
    lines[line] = json.dumps({**record, key: changed})
    log.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"this log was tampered with: line"):
        read_chain(log)
    with pytest.raises(DataError, match="tampered"):
        append_link(log, "event", {})


def test_a_line_taken_out_put_in_or_moved_is_found(log):
    lines = log.read_text().splitlines()
    for other in (lines[1:], [*lines[:2], *lines[3:]], [lines[1], lines[0], *lines[2:]], [*lines, lines[-1]]):
        log.write_text("\n".join(other) + "\n")
        with pytest.raises(DataError, match="does not follow the one before it"):
            read_chain(log)
    log.write_text("\n".join([*lines[:2], "{", *lines[2:]]) + "\n")
    with pytest.raises(DataError, match="line 3 cannot be read"):
        read_chain(log)
