"""How good predictions are: case by class by metric, with what was missed and what was undefined."""

from __future__ import annotations

from pydantic import Field

from unetkit.records.figures import DISTANCES
from unetkit.records.saved import Saved

MEAN = "mean"
"""The row of every table of scores that averages the foreground classes; no class can have this name."""


class CaseObjects(Saved):
    """The objects of one class in one case, each by its size: mm³ (mm² in pictures), or pixels.

    Args:
        found: Reference objects that have a counterpart, ascending.
        missed: Those that have none.
        right: Predicted objects that have a counterpart.
        wrong: Those that have none.
    """

    found: tuple[float, ...] = ()
    missed: tuple[float, ...] = ()
    right: tuple[float, ...] = ()
    wrong: tuple[float, ...] = ()


class ObjectRow(Saved):
    """The objects of one class and a range of sizes over all cases; every object counts once.

    Args:
        least: Smallest size of the range.
        most: Where it ends, None for no end.
        reference: Reference objects.
        found: Of these, found.
        prediction: Predicted objects.
        right: Of these, right.
    """

    least: float
    most: float | None
    reference: int
    found: int
    prediction: int
    right: int

    @property
    def sizes(self) -> str:
        """The range in words.

        Example:
            >>> row = ObjectRow(least=5, most=None, reference=0, found=0, prediction=0, right=0)
            >>> row.sizes, row.model_copy(update={"most": 9.0}).sizes
            ('5 and more', '5 to 9')
        """
        if self.most is None:
            return f"{self.least:g} and more" if self.least else "all"
        return f"{self.least:g} to {self.most:g}" if self.least else f"below {self.most:g}"

    @property
    def recall(self) -> float | None:
        """Share of the reference objects that were found; None where there is none."""
        return self.found / self.reference if self.reference else None

    @property
    def precision(self) -> float | None:
        """Share of the predicted objects that are right; None where there is none."""
        return self.right / self.prediction if self.prediction else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of both; 0 where only one side has objects, None where neither has."""
        if not self.reference and not self.prediction:
            return None
        recall, precision = self.recall or 0.0, self.precision or 0.0
        return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


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
        objects: Class name → its objects, where object-wise metrics were asked for.
    """

    id: str
    group: str
    values: dict[str, dict[str, float | None]]
    missed: tuple[str, ...] = ()
    spurious: tuple[str, ...] = ()
    absent: bool = False
    calibrated: bool = True
    objects: dict[str, CaseObjects] = Field(default_factory=dict)

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


class ReaderAgreement(Saved):
    """Several readers of the same cases and the prediction: means of Dice over cases.

    Args:
        cases: Cases that have several readers' marks.
        among: Readers against one another, mean over pairs; None where nobody marked anything.
        model: The prediction against each reader, mean over readers.
        consensus: The prediction against the label made of them.
    """

    cases: int
    among: float | None
    model: float | None
    consensus: float | None


class Scores(Saved):
    """The measured quality of a set of predictions.

    Args:
        split: What the cases are to the model: ``held-out``, ``training``, ``unknown``, or
            ``cross-validation`` (each was measured with networks of it that had not seen it).
        classes: Foreground class names.
        metrics: Metric names.
        tolerance_mm: The τ of NSD@τ.
        cases: One row per case.
        summary: Class name (or ``mean`` for the mean over foreground classes) → metric → Summary.
        calibration: Rows ``(mean confidence, share right, pixels)`` per confidence bin; may be empty.
        calibration_objects: The same, of pixels that the prediction calls an object.
        convention: How missed and empty cases count, in words.
        objects: Class name → its objects over all cases: all sizes first, then by size.
        froc: Class name → rows ``(false alarms per image, share of the objects found)``.
        reasons: Metric → why it is measured, for those that the data called for.
        readers: Agreement among the readers of the cases, where single readers' marks are there.
    """

    version: int = 1
    split: str
    classes: tuple[str, ...]
    metrics: tuple[str, ...]
    tolerance_mm: float
    cases: tuple[CaseScores, ...]
    summary: dict[str, dict[str, Summary]]
    calibration: tuple[tuple[float, float, int], ...] = ()
    calibration_objects: tuple[tuple[float, float, int], ...] = ()
    convention: str = ""
    objects: dict[str, tuple[ObjectRow, ...]] = Field(default_factory=dict)
    froc: dict[str, tuple[tuple[float, float], ...]] = Field(default_factory=dict)
    reasons: dict[str, str] = Field(default_factory=dict)
    readers: ReaderAgreement | None = None

    @property
    def unit(self) -> str:
        """What distances are in: ``mm``, ``px`` (no file states a spacing), or ``mm or px``."""
        return " or ".join(sorted({case.unit for case in self.cases})) or "mm"

    @property
    def explained(self) -> dict[str, tuple[str, ...]]:
        """Each of the ``reasons`` → the metrics that it stands for."""
        rows = dict.fromkeys(self.reasons.values())
        return {
            why: tuple(metric for metric, reason in self.reasons.items() if reason == why) for why in rows
        }

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
