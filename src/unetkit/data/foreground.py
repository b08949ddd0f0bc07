"""Where the classes are: a bounded number of places per class, for patches to be centred on."""

from __future__ import annotations

import math

import numpy as np

LEAST = 10_000
SHARE = 0.01
MOST = 200_000
_CHUNK = 1 << 22


def foreground(
    label: np.ndarray, known: np.ndarray | None, *, least: int = LEAST, most: int = MOST
) -> dict[int, np.ndarray]:
    """Draw places of every foreground class to centre patches on, the same ones every time.

    Args:
        label: ``(*S)`` class ids.
        known: ``(*S)`` bool, or None: all known.
        least: Places per class (or all there are) …
        most: … raised to 1 % of the class's pixels, but never above this.

    Returns:
        Class id to sorted flat indices ``(n,)`` int64.

    Example:
        >>> foreground(np.array([[0, 2], [2, 0]]), None)
        {2: array([1, 2])}
    """
    flat, mask = label.reshape(-1), None if known is None else known.reshape(-1)
    counts = np.zeros(0, np.int64)
    for start in range(0, flat.size, _CHUNK):
        part = np.bincount(_masked(flat, mask, start))
        if len(part) > len(counts):
            counts = np.pad(counts, (0, len(part) - len(counts)))
        counts[: len(part)] += part
    return {
        int(value): _places(flat, mask, int(value), int(counts[value]), least=least, most=most)
        for value in np.flatnonzero(counts)
        if value > 0
    }


def _masked(flat: np.ndarray, mask: np.ndarray | None, start: int) -> np.ndarray:
    """A chunk of the label in which what is not known counts as background."""
    part = flat[start : start + _CHUNK]
    return part if mask is None else np.where(mask[start : start + _CHUNK], part, 0)


def _places(
    flat: np.ndarray, mask: np.ndarray | None, value: int, count: int, *, least: int, most: int
) -> np.ndarray:
    wanted = min(count, most, max(least, math.ceil(SHARE * count)))
    random = np.random.Generator(np.random.Philox(key=[value, count]))
    ranks = random.choice(count, wanted, replace=False, shuffle=False) if wanted < count else np.arange(count)
    ranks.sort()
    found: list[np.ndarray] = []
    seen = 0
    for start in range(0, flat.size, _CHUNK):
        here = np.flatnonzero(_masked(flat, mask, start) == value)
        low, high = np.searchsorted(ranks, (seen, seen + len(here)))
        found.append(here[ranks[low:high] - seen] + start)
        seen += len(here)
    return np.concatenate(found)
