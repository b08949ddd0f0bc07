"""Network, patch and batch under a time and a memory budget.

A ladder of candidates is climbed: every rung has at least the patch, the depth and the width of the one
below. The highest rung on which the optimiser still gets enough patches wins, so more minutes never give a
smaller network. What is left over goes into the batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from unetkit.planning.cost import (
    LANES,
    Cost,
    multiply_adds,
    parameters,
    step_bytes_counted,
    step_bytes_guess,
)
from unetkit.planning.topology import (
    SMALLEST_EDGE,
    Configuration,
    Topology,
    configure,
    feature_elements,
    first_patch,
    network_for,
    topology,
)
from unetkit.records.plan import Axes, NetworkPlan

TRAINING_SHARE = 0.8
DEEPEST_SUPERVISION = 4
_MOST_STAGES = 7
LEAST_KEPT = 0.85  # share of a wanted edge below which it is padded up, not cut down
_SMALLEST_EDGE = {2: 8, 3: SMALLEST_EDGE}
# rungs as (edge of the patch, first width); 0: nnU-Net's own patch
_LADDER = {
    2: ((128, 8), (192, 8), (192, 16), (256, 16), (256, 24), (256, 32), (512, 32), (0, 32)),
    3: ((48, 8), (64, 8), (64, 16), (96, 16), (0, 16), (0, 24), (0, 32)),
}
_BATCHES = (2, 4, 8, 12, 16)
SMALLEST_BATCH = {2: 4, 3: 2}
ENOUGH_STEPS = {2: 1250, 3: 3000}
PLENTY_STEPS = 3000
_LARGEST_BATCH = 32
_HARDLY = 1.2


@dataclass(frozen=True)
class Terms:
    """What the data set asks of a network.

    Args:
        spacing_mm: Spacing the network sees, per axis.
        median: Median image at that spacing, pixels per axis.
        cases: Training images.
        channels: Input channels.
        classes: Output classes, background included.
    """

    spacing_mm: tuple[float, ...]
    median: tuple[float, ...]
    cases: int
    channels: int
    classes: int

    @property
    def rank(self) -> int:
        """Spatial axes."""
        return len(self.median)


@dataclass(frozen=True)
class Budget:
    """What training may use.

    Args:
        seconds: Time for preparation, training and validation together; 0 for no limit.
        gb: Memory of a training step, GB.
        patch_gb: Memory target from which nnU-Net's own patch follows, GB.
        cost: Speed of the device; None only without a time limit.
        bytes_per_value: Size of a stored feature value: 4, or 2 where training runs in bfloat16.
    """

    seconds: float
    gb: float
    patch_gb: float
    cost: Cost | None = None
    bytes_per_value: int = 4


@dataclass(frozen=True)
class Candidate:
    """A patch, a network for it, and what one patch costs.

    Args:
        shape: Patch, strides and kernels.
        network: The network.
        multiply_adds: Of one patch, forward, as the device's vector units count them.
        elements: Feature values of one patch.
        weights: Parameters.
        saved: Bytes that autograd keeps of one patch in float32; 0 where they were not counted.
    """

    shape: Topology
    network: NetworkPlan
    multiply_adds: int
    elements: int
    weights: int
    saved: int = 0

    def seconds(self, cost: Cost, batch: int) -> float:
        """Seconds of one training step."""
        return cost.seconds(multiply_adds=self.multiply_adds, elements=self.elements, batch=batch)

    def fits(self, budget: Budget, batch: int) -> bool:
        """Whether one training step stays inside the memory: as counted, else by a rule of thumb."""
        width = budget.bytes_per_value
        size = step_bytes_guess(self.elements, self.weights, batch, bytes_per_value=width)
        if self.saved:
            size = step_bytes_counted(self.saved * width / 4, self.weights, batch)
        return size <= budget.gb * 1e9


class Maker(Protocol):
    """Makes the network for a patch; ``candidate`` is the one for the planner's own network."""

    def __call__(
        self, terms: Terms, patch: Sequence[float], first_width: int, *, trimmed: bool = False
    ) -> Candidate:
        """The network for a patch, ``first_width`` / 32 as wide as it is at its widest."""
        ...


