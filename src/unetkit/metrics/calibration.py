"""Calibration: whether 90 % sure means right nine times in ten."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unetkit.errors import DataError

Row = tuple[float, float, int]
"""Mean confidence, share right, pixels."""


def calibration(
    probabilities: np.ndarray,
    reference: np.ndarray,
    known: np.ndarray | None = None,
    *,
    bins: int = 15,
    before: Sequence[Row] = (),
) -> tuple[Row, ...]:
    """Compare how sure a prediction is with how often it is right, in bins of equal width.

    The confidence of a pixel is the probability of its most likely class; bins are ``[i/n, (i+1)/n)``, the
    last one closed. Cases add up: pass the rows so far as ``before``.

    Args:
        probabilities: ``(K, *S)``, summing to 1 over classes.
        reference: ``(*S)`` class ids.
        known: ``(*S)`` bool, False where the reference says nothing; those pixels do not count.
        bins: Number of bins.
        before: Rows of the cases before this one.

    Returns:
        One row per bin, ``(0, 0, 0)`` where it has no pixel.

    Raises:
        DataError: Shapes differ, or ``before`` has another number of bins.

    Reference:
        Guo et al., On calibration of modern neural networks, ICML 2017.

    Example:
        >>> sure = np.array([[0.9, 0.9], [0.1, 0.1]])
        >>> calibration(sure, np.array([0, 1]), bins=2)[1]
        (0.9, 0.5, 2)
    """
    if probabilities.shape[1:] != reference.shape or (known is not None and known.shape != reference.shape):
        raise DataError(
            f"expected probabilities (K, *{reference.shape}), got {probabilities.shape}",
            cure="compare on the grid of the reference",
        )
    if before and len(before) != bins:
        raise DataError(f"expected rows of {bins} bins, got {len(before)}", cure="keep the number of bins")
    sure = probabilities.max(axis=0)
    right = probabilities.argmax(axis=0) == reference
    if known is not None:
        sure, right = sure[known], right[known]
    sure, right = sure.ravel().astype(np.float64), right.ravel()
    index = np.clip((sure * bins).astype(np.int64), 0, bins - 1)
    pixels = np.bincount(index, minlength=bins)
    confidence = np.bincount(index, weights=sure, minlength=bins)
    correct = np.bincount(index, weights=right, minlength=bins)
    for number, (mean, share, n) in enumerate(before):
        pixels[number] += n
        confidence[number] += mean * n
        correct[number] += share * n
    return tuple(
        (float(confidence[i] / n), float(correct[i] / n), int(n)) if n else (0.0, 0.0, 0)
        for i, n in enumerate(pixels)
    )


def pooled(tables: Sequence[Sequence[Row]]) -> tuple[Row, ...]:
    """The rows of all cases from the rows of several parts of them.

    Args:
        tables: What ``calibration`` returned for each part; empty ones do not count.

    Raises:
        DataError: They have different numbers of bins.

    Example:
        >>> pooled([[(0.9, 0.5, 2)], [(0.7, 1.0, 2)], []])
        ((0.8, 0.75, 4),)
    """
    filled = [rows for rows in tables if rows]
    if len({len(rows) for rows in filled}) > 1:
        raise DataError("expected rows of as many bins each", cure="keep the number of bins")
    found: list[Row] = []
    for same in zip(*filled, strict=True):
        total = sum(n for _, _, n in same)
        sure = sum(mean * n for mean, _, n in same) / max(total, 1)
        right = sum(share * n for _, share, n in same) / max(total, 1)
        found.append((sure, right, total))
    return tuple(found)


def calibration_error(rows: Sequence[Row]) -> float | None:
    """Expected calibration error: the gap between confidence and share right, weighed by pixels.

    Args:
        rows: What ``calibration`` returned.

    Returns:
        0 (perfect) to 1; None without pixels.

    Reference:
        Naeini et al., Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015.

    Example:
        >>> round(calibration_error([(0.9, 0.5, 2), (0.5, 0.5, 2)]), 3)
        0.2
    """
    total = sum(n for _, _, n in rows)
    return sum(abs(sure - right) * n for sure, right, n in rows) / total if total else None
