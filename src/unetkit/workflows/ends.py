"""The ends an exported network is asked to have: pixels of the files in, class ids out."""

from __future__ import annotations

import numpy as np

from unetkit.data.intensities import fixed_intensities
from unetkit.errors import UsageError
from unetkit.inference.ends import refuse_without_logits
from unetkit.records.case import Intensity
from unetkit.records.plan import Plan
from unetkit.runtimes import Runtime
from unetkit.spatial.intensity import apply_intensity


def plan_with_ends(plan: Plan, *, uint8: bool, classes: bool) -> Plan:
    """The plan of an export.

    Args:
        plan: Of the model.
        uint8: Whether the network takes the pixels of the files and normalises them itself.
        classes: Whether it answers class ids.

    Raises:
        UsageError: The plan does not allow it.
    """
    if uint8:
        _refuse_other_pixels(plan)
    wanted = {
        "inference.network_input": "uint8" if uint8 else "float32",
        "inference.network_output": "classes" if classes else "logits",
    }
    had = plan.flat()
    changes = {key: value for key, value in wanted.items() if had[key] != value}
    made = plan.with_values(changes, reason="Asked for at the export.")
    refuse_without_logits(made.inference)
    return made


def _refuse_other_pixels(plan: Plan) -> None:
    if plan.data.pixels != "uint8":
        raise UsageError(
            f"expected a model of uint8 pictures, got one of {plan.data.pixels}",
            cure="leave --uint8 out: normalised pixels go in then",
        )
    if plan.preparation.spacing_mm:
        raise UsageError(
            "this model's images are resampled to preparation.spacing_mm, and resampled pixels are no bytes",
            cure="leave --uint8 out: normalised pixels go in then",
        )
    fixed_intensities(plan.preparation.normalization)


def intensities_in(plan: Plan) -> tuple[Intensity, ...]:
    """What an exported network does to pixels by itself; nothing where it takes normalised ones.

    Args:
        plan: Of the export.

    Returns:
        One per channel that the network sees: where it sees neighbouring slices, those of one channel follow
        one another.
    """
    if plan.inference.network_input == "float32":
        return ()
    data, rules = plan.data, fixed_intensities(plan.preparation.normalization)
    return tuple(rule for rule in rules for _ in range(data.input_channels // len(data.channels)))


class Normalised:
    """A runtime for the pixels of files, around one for normalised ones.

    Args:
        inner: Takes normalised pixels.
        intensity: How each channel is normalised.

    Example:
        >>> class Same:
        ...     notes = ()
        ...     def run(self, batch):
        ...         return batch
        >>> half = Normalised(Same(), (Intensity(0.0, 255.0, 0.0, 0.5),))
        >>> half.run(np.array([[[3, 4]]], np.uint8)).tolist()
        [[[1.5, 2.0]]]
    """

    def __init__(self, inner: Runtime, intensity: tuple[Intensity, ...]) -> None:
        self._inner, self._intensity = inner, intensity
        self.notes = inner.notes

    def run(self, batch: np.ndarray) -> np.ndarray:
        """``(B, C, *S)`` uint8 → what the inner runtime answers."""
        return self._inner.run(np.stack([apply_intensity(each, self._intensity) for each in batch]))
