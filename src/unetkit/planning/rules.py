"""From what the data is to what is done about it: every decision, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from unetkit.errors import UsageError
from unetkit.planning.budget import (
    ENOUGH_STEPS,
    SMALLEST_BATCH,
    TRAINING_SHARE,
    Budget,
    Choice,
    Terms,
    candidate,
    choose,
    most_patches,
    nnunet,
)
from unetkit.planning.cascade import prepare_stage
from unetkit.planning.cost import TRAINING_OPERATIONS, Cost
from unetkit.planning.recipe import (
    Reasons,
    augment_for,
    infer,
    lose,
    optimise,
)
from unetkit.planning.topology import coarse_axis, target_spacing
from unetkit.records.fingerprint import Fingerprint
from unetkit.records.plan import DataPlan, Plan
from unetkit.spatial.slices import Slices

if TYPE_CHECKING:
    from unetkit.planning.named import Wanted

_NNUNET_GB = 8.0


def plan(
    fingerprint: Fingerprint,
    data: DataPlan,
    *,
    minutes: float = 0.0,
    memory_gb: float = 0.0,
    device: str = "cpu",
    cost: Cost | None = None,
    wanted: Wanted | None = None,
    spacing_mm: Sequence[float] = (),
) -> Plan:
    """Decide everything about a training, starting from nnU-Net's rules.

    Args:
        fingerprint: The data set, measured on the training cases alone.
        data: Channels and classes.
        minutes: Time budget for planning, preparation and training; 0 for none.
        memory_gb: Memory budget, GB; 0 for what is free.
        device: ``cpu``, ``cuda``, …; ``auto`` for the best there is.
        cost: Speed of the device; None to measure it (about a second).
        wanted: The network that was asked for; None for the planner's own.
        spacing_mm: The spacing that was asked for; empty: by the rules.

    Raises:
        UsageError: There is no training case, a budget is negative, there is no such network here, slices
            are asked for where there are none, or a first stage where none is needed.
    """
    _check(fingerprint, data, minutes, memory_gb)
    slices = Slices.of(data)
    device, cost, free_gb = _machine(device, cost, memory_gb, data.input_rank)
    budget = Budget(
        seconds=60 * minutes,
        gb=memory_gb or free_gb,
        patch_gb=min(memory_gb or _NNUNET_GB, memory_gb or free_gb),
        cost=cost,
        bytes_per_value=4 if device.startswith("cpu") else 2,
    )
    preparation, terms, reasons = prepare_stage(fingerprint, data, gb=budget.patch_gb, spacing_mm=spacing_mm)
    choice = choose(terms, budget, make=wanted.maker() if wanted else candidate)
    objective, more = lose(fingerprint, sliced=slices is not None)
    reasons |= more
    augmentation, more = augment_for(terms, choice, minutes=minutes, cascade=data.cascade == "full")
    reasons |= more
    training, more = optimise(fingerprint, terms, choice, minutes=minutes, memory_gb=memory_gb)
    reasons |= more | _why_size(terms, budget, choice, device)
    inference, more = infer(terms, choice, flips=augmentation.flip_axes, device=device)
    reasons |= more | _why_data(fingerprint, data) | _why_network(terms, budget, choice, minutes)
    if wanted:
        reasons |= wanted.reasons(terms, choice, reasons["network.widths"])
    return Plan(
        data=data,
        preparation=preparation,
        network=choice.candidate.network,
        objective=objective,
        augmentation=augmentation,
        training=training,
        inference=inference,
        reasons=dict(sorted(reasons.items())),
    )


def _check(fingerprint: Fingerprint, data: DataPlan, minutes: float, memory_gb: float) -> None:
    if not fingerprint.cases:
        raise UsageError("a plan needs at least 1 labelled case, got 0", cure="add images with masks")
    if fingerprint.rank != data.rank:
        raise UsageError(
            f"the fingerprint has {fingerprint.rank} axes, the data {data.rank}",
            cure="measure the data set again",
        )
    for name, value in (("minutes", minutes), ("memory", memory_gb)):
        if not math.isfinite(value) or value < 0:
            raise UsageError(
                f"a {name} budget of 0 or more was expected, got {value}", cure=f"correct --{name}"
            )


def _machine(device: str, cost: Cost | None, memory_gb: float, rank: int) -> tuple[str, Cost | None, float]:
    """The device by name, its speed, and the memory that is free on it; torch is imported only to measure."""
    if cost is None or device == "auto":
        from unetkit.planning.rate import measure_rate

        cost = cost or measure_rate(device, rank=rank)
        device = cost.device if device == "auto" else device
    if memory_gb > 0:
        return device, cost, memory_gb
    from unetkit.planning.capacity import default_memory_gb

    return device, cost, default_memory_gb(device)


def _why_size(terms: Terms, budget: Budget, choice: Choice, device: str) -> Reasons:
    """Why this patch and this batch."""
    patch = choice.candidate.shape.patch
    theirs = nnunet(terms, gb=budget.patch_gb)
    cover = math.prod(min(p, m) / m for p, m in zip(patch, terms.median, strict=True))
    typical = _by(tuple(round(m) for m in terms.median))
    where = f"covers {100 * cover:.0f} % of a typical image ({typical}) and halves evenly"
    if patch == theirs.topology.patch:
        why_patch = f"nnU-Net's patch; it {where}."
    elif cover == 1.0:
        why_patch = f"The whole image: it {where}."
    else:
        limit = f"the {choice.stopped_by} budget" if choice.stopped_by else "a bottleneck of useful size"
        why_patch = f"Smaller than nnU-Net's {_by(theirs.topology.patch)} for {limit}; it {where}."
    least, most = SMALLEST_BATCH[terms.rank], most_patches(terms, patch)
    why_batch = f"nnU-Net would take {theirs.batch} at {_by(theirs.topology.patch)}; "
    if choice.batch < least:
        why_batch += f"memory ({budget.gb:.1f} GB) forbids the {least} that steady gradients want."
    elif budget.seconds:
        time = f"{budget.seconds / 60:g} minutes on {device}"
        why_batch += f"{choice.batch} leaves about {choice.steps} steps in {time}."
    else:
        why_batch += f"kept between {least} and 32, within {budget.gb:.1f} GB."
    if most == least:
        why_batch += f" 5 % of the data would be fewer than {least} patches, which makes gradients noisy."
    return {"training.patch_size": why_patch, "training.batch_size": why_batch}


def _why_network(terms: Terms, budget: Budget, choice: Choice, minutes: float) -> Reasons:
    """Why this network."""
    rung, network = choice.candidate, choice.candidate.network
    first = network.widths[0]
    if minutes > 0:
        least, enough = SMALLEST_BATCH[terms.rank], ENOUGH_STEPS[terms.rank]
        rate = TRAINING_OPERATIONS * rung.multiply_adds * choice.batch / choice.step_seconds / 1e9
        time = f"{100 * TRAINING_SHARE:.0f} % of {minutes:g} minutes at {rate:.0f} GFLOP/s"
        size = f"{first} channels first, {rung.weights / 1e6:.2g} million weights"
        widest = f"The largest network that gets {enough} steps of {least} patches in {time}: {size}"
        if choice.steps * choice.batch < enough * least:
            widest = f"The smallest network, as {time} allow only {choice.steps} steps: {size}"
    else:
        widest = f"No time budget: nnU-Net's width as far as {budget.gb:.1f} GB allow, {first} channels first"
    if choice.stopped_by:
        widest += f"; the next size would exceed the {choice.stopped_by}"
    coarsest = tuple(p // d for p, d in zip(rung.shape.patch, rung.shape.divisors, strict=True))
    heads = network.deep_supervision
    flat = [index for index, kernel in enumerate(network.kernels) if 1 in kernel]
    why_flat = f"in stages {flat}, where an axis is twice as coarse as the finest"
    if 1 in rung.shape.patch:
        why_flat = "across the axis that is one pixel long"
    reasons = dict.fromkeys(type(network).model_fields, "The default.") | {
        "encoder": "Plain convolutions: a well-configured plain U-Net is on a par with newer networks.",
        "bottleneck": "Nothing is added at the coarsest stage.",
        "fusion": "Skips are concatenated, as in U-Net.",
        "decoder": "The U-Net's.",
        "norm": f"Instance normalisation does not depend on the batch, which is small ({choice.batch}).",
        "widths": f"{widest}.",
        "blocks": "2 convolutions per stage, as in nnU-Net.",
        "decoder_blocks": "2 convolutions per stage, as in nnU-Net.",
        "kernels": f"3 on every axis except {why_flat}." if flat else "3 on every axis: spacings are alike.",
        "strides": f"{rung.shape.stages} stages: halved until the coarsest map has {_by(coarsest)} pixels.",
        "deep_supervision": f"The {heads} finest outputs have a loss, so that deep layers learn early.",
        "dropout": "None, as in nnU-Net: augmentation regularises.",
        "backbone": "None: the encoder is our own.",
        "decoder_widths": "As wide as the encoder.",
        "expansion": "Not for this encoder.",
        "bottleneck_blocks": "None: nothing is added at the coarsest stage.",
        "pyramid": "The image alone: the stages see every scale as it is.",
    }
    return {f"network.{key}": why for key, why in reasons.items()}


def _why_data(fingerprint: Fingerprint, data: DataPlan) -> Reasons:
    seen = f"Seen in {len(fingerprint.cases)} training cases of {fingerprint.groups} groups"
    ignored = (
        "No value means 'not labelled'."
        if data.ignore_value is None
        else "Pixels of this value are not learnt."
    )
    reasons = {
        "rank": f"{seen}: images of {data.rank} axes.",
        "channels": f"{seen}.",
        "classes": f"{seen}.",
        "label_values": f"{seen}.",
        "ignore_value": ignored,
        "pixels": f"{seen}: most files are {fingerprint.dtype}.",
        **_why_slices(fingerprint, data),
    }
    return {f"data.{key}": why for key, why in reasons.items()}


def _why_slices(fingerprint: Fingerprint, data: DataPlan) -> Reasons:
    """Why the network sees volumes as it does."""
    if data.slice_axis is not None:
        context, seen = data.context_slices, f"{data.input_channels} channels in all"
        return {
            "slice_axis": f"Asked for: one slice along axis {data.slice_axis} at a time.",
            "context_slices": f"Asked for: {context} neighbours on each side, {seen}."
            if context
            else "None: each slice is seen by itself.",
        }
    if data.rank == 2:
        return dict.fromkeys(("slice_axis", "context_slices"), "None: pictures have no slices.")
    why = "None: the network sees every axis."
    coarse = coarse_axis(target_spacing(fingerprint.spacings_mm, fingerprint.shapes))
    if coarse is not None:
        why += (
            f" Axis {coarse} is over 3 times coarser than the finest: whether data.slice_axis={coarse} does "
            "better here is to be measured."
        )
    few = "neighbours helped in 1 of 5 data sets (Vu et al. 2020)"
    return {"slice_axis": why, "context_slices": f"Not for a network that sees every axis; of slices, {few}."}


def _by(sizes: tuple[int, ...]) -> str:
    return "×".join(map(str, sizes))
