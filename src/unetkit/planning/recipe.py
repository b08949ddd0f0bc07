"""Everything but size and preparation: losses, augmentation, optimiser, inference; each with its reason.

Every function answers with a slice of the plan and with the reasons of its values, by dotted key.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from unetkit.planning.budget import Choice, Terms
from unetkit.planning.measure import is_tube
from unetkit.planning.topology import coarse_axis
from unetkit.records.fingerprint import Fingerprint
from unetkit.records.plan import (
    AugmentationPlan,
    InferencePlan,
    LossTerm,
    ObjectivePlan,
    TrainingPlan,
)

Reasons = dict[str, str]
DEFAULT_STEPS = 20_000
_LONG_STEPS = 20_000
_SHORT_STEPS = 10_000
_SPARSE, _VERY_SPARSE, _RARE_CLASS = 0.02, 0.005, 0.005
_SHORT_MINUTES, _FEW_PASSES, _TINY_SET = 60.0, 200.0, 50
_MIXED = ("mixup", "mixup_alpha", "cutmix", "cutmix_alpha", "copy_paste")
_CRF = tuple(key for key in InferencePlan.model_fields if key.startswith("crf_") and key != "crf_steps")
_SCREEN = ("screen_factor", "screen_thresholds")
_CASCADE = tuple(key for key in AugmentationPlan.model_fields if key.startswith("cascade_"))
_MORPHOLOGY, _REMOVAL = 0.4, 0.2
_INTENSITY = ("noise", "blur", "brightness", "contrast", "low_resolution", "gamma")
_WHOLE_PICTURE = 1_500_000


def lose(fingerprint: Fingerprint, *, sliced: bool = False) -> tuple[ObjectivePlan, Reasons]:
    """The loss: Dice with cross-entropy, or with focal loss where objects are small.

    Args:
        fingerprint: The data set.
        sliced: Whether the network sees one slice of a volume at a time.
    """
    shares = class_shares(fingerprint)
    whole, rarest = sum(shares), min((share for share in shares if share > 0), default=0.0)
    batch = 1.0 if fingerprint.rank == 2 or sliced else 0.0
    dice = LossTerm(name="dice", options={"batch": batch})
    over = "the whole batch, as one picture may lack a class" if batch else "each volume patch"
    if whole < _SPARSE:
        what = f"foreground fills {_percent(whole)}, the rarest class {_percent(rarest)} of the pixels"
        losses = (dice.model_copy(update={"weight": 0.7}), LossTerm(name="focal", weight=0.3))
        why = f"Small objects ({what}): Dice 0.7 + focal 0.3 keep easy background from outweighing them"
    else:
        losses = (dice, LossTerm(name="cross_entropy"))
        why = (
            f"Dice + cross-entropy, nnU-Net's pair: foreground fills {_percent(whole)}, "
            f"the rarest class {_percent(rarest)} of the pixels"
        )
    why = f"{why}; Dice over {over}.{_tubes(fingerprint)}"
    reasons = {
        "name": "Every training image is labelled.",
        "losses": why,
        "wrappers": "None: there is no earlier model whose knowledge has to be kept.",
    }
    return ObjectivePlan(losses=losses), under("objective", reasons)


def augment_for(
    terms: Terms, choice: Choice, *, minutes: float, cascade: bool = False
) -> tuple[AugmentationPlan, Reasons]:
    """nnU-Net's augmentation, lighter where the time allows only a few passes over the data.

    Args:
        terms: The data set.
        choice: Patch, batch and steps.
        minutes: Time budget, 0 for none.
        cascade: Whether the network sees the answer of a first stage.
    """
    degrees, why_degrees = _rotation(terms, choice.candidate.shape.patch)
    passes = _passes(terms, choice)
    short = 0 < minutes <= _SHORT_MINUTES
    light = short and passes < _FEW_PASSES
    still = short and terms.rank == 3 and terms.classes > 2
    elastic = 0.2 if terms.rank == 2 and terms.cases < _TINY_SET else 0.0
    plan = AugmentationPlan(
        rotation_degrees=degrees,
        elastic=elastic,
        flip_axes=() if still else tuple(range(terms.rank)),
        cascade_morphology=_MORPHOLOGY if cascade else 0.0,
        cascade_removal=_REMOVAL if cascade else 0.0,
    )
    reasons = dict.fromkeys(type(plan).model_fields, "nnU-Net's value.")
    if not cascade:
        reasons |= dict.fromkeys(_CASCADE, "Off: there is no answer of a first stage to change.")
    reasons |= dict.fromkeys(_MIXED, "Off: mixing patches is to be chosen by hand, and measured.")
    if light:
        plan = plan.model_copy(update={name: round(getattr(plan, name) / 2, 3) for name in _INTENSITY})
        few = f"{minutes:g} minutes give only about {passes:.1f} passes over the data"
        reasons |= dict.fromkeys(_INTENSITY, f"Half of nnU-Net's probability: {few}.")
    reasons |= {
        "rotation_degrees": why_degrees,
        "elastic": f"Only {terms.cases} training pictures: bending them makes more."
        if elastic
        else "nnU-Net uses none: rotation and zoom suffice here.",
        "flip_axes": (
            f"Not mirrored: the classes of a scan have their sides, and {minutes:g} minutes are too short to "
            "learn every mirror image as well."
            if still
            else "Mirrored on every axis, as in nnU-Net."
        ),
    }
    return plan, under("augmentation", reasons)


def optimise(
    fingerprint: Fingerprint, terms: Terms, choice: Choice, *, minutes: float, memory_gb: float
) -> tuple[TrainingPlan, Reasons]:
    """Optimiser, schedule and sampling.

    Args:
        fingerprint: The data set.
        terms: The data set as the network sees it.
        choice: Patch, batch and steps.
        minutes: Time budget, 0 for none.
        memory_gb: Memory budget, 0 for none.
    """
    steps = choice.steps or DEFAULT_STEPS
    fraction, why_fraction = _foreground_fraction(fingerprint)
    decay = "nnU-Net's value."
    average = 0.99 if steps < _SHORT_STEPS else 0.999
    if steps > _LONG_STEPS:
        optimizer, rate, weight_decay, clip = "sgd", 1e-2, 3e-5, 12.0
        why = f"SGD with nnU-Net's rate of 0.01 generalises best over a long schedule ({steps} steps)."
    else:
        rate = 3e-3 if steps < _SHORT_STEPS else 1e-3
        optimizer, weight_decay, clip = "adamw", 1e-2, 1.0
        decay = "Usual for AdamW, where it is decoupled from the rate."
        course = f"about {steps} steps; peak {rate:g} at batch {choice.batch}"
        why = f"AdamW with a cosine schedule gets furthest in a short schedule: {course}."
    plan = TrainingPlan(
        patch_size=choice.candidate.shape.patch,
        batch_size=choice.batch,
        steps=0 if minutes > 0 else DEFAULT_STEPS,
        minutes=minutes,
        memory_gb=memory_gb,
        foreground_fraction=fraction,
        optimizer=optimizer,
        learning_rate=rate,
        weight_decay=weight_decay,
        clip_norm=clip,
        ema_decay=average,
    )
    reasons = dict.fromkeys(type(plan).model_fields, "The default.")
    reasons |= {
        "foreground_fraction": why_fraction,
        "class_balance": "A class that one case in a hundred has is looked for ten times as often as it "
        "occurs: enough to be learned, too little to be expected everywhere.",
        "readers": "One label per case, as in the scores; whether single readers teach more is worth a run.",
        **dict.fromkeys(("optimizer", "learning_rate"), why),
        "weight_decay": decay,
        "clip_norm": f"Gradients beyond a norm of {clip:g} are scaled down, against odd batches.",
        "ema_decay": f"Averages the weights over about the last {1 / (1 - average):.0f} of {steps} steps.",
        "steps": _why_steps(choice, minutes),
        "minutes": "Your time budget." if minutes else "No time budget was given.",
        "memory_gb": "Your memory budget." if memory_gb else "No memory budget was given: what is free.",
        **dict.fromkeys(("precision", "memory_format"), "Measured at the start: whichever is faster."),
        "select": "The averaged weights at the end: nothing was selected on the held-out cases.",
        "checkpoint_steps": "By the clock.",
        "validate_steps": "By the clock, 8 times over the run.",
    }
    return plan, under("training", reasons)


def infer(
    terms: Terms, choice: Choice, *, flips: Sequence[int], device: str
) -> tuple[InferencePlan, Reasons]:
    """Tiles, overlap and mirroring at prediction time.

    Args:
        terms: The data set.
        choice: Patch and network.
        flips: Axes mirrored in training.
        device: Where training runs.
    """
    patch = choice.candidate.shape.patch
    flat = terms.rank == 2
    whole = _WHOLE_PICTURE if flat else 2 * math.prod(patch)
    together = 1 if device.startswith("cpu") else 4
    plan = InferencePlan(
        tile_size=patch,
        overlap_fraction=0.25 if flat else 0.5,
        batch_size=together,
        mirror_axes=tuple(flips),
        whole_image_pixels=whole,
    )
    reasons = {
        "tile_size": "The training patch: the network knows this field of view.",
        "overlap_fraction": "A quarter suffices for pictures: each tile sees far beyond its seam."
        if flat
        else "Half, as in nnU-Net: every voxel is seen from several tiles.",
        "batch_size": f"{together} at a time on {device}.",
        "mirror_axes": "The axes mirrored in training, when --tta asks for it."
        if flips
        else "None: nothing was mirrored in training.",
        "whole_image_pixels": f"Up to {whole} pixels fit through the network in one piece, without seams.",
        "minimum_pixels": "Fitted after training: how small an object may be and still be believed.",
        "largest_only": "Fitted after training: whether only the largest object of a class is believed.",
        "fit_cases": "Enough training cases to tell; never held-out ones.",
        "crf_steps": "None: a random field over the prediction is worth it only where measuring says so.",
        **dict.fromkeys(_CRF, "Used where crf_steps is above 0."),
        "guided_radius": "None: a guided filter, too, is worth it only where measuring says so.",
        "guided_epsilon": "Used where guided_radius is above 0.",
        "runtime": "The trained network itself.",
        **dict.fromkeys(("network_input", "network_output"), "As trained; 'unet export' may change it."),
        "mode": "Overlapping tiles are averaged, which any network allows.",
        **dict.fromkeys(("skip_tiles", "pyramid_levels"), "The default."),
        **dict.fromkeys(_SCREEN, "Off: 'unet screen' measures whether a first look pays."),
        "stream_above_pixels": "What memory is free when an image comes decides.",
    }
    return plan, under("inference", reasons)


def class_shares(fingerprint: Fingerprint) -> tuple[float, ...]:
    """Share of all labelled pixels per foreground class.

    Args:
        fingerprint: The data set.
    """
    total = sum(fingerprint.voxels) or 1
    return tuple(count / total for count in fingerprint.voxels[1:])


def _tubes(fingerprint: Fingerprint) -> str:
    """Names the classes that are thin and long, for which a loss can be chosen by hand."""
    rows = zip(fingerprint.classes[1:], fingerprint.thickness, fingerprint.elongation, strict=False)
    tubes = [
        f"{name} ({thick:.2g} pixels thick, {long:.0f} times as long)"
        for name, thick, long in rows
        if is_tube(thick, long)
    ]
    return f" Looks like tubes: {', '.join(tubes)}; cldice beside it joins centre lines." if tubes else ""


def _rotation(terms: Terms, patch: Sequence[int]) -> tuple[tuple[float, ...], str]:
    if terms.rank == 2:
        if max(patch) / min(patch) > 1.5:
            return (15.0,), "±15°: further turns would leave this long patch half empty."
        return (180.0,), "Any angle: the patch is about square."
    coarse = coarse_axis(terms.spacing_mm)
    thin = min(range(3), key=lambda axis: patch[axis])
    if coarse is None and max(patch) / patch[thin] > 3:
        coarse = thin
    if coarse is None:
        return (30.0,) * 3, "±30° about every axis, as in nnU-Net."
    plane = [size for axis, size in enumerate(patch) if axis != coarse]
    angle = 15.0 if max(plane) / min(plane) > 1.5 else 180.0
    turned = tuple(angle if axis == coarse else 0.0 for axis in range(3))
    return turned, f"±{angle:g}° within the slices only: axis {coarse} is too coarse or too short to turn."


def _foreground_fraction(fingerprint: Fingerprint) -> tuple[float, str]:
    shares = class_shares(fingerprint)
    share, rarest = sum(shares), min((s for s in shares if s > 0), default=1.0)
    if share < _VERY_SPARSE:
        return 0.67, f"Foreground fills only {_percent(share)}: two patches in three are centred on it."
    if rarest < _RARE_CLASS:
        return (
            0.67,
            f"The rarest class fills {_percent(rarest)}: two patches in three are centred on a class.",
        )
    if share < _SPARSE:
        return 0.5, f"Foreground fills only {_percent(share)}: every second patch is centred on it."
    return 0.33, f"Foreground fills {_percent(share)}: every third patch is centred on it, as in nnU-Net."


def _why_steps(choice: Choice, minutes: float) -> str:
    if minutes > 0:
        return (
            f"Counted at the start; about {choice.steps} of {choice.step_seconds:.2g} s are expected to fit."
        )
    if choice.step_seconds <= 0:
        return f"{DEFAULT_STEPS}: enough for most data sets; --minutes sets a time budget instead."
    hours = DEFAULT_STEPS * choice.step_seconds / 3600
    time = f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.0f} minutes"
    return f"{DEFAULT_STEPS}: enough for most data sets, about {time} on this device; --minutes shortens it."


def _passes(terms: Terms, choice: Choice) -> float:
    """How often each pixel of the data set is seen."""
    seen = (choice.steps or DEFAULT_STEPS) * choice.batch * math.prod(choice.candidate.shape.patch)
    return seen / (terms.cases * math.prod(terms.median))


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def under(prefix: str, reasons: Reasons) -> Reasons:
    """Reasons by dotted key.

    Args:
        prefix: Slice of the plan.
        reasons: By key of that slice.
    """
    return {f"{prefix}.{key}": why for key, why in reasons.items()}
