"""nnU-Net's geometry as pure functions: target spacing, patch, pooling, kernels, size, batch.

Everything here is arithmetic on shapes and spacings; what it decides for thirteen data sets is known and
tested to the last number. ``budget`` starts from it and lets time and memory have a say.

Reference:
    Isensee et al., nnU-Net, Nature Methods 18 (2021); Isensee et al., nnU-Net Revisited, arXiv:2404.09556.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from unetkit.records.plan import Axes, NetworkPlan

FIRST_WIDTH = 32
SMALLEST_EDGE = 4
_START_EDGE = {2: 2048, 3: 256}
_WIDEST = {2: 512, 3: 320}
_REFERENCE_BATCH = {2: 12, 3: 2}
_ANISOTROPIC = 3.0


@dataclass(frozen=True)
class Preset:
    """A network family and the size it was fitted to.

    Args:
        encoder: A name of ``networks.encoders.ENCODERS``.
        blocks: Encoder blocks per stage; the last entry repeats.
        decoder_blocks: Decoder convolutions per stage.
        reference: Axes to the sum of channels × pixels that fits into ``gb``.
        gb: Memory the references belong to, GB.
        share: Largest share of all pixels of the data set in one batch.
        per_sample: Whether the size test is made at batch 2 (ResEnc: at the reference batch as it is).
    """

    encoder: str
    blocks: Axes
    decoder_blocks: int
    reference: dict[int, float]
    gb: float
    share: float
    per_sample: bool


PRESETS = {
    "plain": Preset("plain", (2,), 2, {3: 5.6e8, 2: 0.85e8}, 8.0, 0.05, True),
    "resenc-m": Preset("residual", (1, 3, 4, 6), 1, {3: 6.8e8, 2: 1.35e8}, 8.0, 1.0, False),
    "resenc-l": Preset("residual", (1, 3, 4, 6), 1, {3: 2.1e9, 2: 3.8e8}, 24.0, 1.0, False),
    "resenc-xl": Preset("residual", (1, 3, 4, 6), 1, {3: 3.6e9, 2: 5.6e8}, 40.0, 1.0, False),
}


@dataclass(frozen=True)
class Topology:
    """How often which axis is halved, and what that makes of a patch.

    Args:
        patch: Patch, padded up so that every halving comes out even.
        strides: Step into each stage, per axis, fine to coarse.
        kernels: Kernel of each stage, per axis.
    """

    patch: Axes
    strides: tuple[Axes, ...]
    kernels: tuple[Axes, ...]

    @property
    def divisors(self) -> Axes:
        """Product of the strides per axis: the patch is a multiple of it."""
        return divisors(self.strides)

    @property
    def pools(self) -> Axes:
        """Halvings per axis."""
        return tuple(divisor.bit_length() - 1 for divisor in self.divisors)

    @property
    def stages(self) -> int:
        """Resolutions, the finest included."""
        return len(self.strides)


@dataclass(frozen=True)
class Configuration:
    """What nnU-Net would train.

    Args:
        topology: Patch, strides and kernels.
        network: The network.
        batch: Patches per step.
        coverage: Patch over median image, in pixels.
    """

    topology: Topology
    network: NetworkPlan
    batch: int
    coverage: float


def target_spacing(spacings: Sequence[Sequence[float]], shapes: Sequence[Sequence[int]]) -> tuple[float, ...]:
    """The spacing every case is brought to: the median, finer on a far coarser axis.

    Args:
        spacings: Per case, per axis, mm.
        shapes: Per case, per axis, pixels.

    Example:
        >>> target_spacing([(5.0, 1.0, 1.0), (9.0, 1.0, 1.0), (9.0, 1.0, 1.0)], [(20, 300, 300)] * 3)
        (5.8, 1.0, 1.0)
    """
    target = np.median(np.asarray(spacings, float), axis=0)
    size = np.median(np.asarray(shapes, float), axis=0)
    worst = int(np.argmax(target))
    others = [axis for axis in range(len(target)) if axis != worst]
    finest_other, smallest_other = float(max(target[others])), float(min(size[others]))
    if target[worst] > _ANISOTROPIC * finest_other and size[worst] * _ANISOTROPIC < smallest_other:
        tenth = float(np.percentile([spacing[worst] for spacing in spacings], 10))
        target[worst] = tenth if tenth >= finest_other else finest_other + 1e-5
    return tuple(float(value) for value in target)


def coarse_axis(spacing: Sequence[float]) -> int | None:
    """The one axis whose spacing is over 3 times the finest; None when there is none or a tie.

    Example:
        >>> coarse_axis((5.0, 1.0, 1.0)), coarse_axis((1.0, 1.0, 1.0)), coarse_axis((5.0, 5.0, 1.0))
        (0, None, None)
    """
    coarsest = max(spacing)
    if coarsest <= _ANISOTROPIC * min(spacing) or sum(math.isclose(s, coarsest) for s in spacing) > 1:
        return None
    return list(spacing).index(coarsest)


def divisors(strides: Sequence[Axes]) -> Axes:
    """What an image has to be a multiple of, per axis, to be halved evenly all the way down.

    Args:
        strides: Step into each stage, per axis.

    Example:
        >>> divisors([(1, 1), (1, 2), (2, 2)])
        (2, 4)
    """
    return tuple(math.prod(steps) for steps in zip(*strides, strict=True))


def first_patch(spacing: Sequence[float], median: Sequence[float], edge: int = 0) -> tuple[float, ...]:
    """A patch that covers the same distance on every axis, never larger than the median image.

    Args:
        spacing: mm per axis.
        median: Median image, pixels per axis.
        edge: Edge of the cube (square) whose volume it has before clipping; 0 for nnU-Net's.
    """
    rank = len(spacing)
    aspect = [1.0 / value for value in spacing]
    factor = ((edge or _START_EDGE[rank]) ** rank / math.prod(aspect)) ** (1 / rank)
    return tuple(min(round(a * factor), m) for a, m in zip(aspect, median, strict=True))


def topology(
    spacing: Sequence[float],
    patch: Sequence[float],
    *,
    smallest_edge: int = SMALLEST_EDGE,
    most_stages: int = 99,
) -> Topology:
    """Halve the axes that are long and fine enough until none is left.

    Args:
        spacing: mm per axis.
        patch: Pixels per axis; across an axis of 1 there is nothing to convolve, its kernels are 1.
        smallest_edge: No axis is halved below this.
        most_stages: Stop at so many resolutions.
    """
    space, size, axes = [float(s) for s in spacing], [float(p) for p in patch], range(len(patch))
    kernel = [1] * len(size)
    strides, kernels = [(1,) * len(size)], []
    while len(strides) < most_stages:
        able = [axis for axis in axes if size[axis] >= 2 * smallest_edge]
        able = [axis for axis in able if space[axis] < 2 * min(space[other] for other in able)]
        if not able or (len(able) == 1 and size[able[0]] < 3 * smallest_edge):
            break
        kernel = [3 if k == 3 or s < 2 * min(space) else 1 for k, s in zip(kernel, space, strict=True)]
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if axis in able else 1 for axis in axes))
        for axis in able:
            space[axis] *= 2
            size[axis] = math.ceil(size[axis] / 2)
    kernels.append((3,) * len(size))
    padded = tuple(math.ceil(p / d) * d for p, d in zip(patch, divisors(strides), strict=True))
    seen = (tuple(1 if p == 1 else k for p, k in zip(padded, kernel, strict=True)) for kernel in kernels)
    return Topology(padded, tuple(strides), tuple(seen))


def shrink(
    start: Topology,
    *,
    spacing: Sequence[float],
    median: Sequence[float],
    fits: Callable[[Topology], bool],
    remake: Callable[[Sequence[float], Sequence[float]], Topology] = topology,
) -> Topology:
    """Take one step at a time off the axis that covers most of the image, until ``fits`` agrees.

    The step is the divisor after a trial shrink; with the divisor before it 256 would go to 192 and skip 224.

    Args:
        start: The topology to begin with.
        spacing: mm per axis.
        median: Median image, pixels per axis.
        fits: Whether a topology is small enough.
        remake: Spacing and patch to topology.
    """
    here = start
    while not fits(here):
        share = [p / m for p, m in zip(here.patch, median, strict=True)]
        axis = max(range(len(share)), key=lambda a: (share[a], a))
        trial = list(here.patch)
        trial[axis] -= here.divisors[axis]
        if trial[axis] < 1:
            return here
        step = remake(spacing, trial).divisors[axis]
        smaller = [p - step * (a == axis) for a, p in enumerate(here.patch)]
        here = remake(spacing, smaller)
    return here


def network_for(shape: Topology, *, first_width: int = FIRST_WIDTH, preset: str = "plain") -> NetworkPlan:
    """The network of a topology: widths double per stage up to a cap that scales with the first.

    Args:
        shape: Strides and kernels.
        first_width: Channels at full resolution (nnU-Net: 32).
        preset: A name of ``PRESETS``.
    """
    rank, stages, family = len(shape.patch), shape.stages, PRESETS[preset]
    widest = min(_WIDEST[rank], _WIDEST[rank] * first_width // FIRST_WIDTH)
    return NetworkPlan(
        encoder=family.encoder,
        widths=tuple(min(widest, first_width * 2**stage) for stage in range(stages)),
        blocks=(family.blocks + family.blocks[-1:] * stages)[:stages],
        decoder_blocks=(family.decoder_blocks,) * (stages - 1),
        kernels=shape.kernels,
        strides=shape.strides,
        deep_supervision=max(1, stages - 1),
    )


def feature_elements(network: NetworkPlan, patch: Sequence[int], classes: int) -> int:
    """Sum of channels × pixels over all convolution outputs of one patch, nnU-Net's measure of memory.

    Args:
        network: The network.
        patch: Pixels per axis, a multiple of the strides.
        classes: Outputs of the head, background included.
    """
    sizes, total, last = [], 0, network.widths[0]
    here = list(patch)
    residual = network.encoder == "residual"
    for stage, (width, blocks) in enumerate(zip(network.widths, network.blocks, strict=True)):
        here = [n // s for n, s in zip(here, network.strides[stage], strict=True)]
        sizes.append(math.prod(here))
        changes = width != last or any(s > 1 for s in network.strides[stage])
        units = 2 * blocks + changes + (stage == 0) if residual else blocks
        total += units * width * sizes[-1]
        last = width
    for stage, blocks in enumerate(network.decoder_blocks):
        total += (blocks + 1) * network.widths[stage] * sizes[stage]
    return total + classes * sizes[0]


def configure(
    spacing: Sequence[float],
    median: Sequence[float],
    *,
    cases: int,
    classes: int,
    gb: float | None = None,
    preset: str = "plain",
    voxels: float | None = None,
) -> Configuration:
    """Everything nnU-Net would decide for images of one shape.

    Args:
        spacing: Target spacing, mm per axis.
        median: Median image at that spacing, pixels per axis.
        cases: Number of training images.
        classes: Classes, background included.
        gb: Memory target, GB; None for the preset's own.
        preset: A name of ``PRESETS``.
        voxels: Pixels of the whole data set where they are not ``cases`` × median (slices of volumes).

    Example:
        >>> plan = configure((1, 1, 1), (36, 50, 35), cases=260, classes=3)
        >>> plan.topology.patch, plan.batch, plan.topology.pools
        ((40, 56, 40), 9, (3, 3, 3))
    """
    rank, family = len(spacing), PRESETS[preset]
    # nnU-Net puts the coarsest axis of a volume first; it matters where two axes tie in the shrink loop
    worst = int(np.argmax(spacing)) if rank == 3 else 0
    order = [worst, *(axis for axis in range(rank) if axis != worst)]
    back = [order.index(axis) for axis in range(rank)]
    space, size = [spacing[axis] for axis in order], [median[axis] for axis in order]
    reference = family.reference[rank] * (gb or family.gb) / family.gb
    patches = _REFERENCE_BATCH[rank]

    def load(shape: Topology) -> int:
        return feature_elements(network_for(shape, preset=preset), shape.patch, classes)

    def fits(shape: Topology) -> bool:
        return load(shape) * (2 / patches if family.per_sample else 1) <= reference

    start = topology(space, first_patch(space, size))
    shape = shrink(start, spacing=space, median=size, fits=fits)
    pixels = math.prod(median) * cases if voxels is None else voxels
    most = round(pixels * family.share / math.prod(shape.patch))
    batch = max(2, min(round(reference / load(shape) * patches), most))
    found = Topology(
        tuple(shape.patch[axis] for axis in back),
        tuple(tuple(stage[axis] for axis in back) for stage in shape.strides),
        tuple(tuple(stage[axis] for axis in back) for stage in shape.kernels),
    )
    coverage = math.prod(shape.patch) / math.prod(median)
    return Configuration(found, network_for(found, preset=preset), batch, coverage)
