"""Run lengths: masks as counts of pixels that are out, in, out and so on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from unetkit.data.formats.checks import refuse_claim
from unetkit.errors import DataError


def unpack_counts(text: str, *, where: Path) -> list[int]:
    """The counts that COCO packs into a string: base 32 with a sign, from the fourth on differences.

    Args:
        text: The string.
        where: The annotation, for errors.

    Raises:
        DataError: It is no such string.

    Reference:
        cocodataset/cocoapi, common/maskApi.c, rleFrString.

    Example:
        >>> unpack_counts("52203", where=Path("a.json"))
        [5, 2, 2, 2, 5]
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        code = ord(letter) - 48
        if not 0 <= code < 64 or shift > 60:
            raise _damaged(where)
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise _damaged(where)
    return counts


def unpack_runs(
    counts: Sequence[int], shape: tuple[int, int], *, order: Literal["rows", "columns"], where: Path
) -> np.ndarray:
    """The mask of run lengths.

    Args:
        counts: Pixels that are out, in, out, … Where they end early, the rest is out.
        shape: Rows and columns.
        order: Whether runs go along rows (CVAT) or columns (COCO).
        where: The annotation, for errors.

    Raises:
        DataError: A count is negative or no whole number, or there are more pixels than the shape has.

    Example:
        >>> unpack_runs([1, 2, 2, 1], (2, 3), order="rows", where=Path("a")).astype(int).tolist()
        [[0, 1, 1], [0, 0, 1]]
    """
    size = shape[0] * shape[1]
    refuse_claim(where, size)
    whole = all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in counts)
    if not whole or sum(counts) > size:
        raise _damaged(where)
    flat = np.zeros(size, bool)
    inside = np.arange(len(counts)) % 2 == 1
    filled = np.repeat(inside, np.array(counts, np.int64))
    flat[: filled.size] = filled
    return flat.reshape(shape) if order == "rows" else flat.reshape(shape[::-1]).T


def _damaged(where: Path) -> DataError:
    return DataError(
        "the run lengths of a mask do not fit its size", cure="export the annotations again", where=where
    )
