"""What a training step costs: multiply-adds, weights and bytes counted from the plan, without building it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unetkit.records.plan import NetworkPlan

LANES = 16
TRAINING_OPERATIONS = 6  # per multiply-add: two forward, two for the input's gradient, two for the weights'
_SAVED_PER_OUTPUT = 3  # convolution, norm and activation each keep one tensor for the way back
BYTES_PER_WEIGHT = 20  # weight, gradient, two moments of AdamW, the averaged weight
FIXED_BYTES = 1e8


@dataclass(frozen=True)
class Cost:
    """How fast this device trains a U-Net.

    Args:
        gflops: Floating point operations per second inside convolutions, forward and backward, 1e9.
        gelements: Feature values per second outside of them (norms, activations, copies), 1e9.
        step_seconds: Seconds of a step that do not depend on its size.
        device: Which device it was measured on.

    Example:
        >>> Cost(gflops=60.0).seconds(multiply_adds=10**10, elements=0, batch=2)
        2.0
    """

    gflops: float
    gelements: float = math.inf
    step_seconds: float = 0.0
    device: str = "cpu"

    def seconds(self, *, multiply_adds: float, elements: float, batch: int) -> float:
        """Seconds of one training step.

        Args:
            multiply_adds: Of one patch, forward, counted with ``LANES``.
            elements: Feature values of one patch (``topology.feature_elements``).
            batch: Patches per step.
        """
        arithmetic = TRAINING_OPERATIONS * multiply_adds / (self.gflops * 1e9)
        return self.step_seconds + batch * (arithmetic + elements / (self.gelements * 1e9))


@dataclass(frozen=True)
class _Convolution:
    taps: int
    inputs: int
    outputs: int
    pixels: int


def _convolutions(
    network: NetworkPlan, in_channels: int, classes: int, patch: Sequence[int]
) -> Iterator[_Convolution]:
    """Every convolution of a U-Net with concatenation, with the pixels its taps are applied to."""
    here, sizes, last = list(patch), [], in_channels
    residual = network.encoder == "residual"
    for stage, (width, blocks) in enumerate(zip(network.widths, network.blocks, strict=True)):
        here = [math.ceil(n / s) for n, s in zip(here, network.strides[stage], strict=True)]
        pixels, taps = math.prod(here), math.prod(network.kernels[stage])
        sizes.append(pixels)
        if residual and stage == 0:
            yield _Convolution(taps, last, width, pixels)
            last = width
        for _ in range(blocks):
            yield _Convolution(taps, last, width, pixels)
            if residual:
                yield _Convolution(taps, width, width, pixels)
                if last != width:
                    yield _Convolution(1, last, width, pixels)
            last = width
    for stage, blocks in enumerate(network.decoder_blocks):
        width, below = network.widths[stage], network.widths[stage + 1]
        taps = math.prod(network.kernels[stage])
        # a transposed convolution whose kernel is its stride applies one tap per output pixel
        yield _Convolution(1, below, width, sizes[stage])
        for block in range(blocks):
            yield _Convolution(taps, width * (1 + (block == 0)), width, sizes[stage])
    for stage in range(network.deep_supervision):
        yield _Convolution(1, network.widths[stage], classes, sizes[stage])


def multiply_adds(
    network: NetworkPlan,
    *,
    rank: int,
    in_channels: int,
    classes: int,
    patch: Sequence[int],
    lanes: int = 1,
) -> int:
    """Multiply-adds of one forward pass over one patch, convolutions only.

    Vector units work on ``LANES`` channels at once: 24 channels take as long as 32 (measured). Counted with
    ``lanes=LANES`` the result is proportional to time; with 1 it is exact.

    Args:
        network: The network.
        rank: Spatial axes.
        in_channels: Input channels.
        classes: Outputs of a head.
        patch: Pixels per axis; ``rank`` numbers.
        lanes: Round channels up to a multiple of this (not those of the image).
    """
    if len(patch) != rank:
        raise ValueError(f"a patch of {rank} axes was expected, got {tuple(patch)}")
    rows = _convolutions(network, in_channels, classes, patch)
    total = 0
    for position, row in enumerate(rows):
        inputs = row.inputs if position == 0 else -(-row.inputs // lanes) * lanes
        total += row.taps * row.pixels * inputs * (-(-row.outputs // lanes) * lanes)
    return total


def parameters(network: NetworkPlan, *, in_channels: int, classes: int) -> int:
    """Weights of the network, closely: convolutions, and three numbers per output (bias, norm).

    Args:
        network: The network.
        in_channels: Input channels.
        classes: Outputs of a head.
    """
    rank = len(network.kernels[0])
    rows = list(_convolutions(network, in_channels, classes, (1,) * rank))
    upward = [
        (math.prod(network.strides[stage + 1]) - 1) * network.widths[stage] * network.widths[stage + 1]
        for stage in range(len(network.decoder_blocks))
    ]
    return sum((row.taps * row.inputs + 3) * row.outputs for row in rows) + sum(upward)


def step_bytes_guess(elements: float, weights: float, batch: int, *, bytes_per_value: int = 4) -> float:
    """Memory of a training step by a rule of thumb; ``memory`` counts and tries for real.

    Args:
        elements: Feature values of one patch (``topology.feature_elements``).
        weights: Parameters.
        batch: Patches per step.
        bytes_per_value: Size of a feature value.

    Reference:
        BiaPy's fitted model: 4 · 1.1 · activations · batch + 16 · parameters + 0.1 GiB.
    """
    activations = bytes_per_value * _SAVED_PER_OUTPUT * elements * batch
    return 1.1 * activations + BYTES_PER_WEIGHT * weights + FIXED_BYTES


def step_bytes_counted(saved: float, weights: float, batch: int) -> float:
    """Memory of a training step of which the saved bytes are known.

    Args:
        saved: Bytes that autograd keeps of one patch.
        weights: Parameters.
        batch: Patches per step.

    Example:
        >>> step_bytes_counted(1e6, 1e6, 2) == 1.1 * 2e6 + 20e6 + 1e8
        True
    """
    return 1.1 * saved * batch + BYTES_PER_WEIGHT * weights + FIXED_BYTES