@dataclass(frozen=True)
class Choice:
    """What will be trained.

    Args:
        candidate: Patch and network.
        batch: Patches per step.
        steps: Steps that fit into the time; 0 when there is no time budget.
        step_seconds: Expected seconds of a step.
        stopped_by: What a larger candidate would have exceeded: ``time``, ``memory``, or nothing.
    """

    candidate: Candidate
    batch: int
    steps: int
    step_seconds: float
    stopped_by: str


def candidate(terms: Terms, patch: Sequence[float], first_width: int, *, trimmed: bool = False) -> Candidate:
    """The network for a patch, with our rules: a bottleneck of useful size, at least 2 stages.

    Args:
        terms: The data set.
        patch: Pixels per axis.
        first_width: Channels at full resolution.
        trimmed: Whether the patch may be cut down a little to halve evenly, instead of padded.
    """
    shape = _shape(terms, patch)
    if trimmed:
        shape = replace(shape, patch=_trimmed(patch, shape))
    network = network_for(shape, first_width=first_width)
    heads = max(1, min(shape.stages - 1, DEEPEST_SUPERVISION))
    network = network.model_copy(update={"deep_supervision": heads})
    work = multiply_adds(
        network,
        rank=terms.rank,
        in_channels=terms.channels,
        classes=terms.classes,
        patch=shape.patch,
        lanes=LANES,
    )
    return Candidate(
        shape,
        network,
        work,
        feature_elements(network, shape.patch, terms.classes),
        parameters(network, in_channels=terms.channels, classes=terms.classes),
    )


def _shape(terms: Terms, patch: Sequence[float]) -> Topology:
    """Our topology of a patch; a tiny image is halved once all the same, as a U-Net has two stages."""
    edges = (_SMALLEST_EDGE[terms.rank], SMALLEST_EDGE, 2)
    for edge in edges:
        shape = topology(terms.spacing_mm, patch, smallest_edge=edge, most_stages=_MOST_STAGES)
        if shape.stages > 1:
            return shape
    grown = tuple(max(4, 2 * math.ceil(p / 2)) for p in patch)
    flat = (1,) * terms.rank
    return Topology(grown, (flat, (2,) * terms.rank), ((3,) * terms.rank,) * 2)


def _trimmed(wanted: Sequence[float], shape: Topology) -> Axes:
    """The patch cut down to what halves evenly where that costs little, padded up where it would not.

    nnU-Net always pads: a 36×50×35 volume is trained as 40×56×40, where 30 % of the voxels are outside of
    the image and teach nothing. Prediction does not care, as it works on whole images of any size.
    """
    edges = []
    for want, padded, step in zip(wanted, shape.patch, shape.divisors, strict=True):
        below = math.floor(want / step) * step
        edges.append(below if below >= LEAST_KEPT * want else padded)
    return tuple(edges)


def nnunet(terms: Terms, *, gb: float) -> Configuration:
    """What nnU-Net would train with so much memory.

    Args:
        terms: The data set.
        gb: Memory target, GB.
    """
    return configure(terms.spacing_mm, terms.median, cases=terms.cases, classes=terms.classes, gb=gb)


def ladder(
    terms: Terms, *, patch_gb: float, trimmed: bool = False, make: Maker = candidate
) -> list[Candidate]:
    """Candidates, each at least as large as the one before in every respect.

    Args:
        terms: The data set.
        patch_gb: Memory target of nnU-Net's own patch, GB.
        trimmed: As in ``candidate``.
        make: Makes a candidate for a patch and a width.
    """
    theirs = nnunet(terms, gb=patch_gb).topology.patch
    full = [min(p, math.ceil(m)) for p, m in zip(theirs, terms.median, strict=True)]
    rungs: list[Candidate] = []
    for edge, width in _LADDER[terms.rank]:
        # an image that is hardly larger than the patch is seen whole
        cut = edge and any(m > _HARDLY * edge for m in terms.median)
        wanted = first_patch(terms.spacing_mm, terms.median, edge) if cut else full
        rung = make(terms, [min(w, f) for w, f in zip(wanted, full, strict=True)], width, trimmed=trimmed)
        if not rungs or _grows(rungs[-1], rung):
            rungs.append(rung)
    return rungs


