"""The numbers of each channel's normalisation, measured on an image that is read in slabs."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

import numpy as np

from unetkit.errors import UsageError
from unetkit.records.case import Intensity
from unetkit.records.plan import Normalization

_LEAST_STD = 1e-8
_SLAB_NUMBERS = 1 << 22


def slab_rows(shape: tuple[int, ...]) -> int:
    """Rows of the first axis that are looked at together: about 4 million pixels, 1 row at least.

    Args:
        shape: ``*S`` of the image.
    """
    return max(1, _SLAB_NUMBERS * shape[0] // max(math.prod(shape), 1))


def measured_intensities(
    read: Callable[[int, int], np.ndarray], shape: tuple[int, ...], rules: tuple[Normalization, ...]
) -> tuple[Intensity, ...]:
    """Fill in the numbers of each channel's normalisation; an image's own are measured in float64.

    A mean and a standard deviation need two passes over the image. The slabs do not depend on how the image
    is read, so one in memory and one that stays in its file give the same numbers, bit for bit.

    Args:
        read: First row and row behind the last → pixels ``(C, rows, *rest)``.
        shape: ``*S`` of the image.
        rules: One per channel.

    Example:
        >>> pixels = np.array([[[1, 3]]], np.uint8)
        >>> rule = Normalization(scheme="zscore")
        >>> measured_intensities(lambda start, stop: pixels[:, start:stop], (1, 2), (rule,))[0].shift
        2.0
    """
    wanted = {at: rule.scheme == "masked_zscore" for at, rule in enumerate(rules) if "zscore" in rule.scheme}
    rows = slab_rows(shape)

    def values() -> Iterable[tuple[int, np.ndarray]]:
        for start in range(0, shape[0], rows):
            slab = read(start, min(start + rows, shape[0]))
            inside = np.any(slab, axis=0) if any(wanted.values()) else None
            for channel, masked in wanted.items():
                part = slab[channel]
                chosen = part[inside] if masked else part.reshape(-1)
                yield channel, chosen.astype(np.float64)

    moments = _moments(values) if wanted else {}
    return tuple(_intensity(rule, *moments.get(at, (0.0, 1.0))) for at, rule in enumerate(rules))


def fixed_intensities(rules: tuple[Normalization, ...]) -> tuple[Intensity, ...]:
    """Each channel's normalisation, where it is the same for every image.

    Args:
        rules: One per channel.

    Raises:
        UsageError: One is measured on each image.

    Example:
        >>> fixed_intensities((Normalization(scheme="zero_one", high=255),))[0].scale * 255
        1.0
    """
    measured = [rule.scheme for rule in rules if "zscore" in rule.scheme]
    if measured:
        raise UsageError(
            f"expected a normalisation that is the same for every image, got '{measured[0]}', which is "
            "measured on each",
            cure='train with --set \'preparation.normalization=[{"scheme": "zero_one", "high": 255}]\', '
            "one entry per channel",
        )
    return tuple(_intensity(rule, 0.0, 1.0) for rule in rules)


def _intensity(rule: Normalization, mean: float, std: float) -> Intensity:
    if rule.scheme == "ct":
        return Intensity(rule.low, rule.high, rule.mean, 1.0 / max(rule.std, _LEAST_STD))
    if rule.scheme == "zero_one":
        width = rule.high - rule.low
        return Intensity(-math.inf, math.inf, rule.low, 1.0 / width if width else 1.0)
    if rule.scheme == "none":
        return Intensity(-math.inf, math.inf, 0.0, 1.0)
    return Intensity(-math.inf, math.inf, mean, 1.0 / max(std, _LEAST_STD), rule.scheme == "masked_zscore")


def _moments(values: Callable[[], Iterable[tuple[int, np.ndarray]]]) -> dict[int, tuple[float, float]]:
    """Mean and standard deviation of each channel that has a value."""
    counts: Counter[int] = Counter()
    sums: dict[int, list[float]] = defaultdict(list)
    squares: dict[int, list[float]] = defaultdict(list)
    for channel, numbers in values():
        counts[channel] += numbers.size
        sums[channel].append(float(numbers.sum()))
    means = {channel: math.fsum(sums[channel]) / count for channel, count in counts.items() if count}
    for channel, numbers in values():
        if channel in means:  # in place: the numbers are nobody else's
            numbers -= means[channel]
            squares[channel].append(float(np.square(numbers, out=numbers).sum()))
    return {
        channel: (mean, math.sqrt(math.fsum(squares[channel]) / counts[channel]))
        for channel, mean in means.items()
    }
