from __future__ import annotations

import pytest

from unetkit.data import markup
from unetkit.data.markup import parse_xml, read_xml
from unetkit.errors import DataError

HEAD = b'<?xml version="1.0" encoding="UTF-8"?>'
WHOLE = HEAD + b'<n:a xmlns:n="urn:x" k="1&lt;2"><n:b>\xc3\xa4</n:b><!-- c --></n:a>'


def test_tags_lose_their_namespace_and_values_are_kept(tmp_path):
    (tmp_path / "a.xml").write_bytes(WHOLE)
    root = read_xml(tmp_path / "a.xml")
    assert (root.tag, root.get("k"), root.findtext("b")) == ("a", "1<2", "ä")


@pytest.mark.parametrize(
    "declared",
    [
        b'<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;&x;"><!ENTITY z "&y;&y;&y;&y;">]><a>&z;</a>',
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>',
        b'<!DOCTYPE a [<!ENTITY % x SYSTEM "file:///etc/hostname"> %x;]><a/>',
        b'<!DOCTYPE a SYSTEM "http://localhost/a.dtd"><a/>',
    ],
)
def test_entities_and_other_files_are_refused(declared):
    with pytest.raises(DataError, match=r"a\.xml: it declares a document type"):
        parse_xml(declared, where="a.xml")


def test_an_entity_that_nobody_declared_is_damage():
    with pytest.raises(DataError, match="truncated or damaged"):
        parse_xml(b"<a>&x;</a>", where="a.xml")


def test_a_file_cut_anywhere_is_refused():
    for length in range(len(WHOLE)):
        with pytest.raises(DataError, match="truncated or damaged"):
            parse_xml(WHOLE[:length], where="a.xml")


def test_sizes_and_depths_are_bounded(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="more than 64 deep"):
        parse_xml(b"<a>" * 100_000, where="a.xml")
    (tmp_path / "a.xml").write_bytes(WHOLE)
    monkeypatch.setattr(markup, "LARGEST_BYTES", 20)
    with pytest.raises(DataError, match="the limit is 20"):
        read_xml(tmp_path / "a.xml")


def test_an_encoding_that_nobody_knows_is_damage():
    with pytest.raises(DataError, match="truncated or damaged"):
        parse_xml(b'<?xml version="1.0" encoding="nonsense"?><a/>', where="a.xml")
