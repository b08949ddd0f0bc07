"""Masks of colours, or black and white in a JPEG: every colour becomes the number of a class."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from unetkit.data.catalog import find_cases, holds_cases
from unetkit.data.exchange import Content, Foreign, Item
from unetkit.data.exchange.nnunet import notes
from unetkit.data.exchange.shapes import number_classes
from unetkit.data.formats import format_of, kind_of
from unetkit.data.problems import Problem, from_error
from unetkit.data.tables import read_text
from unetkit.errors import DataError
from unetkit.records.case import Case
from unetkit.records.files import safe_name

MOST_COLOURS = 64
"""More are shades: the mask was smoothed, resized or went through JPEG."""

_KINDS = ("raster", "tiff")
_RGB = 3
_BLACK, _WHITE = 0x000000, 0xFFFFFF
_DARK, _MIDDLE, _LIGHT = 63.5, 127.5, 191.5
_COLOURLESS, _MOST_BETWEEN = 48.0, 0.05
_TABLES = ("class_dict.csv", "classes.csv", "colours.csv", "colors.csv")
_COLUMNS = ("name", "r", "g", "b")
_REDRAW = "export the masks as PNG from where they were drawn, without smoothing, resizing or JPEG"


class Colours:
    """Any layout of ``find_cases`` whose masks are coloured pictures; black is the background.

    A JPEG is taken as black and white, parted in the middle, where it is nearly that; it cannot hold more.
    Names are those of ``class_dict.csv`` (name, r, g, b), else the colours themselves, such as ``#ff0000``.
    """

    def holds(self, source: Path) -> bool:
        """Whether it is a data set whose first mask is a JPEG, or has three channels that differ."""
        try:
            cases = find_cases(source).cases if holds_cases(source) else ()
            return bool(cases) and _is_coloured(cases[0])
        except DataError:
            return False

    def find(self, source: Path) -> Foreign:
        """List the cases; every mask is read once to know the colours of all."""
        catalog = find_cases(source)
        seen: set[int] = set()
        problems: list[Problem] = []
        kept: list[Case] = []
        for case in catalog.cases:
            try:
                seen.update(_colours(case).tolist())
                kept.append(case)
            except DataError as wrong:
                problems.append(from_error("colours", wrong, case.label or case.id))
        if not kept:
            return Foreign((), {}, problems=(*catalog.problems, *problems))
        if len(seen) > MOST_COLOURS:
            raise _shades(len(seen), source)
        stated = _stated(source if source.is_dir() else source.parent)
        order = [*(colour for colour in stated if colour in seen), *sorted(seen - stated.keys())]
        words = {colour: stated.get(colour, f"#{colour:06x}") for colour in order} | {_BLACK: "background"}
        if order == [_BLACK, _WHITE] and _WHITE not in stated:
            words[_WHITE] = "foreground"
        classes = number_classes(words.values(), where=source)
        values = {colour: classes.values[word] for colour, word in words.items()}
        return Foreign(
            tuple(
                Item(
                    safe_name(case.id),
                    case.label or case.images[0],
                    partial(_read, case, values),
                    case.group,
                    case.split,
                )
                for case in kept
            ),
            classes.names,
            ignore_value=classes.ignore_value,
            unseen=tuple(case.images for case in catalog.unlabelled),
            notes=notes(catalog),
            problems=(*catalog.problems, *problems),
        )


def _stated(folder: Path) -> dict[int, str]:
    """Colour to class name in the order of the first table that is there.

    Raises:
        DataError: A row of it has no name, or no three numbers from 0 to 255.
    """
    path = next((folder / name for name in _TABLES if (folder / name).is_file()), None)
    if path is None:
        return {}
    names: dict[int, str] = {}
    rows = csv.DictReader(read_text(path, "CSV", "write the columns name, r, g, b").splitlines())
    for row in rows:
        cells = {(key or "").strip().lower(): str(value).strip() for key, value in row.items()}
        parts = [cells.get(key, "") for key in _COLUMNS]
        if not parts[0] or not all(part.isdecimal() and int(part) <= 255 for part in parts[1:]):
            raise DataError(
                f"line {rows.line_num}: expected name, r, g, b, got {', '.join(parts)}",
                cure="write one class per row, such as: road,128,64,128",
                where=path,
            )
        red, green, blue = map(int, parts[1:])
        names[red << 16 | green << 8 | blue] = parts[0]
    return names


def _is_coloured(case: Case) -> bool:
    if case.label is None or kind_of(case.label) not in _KINDS:
        return False
    red, *others = _channels(case)
    return format_of(case.label).describe(case.label).lossy or any(
        not np.array_equal(red, other) for other in others
    )


def _channels(case: Case) -> np.ndarray:
    """The mask of a case as red, green and blue ``(3, y, x)``.

    Raises:
        DataError: It is damaged, or no picture of 8 bits.
    """
    assert case.label is not None  # only labelled cases are looked at
    pixels, _ = format_of(case.label).read(case.label)
    if pixels.ndim != 1 + 2 or pixels.dtype != np.uint8:
        raise DataError(
            f"expected a picture of 8 bits, got {pixels.dtype} {pixels.shape}", cure=_REDRAW, where=case.label
        )
    return pixels[:_RGB] if len(pixels) >= _RGB else np.repeat(pixels[:1], _RGB, axis=0)


def _packed(case: Case) -> np.ndarray:
    """Colours ``(y, x)`` as one number each: 0xRRGGBB."""
    channels = _channels(case)
    if case.label is not None and format_of(case.label).describe(case.label).lossy:
        channels = _black_and_white(channels, case.label)
    red, green, blue = channels.astype(np.uint32)
    return red << 16 | green << 8 | blue


def _black_and_white(channels: np.ndarray, path: Path) -> np.ndarray:
    """A JPEG ``(3, y, x)`` of black and white as it was before its compression, but for single pixels.

    Raises:
        DataError: It has colours, or too many greys.
    """
    grey = channels.mean(axis=0)
    colour = float((channels.max(axis=0).astype(int) - channels.min(axis=0)).max())
    between = float(((grey > _DARK) & (grey < _LIGHT)).mean())
    if colour > _COLOURLESS or between > _MOST_BETWEEN:
        raise DataError(
            "a JPEG mask of more than black and white: its compression invents class numbers",
            cure=_REDRAW,
            where=path,
        )
    return np.repeat(np.where(grey[None] > _MIDDLE, np.uint8(255), np.uint8(0)), _RGB, axis=0)


def _colours(case: Case) -> np.ndarray:
    """The colours of one mask.

    Raises:
        DataError: It is damaged, or has more colours than a mask.
    """
    found = np.unique(_packed(case))
    if found.size > MOST_COLOURS:
        raise _shades(found.size, case.label or case.id)
    return found


def _read(case: Case, values: Mapping[int, int]) -> Content:
    packed = _packed(case)
    found, inverse = np.unique(packed, return_inverse=True)
    kind = np.min_scalar_type(max(values.values()))
    numbers = np.array([values[int(colour)] for colour in found], dtype=kind)
    return Content(case.images, numbers[inverse].reshape(packed.shape))


def _shades(count: int, where: Path | str) -> DataError:
    return DataError(
        f"the masks hold {count} colours, expected at most {MOST_COLOURS}: they are shades, not classes",
        cure=_REDRAW,
        where=where,
    )
