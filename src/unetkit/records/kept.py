"""``update.json`` of a run: what a model kept and what it gained when it went on learning."""

from __future__ import annotations

from pydantic import Field

from unetkit.records.saved import Saved


class Interval(Saved):
    """A number with its 95 % bootstrap interval (groups resampled).

    Args:
        value: None where it is undefined.
        low: Lower end; None with fewer than two groups.
        high: Upper end; None likewise.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


class Kept(Saved):
    """One class (or the mean over classes): Dice by stage and domain, and what follows from it.

    Args:
        matrix: ``R[stage][domain]``.
        accuracy: ACC: the mean over domains after the update.
        backward: BWT: what the old domains gained; negative: lost.
        forward: FWT: what the old model scored on the new data, above an untrained network.
        forgetting: What the old domains lost.
    """

    matrix: tuple[tuple[Interval, ...], ...]
    accuracy: Interval
    backward: Interval
    forward: Interval
    forgetting: Interval


class UpdateFile(Saved):
    """What an update did.

    Args:
        method: How forgetting was held off.
        model: The model folder it started from.
        model_sha256: Of its weights.
        data: The new data, as it was named.
        stages: Rows of each matrix.
        domains: Columns of each matrix: golden sets, and the new data last.
        classes: Class name, or ``mean``, to what was kept.
        alpha: Place between the old (0) and the new weights (1), of ``interpolate`` alone.
        tried: Each place that was tried, as text, with its Dice on old and new cases.
        notes: What the numbers do not say.
    """

    version: int = 1
    method: str
    model: str
    model_sha256: str
    data: str
    stages: tuple[str, ...]
    domains: tuple[str, ...]
    classes: dict[str, Kept]
    alpha: float | None = None
    tried: dict[str, float] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
