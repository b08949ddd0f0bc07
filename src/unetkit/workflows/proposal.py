"""What to measure: the standard metrics, and those that a look at the labels calls for, with reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from unetkit.data.facts import count_values, measure_objects
from unetkit.data.labels import read_label
from unetkit.metrics import STANDARD
from unetkit.metrics.objects import FROM_OBJECTS
from unetkit.planning.measure import is_tube
from unetkit.records.case import Case
from unetkit.records.plan import DataPlan
from unetkit.records.progress import Progress, Quiet

MOST_LOOKED = 32
"""Labels that are looked at, evenly spread over all."""
SEVERAL = 2.0
"""Objects per case from which finding each is a question of its own."""
SMALL_SHARE = 1e-3
"""Share of the image below which an object's loss is not seen in the Dice of a case with others."""


@dataclass(frozen=True)
class Measures:
    """What is measured.

    Args:
        metrics: Names of ``METRICS``.
        tolerance_mm: The τ of NSD@τ.
        reasons: Metric → why, for those that the data called for.
    """

    metrics: tuple[str, ...] = STANDARD
    tolerance_mm: float = 1.0
    reasons: Mapping[str, str] = field(default_factory=dict)


PLAIN = Measures()
"""The standard metrics alone."""
OBJECTS = Measures((*STANDARD, "object_recall"))
"""Those, and which objects were found: each by itself, not the class as a whole."""


@dataclass(frozen=True)
class Look:
    """The objects of one class in one label.

    Args:
        pixels: Pixels of each, ``(n,)``.
        thickness: Width of a tube with as many pixels and boundary faces, pixels.
        shape: ``*S`` of the image.
    """

    pixels: tuple[int, ...]
    thickness: float
    shape: tuple[int, ...]


def measures_for(
    cases: Sequence[Case],
    data: DataPlan,
    *,
    also: Sequence[str] = (),
    tolerance_mm: float = 1.0,
    progress: Progress | None = None,
) -> Measures:
    """The standard metrics, those that were asked for, and those that the labels call for.

    Args:
        cases: Labelled cases; some of them are read.
        data: Which value is which class.
        also: Metrics that were asked for.
        tolerance_mm: The τ of NSD@τ.
        progress: Who watches.
    """
    watch = progress or Quiet()
    looks: dict[str, list[Look]] = {name: [] for name in data.classes[1:]}
    places = np.unique(np.linspace(0, len(cases) - 1, min(MOST_LOOKED, len(cases))).round().astype(int))
    watch.begin("looking at labels", len(places))
    for place in places:
        labels, known, _ = read_label(cases[int(place)], data)
        if known is not None:
            labels = np.where(known, labels, 0)
        pixels, thickness = measure_objects(labels, count_values(labels))
        for index, name in enumerate(data.classes[1:], start=1):
            if index in pixels:
                looks[name].append(Look(pixels[index], thickness[index], labels.shape))
        watch.advance(1)
    watch.end()
    reasons = propose(looks)
    metrics = dict.fromkeys((*STANDARD, *reasons, *also))
    return Measures(tuple(metrics), tolerance_mm, reasons)


def propose(looks: Mapping[str, Sequence[Look]]) -> dict[str, str]:
    """Metrics beyond the standard ones, and why.

    Args:
        looks: Class name → what was seen of it, one entry per case that has it.

    Returns:
        Metric name → one sentence.

    Reference:
        Maier-Hein et al., Metrics Reloaded, Nature Methods 21 (2024): object-wise metrics for structures that
        come in numbers or are small, clDice for tubes.

    Example:
        >>> many = [Look((4, 5, 6), 2.0, (64, 64))]
        >>> propose({"speck": many})["object_f1"]
        'speck: 3 objects per case; Dice counts their pixels, not how many were found.'
        >>> propose({"organ": [Look((900,), 25.0, (64, 64))]})
        {}
    """
    tubes, objects = [], []
    for name, rows in looks.items():
        if not rows:
            continue
        thick = float(np.median([row.thickness for row in rows]))
        lengths = [
            float(np.mean(row.pixels)) / row.thickness ** len(row.shape) for row in rows if row.thickness
        ]
        if lengths and is_tube(thick, float(np.median(lengths))):
            tubes.append(f"{name}: {thick:.2g} pixels thick and {np.median(lengths):.0f} times as long")
            continue
        count = float(np.median([len(row.pixels) for row in rows]))
        share = float(np.median([np.median(row.pixels) / np.prod(row.shape) for row in rows]))
        if count >= SEVERAL:
            objects.append(f"{name}: {count:g} objects per case")
        elif share < SMALL_SHARE:
            objects.append(f"{name}: objects of {share:.2g} of the image")
    reasons: dict[str, str] = {}
    if objects:
        why = f"{', '.join(objects)}; Dice counts their pixels, not how many were found."
        reasons |= dict.fromkeys(FROM_OBJECTS, why)
    if tubes:
        reasons["cldice"] = f"{', '.join(tubes)}; a gap in a tube costs its length, not its area."
    return reasons
