"""How good predictions are: case by class by metric, with what was missed and what was undefined."""

from __future__ import annotations

from unetkit.records.saved import Saved

DISTANCES = ("hd95", "assd")
"""Metrics that are lengths."""


class CaseScores(Saved):
    """One case.

    Args:
        id: The case's id.
        group: The case's group.
        values: Class name → metric name → value, None where undefined (class absent in both masks).
        missed: Classes present in the reference with no predicted pixel.
        spurious: Classes predicted with no pixel in the reference.
        absent: Whether there was no prediction at all for this case: every class then takes the worst value.
        calibrated: Whether a file states the spacing: distances are in mm; False: they are in pixels.
    """

    id: str
    group: str
    values: dict[str, dict[str, float | None]]
    missed: tuple[str, ...] = ()
    spurious: tuple[str, ...] = ()
    absent: bool = False
    calibrated: bool = True

    @property
    def unit(self) -> str:
        """What this case's distances are in: ``mm``, or ``px``."""
        return "mm" if self.calibrated else "px"


class Summary(Saved):
    """One metric over the cases in which it is defined.

    Args:
        mean: Mean over ``n`` cases; None when ``n`` is 0.
        median: Median.
        low: Lower end of the 95 % bootstrap interval of the mean (groups resampled); None when fewer than two
            groups count.
        high: Upper end; None likewise.
        n: Cases that count.
        missed: Of these, cases whose object was not found at all (they carry the worst value).
        undefined: Cases left out because the class is in neither mask.
        spurious: Of the ``n``, cases in which the class was predicted and is not there (worst value, too).
        absent: Of the ``n``, cases without any prediction (worst value in every class).
    """

    mean: float | None
    median: float | None
    low: float | None
    high: float | None
    n: int
    missed: int
    undefined: int
    spurious: int = 0
    absent: int = 0


class Scores(Saved):
    """The measured quality of a set of predictions.

    Args:
        split: What the cases are to the model: ``held-out``, ``training``, ``unknown``.
        classes: Foreground class names.
        metrics: Metric names.
        tolerance_mm: The τ of NSD@τ.
        cases: One row per case.
        summary: Class name (or ``mean`` for the mean over foreground classes) → metric → Summary.
        calibration: Rows ``(mean confidence, share right, pixels)`` per confidence bin; may be empty.
        convention: How missed and empty cases count, in words.
    """

    version: int = 1
    split: str
    classes: tuple[str, ...]
    metrics: tuple[str, ...]
    tolerance_mm: float
    cases: tuple[CaseScores, ...]
    summary: dict[str, dict[str, Summary]]
    calibration: tuple[tuple[float, float, int], ...] = ()
    convention: str = ""

    @property
    def unit(self) -> str:
        """What distances are in: ``mm``, ``px`` (no file states a spacing), or ``mm or px``."""
        return " or ".join(sorted({case.unit for case in self.cases})) or "mm"

    def heading(self, metric: str, name: str = "") -> str:
        """A metric with what it is measured in.

        Args:
            metric: The metric.
            name: How to call it; its own name when empty.

        Example:
            >>> none = {"split": "unknown", "classes": (), "metrics": (), "cases": (), "summary": {}}
            >>> scores = Scores(tolerance_mm=2, **none)
            >>> [scores.heading(metric) for metric in ("dice", "hd95", "nsd")]
            ['dice', 'hd95 (mm)', 'nsd @ 2 mm']
        """
        name = name or metric
        if metric in DISTANCES:
            return f"{name} ({self.unit})"
        return f"{name} @ {self.tolerance_mm:g} {self.unit}" if metric == "nsd" else name
