"""The directories of a TIFF, followed to their end before any library reads them."""

from __future__ import annotations

import struct
from pathlib import Path

from unetkit.data.formats.checks import TRUNCATED
from unetkit.errors import DataError

MOST_PAGES = 1_000_000

_TYPE_BYTES = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8,
}  # fmt: skip


def check_pages(path: Path, length: int) -> None:
    """Follow the chain of pages to its end; the reader would quietly leave out what lies behind a cut.

    Args:
        path: The file.
        length: Its bytes.

    Raises:
        DataError: These are no bytes of a TIFF, or the tags of a page lie behind the end.
    """
    with path.open("rb") as file:
        start = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(start[:2])
        if order is None or len(start) < 8:
            raise DataError(
                "these bytes are no TIFF file", cure="export the picture as TIFF again", where=path
            )
        large = struct.unpack(f"{order}H", start[2:4])[0] == 43
        count, entry, following = (f"{order}Q", 20, f"{order}Q") if large else (f"{order}H", 12, f"{order}I")
        seen: set[int] = set()
        at = struct.unpack(following, start[8:16] if large else start[4:8])[0]
        while at and at not in seen and len(seen) < MOST_PAGES:
            seen.add(at)
            file.seek(at)
            tags = struct.unpack(count, file.read(struct.calcsize(count)))[0]
            block = file.read(min(tags, 4096) * entry + struct.calcsize(following))
            _check_tags(path, block, order, large=large, length=length)
            at = struct.unpack(following, block[tags * entry :])[0]


def _check_tags(path: Path, block: bytes, order: str, *, large: bool, length: int) -> None:
    inside, layout, step = (8, f"{order}HHQQ", 20) if large else (4, f"{order}HHII", 12)
    for at in range(0, len(block) - step + 1, step):
        _, kind, count, offset = struct.unpack(layout, block[at : at + step])
        size = count * _TYPE_BYTES.get(kind, 1)
        if size > inside and offset + size > length:
            raise DataError(
                f"this TIFF is truncated: its tags end at byte {offset + size:,}, the file at {length:,}",
                cure=TRUNCATED,
                where=path,
            )
