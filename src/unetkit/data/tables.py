"""The two files beside the pictures that say what is what: a CSV with one row per case, and dataset.json."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unetkit.errors import DataError, nearest
from unetkit.records.case import SPLITS

COLUMNS = ("id", "image", "label", "group", "split", "ignore_value", "readers")
_SPLIT_WORDS = {**{name: name for name in SPLITS}, "training": "train", "validation": "val", "valid": "val"}
_ALSO_CALLED = {"mask": "label"}
"""Header words that mean a column of ``COLUMNS``, where that one is not there itself."""
_SEPARATORS = ",;\t"
"""A spreadsheet writes the second one where a comma stands in numbers, as in German."""
_LARGEST_BYTES = 256 * 2**20
_REPAIR = "save it as comma-separated text (UTF-8) with a header line, such as: id,image,label,group,split"


@dataclass(frozen=True)
class Row:
    """One line of a CSV.

    Args:
        line: Line number in the file, from 1.
        values: The cells of the columns that are kept, stripped; other columns are left out.
    """

    line: int
    values: dict[str, str]

    def split(self, path: Path) -> str | None:
        """The stated split, None where the cell is empty or there is no such column.

        Raises:
            DataError: The word is no split.
        """
        word = self.values.get("split", "").lower()
        if word and word not in _SPLIT_WORDS:
            raise DataError(
                f"line {self.line}: there is no split '{word}'", cure=nearest(word, SPLITS), where=path
            )
        return _SPLIT_WORDS[word] if word else None


def read_rows(path: Path, *, needed: tuple[str, ...], kept: tuple[str, ...] = COLUMNS) -> list[Row]:
    """Read a CSV with one row per case; its cells are apart by commas, semicolons or tabs, as its header is.

    Args:
        path: The file.
        needed: Columns it must have, in small letters.
        kept: Columns to keep where they are there.

    Raises:
        DataError: It is no CSV, or lacks a column, or a row has more cells than the header.
    """
    text = read_text(path, "CSV", _REPAIR)
    if "\0" in text:
        raise DataError("this file is no CSV: it holds binary data", cure=_REPAIR, where=path)
    try:
        broken = text.splitlines(keepends=True)
        sign = max(_SEPARATORS, key="".join(broken[:1]).count)  # the first of equals: the comma
        lines = csv.reader(broken, strict=True, skipinitialspace=True, delimiter=sign)
        header = _known_words([name.strip().lower() for name in next(lines, [])], needed)
        _check_header(path, header, needed)
        rows = []
        for cells in lines:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(header):
                raise DataError(
                    f"line {lines.line_num}: expected {len(header)} cells, got {len(cells)}",
                    cure="quote cells that hold commas",
                    where=path,
                )
            values = {name: cell.strip() for name, cell in zip(header, cells, strict=False)}
            rows.append(Row(lines.line_num, {name: values[name] for name in kept if name in values}))
    except csv.Error as wrong:
        raise DataError(f"this file is no CSV ({wrong})", cure=_REPAIR, where=path) from None
    if not rows:
        raise DataError("this CSV has no rows", cure="write one row per image", where=path)
    return rows


def _known_words(header: list[str], needed: tuple[str, ...]) -> list[str]:
    """The header with our word for a column of another name, where neither stands there or is asked for."""
    free = {other: word for other, word in _ALSO_CALLED.items() if word not in header and other not in needed}
    return [free.get(name, name) for name in header]


def stated_ignore(rows: Iterable[Row], *, where: Path) -> int | None:
    """The value that means "not labelled", as the column ``ignore_value`` states it.

    Args:
        rows: Of a CSV.
        where: Whose rows they are, for the error.

    Returns:
        None where no cell states one.

    Raises:
        DataError: Cells differ, or hold no whole number.
    """
    words = {row.values["ignore_value"] for row in rows if row.values.get("ignore_value")}
    if not words:
        return None
    if len(words) > 1 or not next(iter(words)).removeprefix("-").isdecimal():
        raise DataError(
            f"the column 'ignore_value' must hold one whole number, got {', '.join(sorted(words)[:5])}",
            cure="write the same value in every row, or leave it empty",
            where=where,
        )
    return int(words.pop())


def _check_header(path: Path, header: list[str], needed: tuple[str, ...]) -> None:
    missing = [name for name in needed if name not in header]
    if missing:
        seen = ", ".join(header) or "nothing"
        raise DataError(
            f"this CSV has no column '{missing[0]}'; its header line is: {seen[:200]}",
            cure=_REPAIR,
            where=path,
        )
    if len(set(header)) < len(header):
        raise DataError("a column name occurs twice in the header line", cure="rename one", where=path)


@dataclass(frozen=True)
class Declared:
    """What a data set says about itself.

    Args:
        channels: Channel names in order; empty when not stated.
        names: Raw label value to class name; empty when not stated.
        ignore_value: The raw value that means "not labelled".
        notes: What was not used, and why.
    """

    channels: tuple[str, ...] = ()
    names: dict[int, str] | None = None
    ignore_value: int | None = None
    notes: tuple[str, ...] = ()


def read_dataset_json(path: Path) -> Declared:
    """Read the ``dataset.json`` of nnU-Net (name to value) or of the Decathlon (value to name).

    Args:
        path: The file.

    Raises:
        DataError: It is no JSON object, or a label value is no whole number.
    """
    content = read_json(path)
    names, ignore_value, notes = _declared_names(content.get("labels"), path)
    return Declared(
        _declared_channels(content.get("channel_names", content.get("modality")), path),
        names,
        ignore_value,
        notes,
    )


def read_json(path: Path, *, limit: int = _LARGEST_BYTES) -> dict[str, Any]:
    """A JSON object, bounded in size; it remembers a key that occurs twice.

    Args:
        path: The file.
        limit: The most bytes it may have.

    Raises:
        DataError: It cannot be read, is far too large, is no JSON or no object.
    """
    text = read_text(path, "JSON file", "correct it, or remove it", limit=limit)
    try:
        content = json.loads(text, object_pairs_hook=_Object)
    except (ValueError, RecursionError) as wrong:  # also numbers of a million digits, lists a million deep
        raise DataError(f"not valid JSON ({wrong})", cure="correct it, or remove it", where=path) from None
    if not isinstance(content, dict):
        raise DataError("expected a JSON object", cure="correct it, or remove it", where=path)
    return content


def read_text(path: Path, kind: str, cure: str, *, limit: int = _LARGEST_BYTES) -> str:
    """A text file, bounded in size.

    Args:
        path: The file.
        kind: What it should be, for errors.
        cure: What to do about one that is not.
        limit: The most bytes it may have.

    Raises:
        DataError: It cannot be read, is far too large or is no UTF-8 text.
    """
    try:
        if path.stat().st_size > limit:
            raise DataError(
                f"this {kind} has {path.stat().st_size:,} bytes, the limit is {limit:,}",
                cure=cure,
                where=path,
            )
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"this file is no {kind}: it is not UTF-8 text", cure=cure, where=path) from None
    except OSError as wrong:
        raise DataError(
            f"this file cannot be read ({wrong.strerror})", cure="correct the path", where=path
        ) from None


def _declared_channels(stated: Any, path: Path) -> tuple[str, ...]:  # noqa: ANN401 - JSON
    if stated is None:
        return ()
    if isinstance(stated, dict) and all(key.isdigit() for key in stated):
        return tuple(str(stated[key]) for key in sorted(stated, key=int))
    if isinstance(stated, list):
        return tuple(map(str, stated))
    raise DataError(
        "'channel_names' must map numbers to names", cure='write {"0": "CT"} for one channel', where=path
    )


def _declared_names(
    stated: Any,  # noqa: ANN401 - JSON
    path: Path,
) -> tuple[dict[int, str] | None, int | None, tuple[str, ...]]:
    if stated is None:
        return None, None, ()
    if not isinstance(stated, dict):
        raise DataError("'labels' must be an object", cure='write {"background": 0, …}', where=path)
    if isinstance(stated, _Object) and stated.twice is not None:
        raise DataError(
            f"'labels' names '{stated.twice}' twice", cure="give each class its own name", where=path
        )
    pairs = [(value, key) if not _is_number(key) else (key, value) for key, value in stated.items()]
    ignore = [value for value, name in pairs if str(name).lower() == "ignore"]
    if any(isinstance(value, list) for value, _ in pairs):
        text = "dataset.json names regions made of several values: its names were not used, the values were"
        return None, _whole(ignore[0], path) if ignore else None, (text,)
    names = {_whole(value, path): str(name) for value, name in pairs if str(name).lower() != "ignore"}
    if len(names) + len(ignore) < len(pairs):
        raise DataError(
            "'labels' gives one value two names", cure="give each class its own value", where=path
        )
    return names, _whole(ignore[0], path) if ignore else None, ()


class _Object(dict[str, Any]):
    """A JSON object that remembers which key occurs twice; a plain dict keeps the last one in silence."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.twice: str | None = None
        if len(self) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            self.twice = next(key for key, count in counts.items() if count > 1)


def _is_number(key: str) -> bool:
    return key.strip().isdigit()


def _whole(value: Any, path: Path) -> int:  # noqa: ANN401 - JSON
    if isinstance(value, bool) or not (
        isinstance(value, int) or (isinstance(value, str) and value.isdigit())
    ):
        raise DataError(
            f"'labels': expected a whole number, got {value!r}", cure='write {"background": 0, …}', where=path
        )
    return int(value)
