"""How images become network inputs, and what the network then sees; each decision with its reason."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from unetkit.planning.budget import Terms
from unetkit.planning.recipe import Reasons, under
from unetkit.planning.topology import coarse_axis, target_spacing
from unetkit.records.fingerprint import ChannelFingerprint, Fingerprint
from unetkit.records.plan import Normalization, PreparationPlan
from unetkit.spatial.grid import resampled_shape
from unetkit.spatial.slices import Slices

_MASKED_BELOW = 0.75
_SAME = 1e-3
AS_IT_COMES = 0.0
"""The planned spacing of an axis that is not resampled."""


def prepare_for(
    fingerprint: Fingerprint,
    slices: Slices | None = None,
    *,
    spacing_mm: tuple[float, ...] = (),
    why: str = "",
) -> tuple[PreparationPlan, Reasons]:
    """Cropping, resampling and normalisation.

    Args:
        fingerprint: The data set.
        slices: How a network over the plane sees volumes; across slices nothing is resampled then.
        spacing_mm: The spacing to bring images to; empty: by the rules.
        why: Its reason.
    """
    spacing, why_spacing = (spacing_mm, why) if spacing_mm else _spacing(fingerprint)
    separate = coarse_axis(spacing) if spacing else None
    if spacing and slices is not None:
        separate = None if separate == slices.axis else separate
        spacing = tuple(AS_IT_COMES if axis == slices.axis else mm for axis, mm in enumerate(spacing))
        why_spacing += f" Axis {slices.axis} keeps the slices as they were taken, as in nnU-Net."
    masked = fingerprint.rank == 3 and fingerprint.nonzero_share < _MASKED_BELOW
    crop = fingerprint.rank == 3
    schemes = [_normalization(channel, masked) for channel in fingerprint.channels]
    share = f"{100 * fingerprint.nonzero_share:.0f} %"
    plan = PreparationPlan(
        spacing_mm=spacing,
        crop_to_nonzero=crop,
        normalization=tuple(scheme for scheme, _ in schemes),
        separate_axis=separate,
    )
    if separate is not None:
        apart = (
            f"Axis {separate} is over 3 times coarser than the finest: interpolating across it would blur."
        )
    elif spacing and slices is not None:
        apart = "Nothing is resampled across slices."
    else:
        apart = "No axis is over 3 times coarser than the finest." if spacing else "Nothing is resampled."
    words = [f"{c.name}: {why}" for c, (_, why) in zip(fingerprint.channels, schemes, strict=True)]
    if len({why for _, why in schemes}) == 1:
        words = [f"Every channel: {schemes[0][1]}"]
    reasons = {
        "spacing_mm": why_spacing,
        "crop_to_nonzero": f"Empty margins are cut off; {share} of a typical volume stay."
        if crop
        else "A zero in a picture is a dark pixel, not an empty one.",
        "normalization": f"{'; '.join(words)}.",
        "separate_axis": apart,
        "order_image": "Cubic splines keep images sharp.",
        "order_label": "Linear on one-hot labels, then the largest: no class appears between two.",
    }
    return plan, under("preparation", reasons)


def terms_of(fingerprint: Fingerprint, preparation: PreparationPlan, slices: Slices | None = None) -> Terms:
    """What the network has to cope with once the images are prepared.

    Args:
        fingerprint: The data set.
        preparation: How its images are prepared.
        slices: How a network over the plane sees volumes: each slice is an image to it.
    """
    shapes = fingerprint.shapes if preparation.crop_to_nonzero else fingerprint.original_shapes
    spacings = fingerprint.spacings_mm
    target = preparation.spacing_mm
    if target:
        shapes = tuple(resampled_shape(n, old, target) for n, old in zip(shapes, spacings, strict=True))
    elif fingerprint.calibrated and fingerprint.rank == 3:
        target = target_spacing(spacings, shapes)
    else:
        target = (1.0,) * fingerprint.rank
    median, channels = _median(shapes), len(fingerprint.channels)
    if slices is None:
        return Terms(target, median, len(shapes), channels, len(fingerprint.classes))
    images = round(len(shapes) * median[slices.axis])
    return Terms(
        slices.in_plane(target),
        slices.in_plane(median),
        images,
        slices.count * channels,
        len(fingerprint.classes),
    )


def _spacing(fingerprint: Fingerprint) -> tuple[tuple[float, ...], str]:
    if fingerprint.rank == 2:
        return (), "Pictures are never resampled."
    if not fingerprint.calibrated:
        return (), "Not every file states its spacing, so nothing is resampled."
    target = target_spacing(fingerprint.spacings_mm, fingerprint.shapes)
    words = " × ".join(f"{value:.4g}" for value in target)
    alike = all(
        math.isclose(own, wanted, rel_tol=_SAME)
        for spacing in fingerprint.spacings_mm
        for own, wanted in zip(spacing, target, strict=True)
    )
    if alike:
        return target, f"Every volume has {words} mm already; one that differs is brought to it."
    median = _median(fingerprint.spacings_mm)
    finer = [axis for axis, (t, m) in enumerate(zip(target, median, strict=True)) if not math.isclose(t, m)]
    rule = f", axis {finer[0]} at its 10th percentile, being far coarser than the others" if finer else ""
    return target, f"The median of {len(fingerprint.spacings_mm)} volumes, {words} mm{rule}."


def _normalization(channel: ChannelFingerprint, masked: bool) -> tuple[Normalization, str]:
    name = channel.name.lower()
    if name == "ct":
        numbers = {"low": channel.low, "high": channel.high, "mean": channel.mean, "std": channel.std}
        window = f"{channel.low:.4g} to {channel.high:.4g}"
        return Normalization(
            scheme="ct", **numbers
        ), f"CT values mean the same in every scan, clipped to {window}"
    if name == "nonorm":
        return Normalization(scheme="none"), "named noNorm by the data set"
    if name == "rgb_to_0_1":
        return Normalization(scheme="zero_one", high=255.0), "named rgb_to_0_1 by the data set"
    if masked:
        return Normalization(scheme="masked_zscore"), (
            f"z-score of the non-zero pixels, as over {100 * (1 - _MASKED_BELOW):.0f} % of a volume is empty"
        )
    return Normalization(scheme="zscore"), "z-score of each image, robust to exposure and gain"


def _median(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(float(value) for value in np.median(np.asarray(rows, float), axis=0))
