"""Whether a first stage at a low resolution is worth it, at which one, and how images are prepared for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from unetkit.errors import UsageError
from unetkit.planning.budget import Terms
from unetkit.planning.preparation import prepare_for, terms_of
from unetkit.planning.recipe import Reasons
from unetkit.planning.topology import Configuration, configure, target_spacing
from unetkit.records.fingerprint import Fingerprint
from unetkit.records.plan import DataPlan, PreparationPlan
from unetkit.spatial.slices import Slices

COVERED = 0.25
"""Share of a typical image that a patch should cover."""
_STEP = 1.03
_ALIKE = 2.0
_SMALLER = 2.0


@dataclass(frozen=True)
class LowResolution:
    """The first stage of a cascade, as nnU-Net would make it.

    Args:
        spacing_mm: Per axis.
        median: A typical image at that spacing, pixels per axis.
        configuration: What nnU-Net would train there.
    """

    spacing_mm: tuple[float, ...]
    median: tuple[int, ...]
    configuration: Configuration


def low_resolution(
    spacing_mm: Sequence[float], median: Sequence[float], *, cases: int, classes: int, gb: float | None = None
) -> LowResolution | None:
    """Coarsen images by 3 % at a time until nnU-Net's patch covers a quarter of a typical one.

    Axes that are more than twice as fine as the coarsest go first, alone, until none is.

    Args:
        spacing_mm: At full resolution, per axis.
        median: A typical image at that spacing, pixels per axis.
        cases: Training images.
        classes: Classes, background included.
        gb: Memory target, GB; None for nnU-Net's own.

    Returns:
        The first stage; None where the patch covers a quarter already, or where a typical image would not
        even have half as many pixels.

    Reference:
        Isensee et al., nnU-Net, Nature Methods 18 (2021): the cascade.

    Example:
        >>> low_resolution((1, 1, 1), (36, 50, 35), cases=260, classes=3) is None
        True
        >>> found = low_resolution((1.24, 0.785, 0.785), (252, 512, 512), cases=63, classes=2)
        >>> found.median, found.configuration.topology.patch
        ((132, 267, 267), (80, 192, 160))
    """
    made = partial(configure, cases=cases, classes=classes, gb=gb)
    here = made(spacing_mm, median)
    low, size, share = list(spacing_mm), tuple(round(length) for length in median), here.coverage
    pixels = whole = math.prod(median)
    while share < COVERED:
        fine = [max(low) / step > _ALIKE for step in low]
        low = [step * _STEP if each or not any(fine) else step for step, each in zip(low, fine, strict=True)]
        exact = [old / new * length for old, new, length in zip(spacing_mm, low, median, strict=True)]
        size, pixels = tuple(max(1, round(length)) for length in exact), math.prod(exact)
        here = made(low, size, voxels=pixels * cases)
        share = math.prod(here.topology.patch) / pixels
    if whole < _SMALLER * pixels:
        return None
    return LowResolution(tuple(low), size, here)


def prepare_stage(
    fingerprint: Fingerprint, data: DataPlan, *, gb: float, spacing_mm: Sequence[float] = ()
) -> tuple[PreparationPlan, Terms, Reasons]:
    """How images are prepared for a network, of a cascade or alone, and what it then has to cope with.

    Args:
        fingerprint: The data set.
        data: Channels, classes, and which stage of a cascade it is.
        gb: Memory target of nnU-Net's patch, GB.
        spacing_mm: A spacing that was asked for; empty: by the rules.

    Raises:
        UsageError: A first stage is asked for where none is needed, or where spacings are not known.
    """
    slices = Slices.of(data)
    preparation, reasons = prepare_for(fingerprint, slices)
    terms = terms_of(fingerprint, preparation, slices)
    low = None
    if slices is None:
        low = low_resolution(terms.spacing_mm, terms.median, cases=terms.cases, classes=terms.classes, gb=gb)
    cover = configure(
        terms.spacing_mm, terms.median, cases=terms.cases, classes=terms.classes, gb=gb
    ).coverage
    wanted, why = tuple(spacing_mm), "Asked for."
    if data.cascade == "low" and not wanted:
        wanted, why = _lower(fingerprint, terms, low, cover)
    if wanted:
        preparation, reasons = prepare_for(fingerprint, slices, spacing_mm=wanted, why=why)
        terms = terms_of(fingerprint, preparation, slices)
    reasons["data.cascade"] = _why(data, low, cover, sliced=slices is not None)
    return preparation, replace(terms, channels=data.input_channels), reasons


def _lower(
    fingerprint: Fingerprint, terms: Terms, low: LowResolution | None, cover: float
) -> tuple[tuple[float, ...], str]:
    """The spacing of a first stage, and why."""
    own = "or set preparation.spacing_mm to a spacing of your own"
    if low is None:
        raise UsageError(
            f"data.cascade=low was asked for, and no first stage is needed: {_unneeded(cover)}",
            cure=f"leave data.cascade out, {own}",
        )
    if not fingerprint.calibrated and len(set(fingerprint.spacings_mm)) > 1:
        raise UsageError(
            "data.cascade=low needs the spacing of every image, and not every file states it",
            cure=f"leave data.cascade out, {own}",
        )
    full = target_spacing(fingerprint.spacings_mm, fingerprint.shapes)
    factors = [new / old for new, old in zip(low.spacing_mm, terms.spacing_mm, strict=True)]
    spacing = tuple(round(factor * step, 4) for factor, step in zip(factors, full, strict=True))
    return spacing, (
        "nnU-Net's rule for a first stage: 3 % coarser at a time until its patch covers a quarter of a "
        f"typical image, which has {_by(low.median)} pixels then."
    )


def _why(data: DataPlan, low: LowResolution | None, cover: float, *, sliced: bool) -> str:
    """Why there is a cascade, or none."""
    if data.cascade == "low":
        return "Asked for: the first stage sees more around each object, and less of its outline."
    if data.cascade == "full":
        count = data.previous_channels
        channels = "a further channel" if count == 1 else f"{count} further channels, one per class"
        return f"Asked for: the first stage's answer comes as {channels}."
    if sliced:
        return "None: the network sees slice by slice."
    if low is None:
        return f"None: {_unneeded(cover)}."
    return (
        f"None was asked for. nnU-Net's patch covers only {100 * cover:.2g} % of a typical image, so nnU-Net "
        f"would also try a first stage (data.cascade=low) that sees it with {_by(low.median)} pixels; "
        "whether that does better here is to be measured."
    )


def _unneeded(cover: float) -> str:
    share = f"nnU-Net's patch covers {100 * cover:.0f} % of a typical image"
    if cover >= COVERED:
        return f"{share}, a quarter or more"
    return f"{share}, and a quarter of one that is less than twice as small"


def _by(sizes: Sequence[int]) -> str:
    return "×".join(map(str, sizes))
