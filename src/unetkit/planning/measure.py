"""From an inspection to a fingerprint: what the data set is, in sums, counts and quantiles."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from unetkit.errors import DataError
from unetkit.records.fingerprint import ChannelFingerprint, Fingerprint

if TYPE_CHECKING:
    from unetkit.data.facts import CaseFacts
    from unetkit.data.inspect import Inspection
    from unetkit.records.plan import DataPlan

_PERCENTILES = (0.5, 50.0, 99.5)
_MOST_VALUES = 5_000_000
_THIN, _LONG = 12.0, 30.0


def measure(inspection: Inspection) -> Fingerprint:
    """Measure a data set, or the part of it that is trained on.

    Args:
        inspection: What was seen in the files to measure.

    Raises:
        DataError: The data set was refused, or no case was inspected.
    """
    data = inspection.data
    if data is None:
        raise DataError("the data set is refused", cure="run unet check and correct what it names")
    facts = sorted(inspection.facts, key=lambda fact: fact.id)
    if not facts:
        raise DataError("expected at least 1 case to measure, got 0", cure="add images with masks")
    counts = [[fact.label_counts.get(value, 0) for value in data.label_values] for fact in facts]
    types = Counter(fact.dtype for fact in facts)
    return Fingerprint(
        rank=data.rank,
        cases=tuple(fact.id for fact in facts),
        groups=len({fact.group for fact in facts}),
        shapes=tuple(fact.cropped_shape for fact in facts),
        original_shapes=tuple(fact.shape for fact in facts),
        spacings_mm=tuple(fact.spacing_mm for fact in facts),
        calibrated=all(fact.calibrated for fact in facts),
        channels=tuple(_channel(facts, index, name) for index, name in enumerate(data.channels)),
        classes=data.classes,
        voxels=tuple(sum(column) for column in zip(*counts, strict=True)),
        cases_with=tuple(sum(count > 0 for count in column) for column in zip(*counts, strict=True)),
        unknown=_unknown(facts, data),
        smallest_object=tuple(_small(facts, value) for value in data.label_values[1:]),
        nonzero_share=float(
            np.median([math.prod(fact.cropped_shape) / math.prod(fact.shape) for fact in facts])
        ),
        dtype=max(sorted(types), key=types.__getitem__),
        thickness=tuple(_median([row[0] for row in _tubes(facts, v)]) for v in data.label_values[1:]),
        elongation=tuple(_median([row[1] for row in _tubes(facts, v)]) for v in data.label_values[1:]),
    )


def weighted_quantiles(values: np.ndarray, weights: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Quantiles of values that count unequally; with equal weights exactly those of ``numpy.quantile``.

    Args:
        values: ``(n,)``.
        weights: ``(n,)`` positive.
        shares: Quantiles in 0…1.

    Example:
        >>> weighted_quantiles(np.array([3.0, 1.0, 2.0]), np.ones(3), [0.0, 0.5, 0.75]).tolist()
        [1.0, 2.0, 2.5]
    """
    order = np.argsort(values, kind="stable")
    ranked, heavy = values[order], weights[order].astype(np.float64)
    middles = np.cumsum(heavy) - heavy / 2
    span = middles[-1] - middles[0]
    if span <= 0:
        return np.full(len(shares), float(ranked[0]))
    return np.interp(shares, (middles - middles[0]) / span, ranked.astype(np.float64))


def is_tube(thickness: float, elongation: float) -> bool:
    """Whether objects are thin and long: vessels, roads, cracks.

    Args:
        thickness: As in the fingerprint, pixels.
        elongation: As in the fingerprint: how many times as long as thick.

    Example:
        >>> is_tube(4.0, 80.0), is_tube(4.0, 5.0)
        (True, False)
    """
    return 0 < thickness < _THIN and elongation > _LONG


def _channel(facts: Sequence[CaseFacts], index: int, name: str) -> ChannelFingerprint:
    """One channel over all cases; each case weighs the same, however much foreground it has."""
    # a grey picture among coloured ones counts as one with equal channels
    rows = [(fact, min(index, fact.channels - 1)) for fact in facts]
    samples = [fact.sampled[row].astype(np.float64) for fact, row in rows if fact.sampled.shape[1]]
    count = sum(sample.size for sample in samples)
    minimum = min(fact.minima[row] for fact, row in rows)
    maximum = max(fact.maxima[row] for fact, row in rows)
    mean, std, low, median, high = 0.0, 1.0, minimum, (minimum + maximum) / 2, maximum
    if samples:
        mean = float(np.mean([sample.mean() for sample in samples]))
        std = math.sqrt(float(np.mean([((sample - mean) ** 2).mean() for sample in samples])))
        step = -(-count // _MOST_VALUES)
        thinned = [np.sort(sample)[::step] for sample in samples]
        weights = np.concatenate([np.full(sample.size, 1.0 / sample.size) for sample in thinned])
        shares = [percent / 100 for percent in _PERCENTILES]
        low, median, high = map(float, weighted_quantiles(np.concatenate(thinned), weights, shares))
    return ChannelFingerprint(
        name=name,
        count=count,
        mean=mean,
        std=std,
        median=median,
        low=low,
        high=high,
        minimum=minimum,
        maximum=maximum,
        integer=all(fact.integer[row] for fact, row in rows),
    )


def _unknown(facts: Sequence[CaseFacts], data: DataPlan) -> int:
    if data.ignore_value is None:
        return 0
    return sum(fact.label_counts.get(data.ignore_value, 0) for fact in facts)


def _small(facts: Sequence[CaseFacts], value: int) -> float:
    sizes = [size for fact in facts for size in fact.object_sizes.get(value, ())]
    return float(np.percentile(sizes, 10)) if sizes else 0.0


def _tubes(facts: Sequence[CaseFacts], value: int) -> list[tuple[float, float]]:
    """Thickness and length over thickness of a class's objects in each case, were they tubes."""
    rows = []
    for fact in facts:
        thick, found = fact.thickness.get(value, 0.0), fact.object_sizes.get(value, ())
        if thick > 0 and found:
            rows.append((thick, float(np.mean(found)) / thick ** len(fact.shape)))
    return rows


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else 0.0
