"""XML that strangers wrote: bounded, without document types, entities or anything fetched from elsewhere."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from unetkit.data.formats.checks import TRUNCATED, file_bytes
from unetkit.errors import DataError

LARGEST_BYTES = 64 * 2**20
_DEEPEST = 64


def read_xml(path: Path) -> Element:
    """The root element of a file.

    Args:
        path: The file.

    Raises:
        DataError: It cannot be read, is far too large, or is refused by ``parse_xml``.
    """
    size = file_bytes(path)
    if size > LARGEST_BYTES:
        raise DataError(
            f"this XML file has {size:,} bytes, the limit is {LARGEST_BYTES:,}",
            cure="export it in smaller parts",
            where=path,
        )
    return parse_xml(path.read_bytes(), where=path)


def parse_xml(content: bytes, *, where: Path | str) -> Element:
    """The root element of a text; tags lose their namespace.

    An entity can unfold to gigabytes or name a file of this machine, so that a document type, which is where
    entities are declared, is refused as a whole; no annotation tool writes one.

    Args:
        content: The text as bytes.
        where: Its file, for errors.

    Raises:
        DataError: It is no XML, has a document type, or nests absurdly deep.

    Example:
        >>> parse_xml(b'<a xmlns="x"><b>1</b></a>', where="a.xml").findtext("b")
        '1'
    """
    builder, depth = TreeBuilder(), 0
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise DataError(
                f"elements within elements, more than {_DEEPEST} deep", cure="export it again", where=where
            )
        builder.start(tag.rpartition(":")[2], attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag.rpartition(":")[2])

    def refuse(*_: object) -> None:
        raise DataError(
            "it declares a document type (DOCTYPE), whose entities can name other files or fill the memory",
            cure="take the DOCTYPE out, or export the annotations again",
            where=where,
        )

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, ValueError, LookupError) as wrong:
        raise DataError(
            f"this XML file is truncated or damaged ({wrong})", cure=TRUNCATED, where=where
        ) from None
    return builder.close()
