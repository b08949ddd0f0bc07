from __future__ import annotations

import struct

import numpy as np
import pytest

from unetkit.data.formats.dicom_elements import PIXEL_DATA, walk_elements
from unetkit.errors import DataError

EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
UNDEFINED = 0xFFFFFFFF


def element(tag, kind, value, coding=EXPLICIT, length=None):
    """One element, coded by hand from part 5 of the standard."""
    order = ">" if coding == BIG else "<"
    size = len(value) if length is None else length
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if coding == IMPLICIT or tag >> 16 == 0xFFFE:
        return head + struct.pack(order + "I", size) + value
    if kind in (b"OB", b"OW", b"SQ", b"UN"):
        return head + kind + struct.pack(order + "HI", 0, size) + value
    return head + kind + struct.pack(order + "H", size) + value


def file(path, *elements, syntax=EXPLICIT):
    named = syntax.encode() + b"\0" * (len(syntax) % 2)
    path.write_bytes(bytes(128) + b"DICM" + element(0x00020010, b"UI", named) + b"".join(elements))
    return path


def sequence(*items, coding=EXPLICIT):
    body = b"".join(
        element(0xFFFEE000, b"", item, coding, UNDEFINED) + element(0xFFFEE00D, b"", b"", coding)
        for item in items
    )
    return element(0x00081140, b"SQ", body + element(0xFFFEE0DD, b"", b"", coding), coding, UNDEFINED)


def words_of(path):
    """The refusal of a file without pixels; None where the walk took it and saw that it has none."""
    try:
        assert walk_elements(path).pixel_bytes is None
    except DataError as wrong:
        return str(wrong)
    return None


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
def test_tags_and_pixels_are_found_and_every_cut_too(tmp_path, syntax):
    inner = sequence(element(0x00080060, b"CS", b"CT", syntax), coding=syntax)
    path = file(
        tmp_path / "a.dcm",
        element(0x00080060, b"CS", b"CT", syntax),
        sequence(inner, element(0x7FE00010, b"OW", b"icon", syntax), coding=syntax),
        element(PIXEL_DATA, b"OW", bytes(40), syntax),
        syntax=syntax,
    )
    found = walk_elements(path)
    assert (found.syntax, found.pixel_bytes) == (syntax, 40)
    assert found.tags == {0x00080060, 0x00081140, PIXEL_DATA}
    whole = path.read_bytes()
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        said = words_of(path)
        # cut between two elements there is nothing to see but that the pixels are missing
        assert said is None or ("a.dcm" in said and ("truncated" in said or "no DICOM" in said)), length


def test_fragments_of_compressed_pixels_end_with_their_mark(tmp_path):
    parts = b"".join(element(0xFFFEE000, b"", part) for part in (b"", b"12345678", b"1234"))
    end = element(0xFFFEE0DD, b"", b"")
    jpeg = "1.2.840.10008.1.2.4.90"
    path = file(tmp_path / "a", element(PIXEL_DATA, b"OB", parts + end, length=UNDEFINED), syntax=jpeg)
    assert walk_elements(path).pixel_bytes == len(parts + end)
    file(path, element(PIXEL_DATA, b"OB", parts, length=UNDEFINED), syntax=jpeg)
    with pytest.raises(DataError, match="this DICOM file is truncated"):
        walk_elements(path)


def test_zeros_behind_the_last_element_are_no_damage(tmp_path):
    path = file(tmp_path / "a", element(PIXEL_DATA, b"OW", bytes(4)), bytes(100))
    assert walk_elements(path).pixel_bytes == 4


def test_a_deflated_file_is_not_unpacked(tmp_path):
    with pytest.raises(DataError, match=r"a small one can fill the memory.*Explicit VR Little Endian"):
        walk_elements(file(tmp_path / "a", b"x" * 50, syntax="1.2.840.10008.1.2.1.99"))


def test_sequences_without_end_and_random_bytes_are_refused(tmp_path):
    deep = b""
    for _ in range(50):
        deep = sequence(deep)
    with pytest.raises(DataError, match="more than 32 deep"):
        walk_elements(file(tmp_path / "a", deep))
    random = np.random.default_rng(0)
    for _ in range(200):
        path = file(tmp_path / "b", random.bytes(300))
        with pytest.raises(DataError, match=r"b: this DICOM file is truncated"):
            walk_elements(path)


def test_a_file_without_the_mark_or_the_syntax(tmp_path):
    (tmp_path / "a").write_bytes(b"\0" * 300)
    with pytest.raises(DataError, match="the mark 'DICM' is missing"):
        walk_elements(tmp_path / "a")
    (tmp_path / "b").write_bytes(bytes(128) + b"DICM" + element(0x00080060, b"CS", b"CT"))
    with pytest.raises(DataError, match="it names no transfer syntax"):
        walk_elements(tmp_path / "b")