def _grows(last: Candidate, rung: Candidate) -> bool:
    """Whether a rung is above the last one: nowhere smaller, somewhere larger."""
    pairs = (
        (last.weights, rung.weights),
        (last.multiply_adds, rung.multiply_adds),
        *zip(last.shape.patch, rung.shape.patch, strict=True),
    )
    return all(low <= high for low, high in pairs) and any(low < high for low, high in pairs)


def most_patches(terms: Terms, patch: Axes) -> int:
    """Largest batch that repeats no more than 5 % of the data set's pixels, and never a tiny one.

    nnU-Net's cap alone gives a data set of 30 pictures batches of 2, too few for a stable gradient.

    Args:
        terms: The data set.
        patch: Pixels per axis.
    """
    share = round(0.05 * math.prod(terms.median) * terms.cases / math.prod(patch))
    return max(share, SMALLEST_BATCH[terms.rank])


def choose(terms: Terms, budget: Budget, *, make: Maker = candidate) -> Choice:
    """What to train within the budget.

    Args:
        terms: The data set.
        budget: Time, memory and speed.
        make: Makes a candidate for a patch and a width.

    Example:
        >>> terms = Terms((1.0, 1.0), (512.0, 512.0), cases=30, channels=1, classes=2)
        >>> choice = choose(terms, Budget(seconds=600, gb=8, patch_gb=8, cost=Cost(gflops=275)))
        >>> choice.candidate.shape.patch, choice.candidate.network.widths[0], choice.batch
        ((256, 256), 16, 4)
    """
    if budget.seconds > 0 and budget.cost is not None:
        return _within_time(terms, budget, budget.cost, make)
    return _without_time(terms, budget, make)


def _within_time(terms: Terms, budget: Budget, cost: Cost, make: Maker) -> Choice:
    """The largest candidate that still gets enough optimiser steps, and the batch for it."""
    least, enough = SMALLEST_BATCH[terms.rank], ENOUGH_STEPS[terms.rank]
    time = budget.seconds * TRAINING_SHARE
    rungs = ladder(terms, patch_gb=budget.patch_gb, trimmed=True, make=make)
    chosen, stopped_by = rungs[0], ""
    for rung in rungs[1:]:
        if not rung.fits(budget, least):
            stopped_by = "memory"
        elif rung.seconds(cost, least) * enough > time:
            stopped_by = "time"
        if stopped_by:
            break
        chosen = rung
    most = most_patches(terms, chosen.shape.patch)
    useful = [b for b in _BATCHES if least < b <= most and chosen.seconds(cost, b) * PLENTY_STEPS <= time]
    batch = _at_most(chosen, max(useful, default=least), budget)
    once = chosen.seconds(cost, batch)
    return Choice(chosen, batch, max(1, int(time / once)), once, stopped_by)


def _without_time(terms: Terms, budget: Budget, make: Maker) -> Choice:
    """nnU-Net's own patch and width where memory allows, its batch kept between useful bounds."""
    least = SMALLEST_BATCH[terms.rank]
    rungs = ladder(terms, patch_gb=budget.patch_gb, make=make)
    chosen = next((rung for rung in reversed(rungs) if rung.fits(budget, least)), rungs[0])
    theirs = nnunet(terms, gb=budget.patch_gb).batch
    batch = _at_most(chosen, min(max(theirs, least), _LARGEST_BATCH), budget)
    once = chosen.seconds(budget.cost, batch) if budget.cost else 0.0
    return Choice(chosen, batch, 0, once, "" if chosen is rungs[-1] else "memory")


def _at_most(chosen: Candidate, batch: int, budget: Budget) -> int:
    """``batch``, or less where memory forbids it."""
    while batch > 1 and not chosen.fits(budget, batch):
        batch -= 1
    return batch
