"""How fast this machine trains a U-Net: timed, never assumed."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import cache

import torch
from torch import nn

from unetkit.networks.unet import build
from unetkit.planning.cost import LANES, TRAINING_OPERATIONS, Cost, multiply_adds
from unetkit.planning.topology import feature_elements
from unetkit.records.plan import NetworkPlan
from unetkit.runtimes.devices import Layout, fastest_layout, keep_memory, pick_device, use_threads

_SECONDS = 0.25
_LEAST_TIMES = 4  # other work on the machine disturbs single steps
_EDGE = {2: 128, 3: 24}
_TINY_EDGE = 8
_BATCH = 2
_LEAN, _WIDE = (8, 16, 32), (32, 64, 128)


@cache
def measure_rate(device: str = "cpu", *, rank: int = 3) -> Cost:
    """Time real training steps of small U-Nets for about a second; asked again, the answer is kept.

    A lean network spends its time on norms and copies, a wide one on arithmetic, a tiny patch on neither:
    three times, three unknowns.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, …
        rank: Spatial axes.
    """
    keep_memory()
    use_threads()
    place = pick_device(device)
    edge = _EDGE[rank] * (1 if place.type == "cpu" else 4)
    layout = None
    rows = []
    for widths, size in ((_LEAN, _TINY_EDGE), (_LEAN, edge), (_WIDE, edge)):
        plan, patch = _trial(widths, rank), (size,) * rank
        with torch.random.fork_rng(devices=[]):
            network = build(plan, rank=rank, in_channels=1, classes=2)
        if layout is None:
            layout = fastest_layout(network, (_BATCH, 1, *(edge,) * rank), place, training=True)
        seconds = _step_seconds(network, (_BATCH, 1, *patch), layout, place)
        work = multiply_adds(plan, rank=rank, in_channels=1, classes=2, patch=patch, lanes=LANES)
        values = feature_elements(plan, patch, 2)
        rows.append((seconds, float(_BATCH * TRAINING_OPERATIONS * work), float(_BATCH * values)))
    if place.type == "cuda":
        torch.cuda.empty_cache()
    return solve(rows, str(place))


def solve(rows: Sequence[tuple[float, float, float]], device: str) -> Cost:
    """The speeds behind three timed steps.

    Args:
        rows: Seconds, operations, feature values: of a tiny, a lean and a wide step.
        device: Named in the result.

    Example:
        >>> cost = solve([(0.0, 0.0, 0.0), (0.3, 1e9, 2e8), (0.7, 4e9, 3e8)], "cpu")
        >>> round(cost.gflops), round(cost.gelements, 1)
        (10, 1.0)
    """
    # a larger step cannot take less than a tiny one: where it seems to, the tiny one was disturbed
    fixed = min(rows[0][0], *(t / 2 for t, *_ in rows[1:]))
    (t1, a1, b1), (t2, a2, b2) = [(max(t - fixed, 1e-9), a, b) for t, a, b in rows[1:]]
    determinant = a1 * b2 - a2 * b1
    per_operation = (t1 * b2 - t2 * b1) / determinant if determinant else 0.0
    per_element = (a1 * t2 - a2 * t1) / determinant if determinant else 0.0
    if per_operation <= 0 or per_element <= 0:  # noise: blame everything on the arithmetic of the wide one
        per_operation, per_element = t2 / a2, 0.0
    rate = 1e-9 / per_element if per_element else math.inf
    return Cost(1e-9 / per_operation, rate, fixed, device)


def _trial(widths: tuple[int, ...], rank: int) -> NetworkPlan:
    stages = len(widths)
    return NetworkPlan(
        widths=widths,
        blocks=(2,) * stages,
        decoder_blocks=(2,) * (stages - 1),
        kernels=((3,) * rank,) * stages,
        strides=((1,) * rank, *((2,) * rank,) * (stages - 1)),
    )


def _step_seconds(network: nn.Module, shape: tuple[int, ...], layout: Layout, device: torch.device) -> float:
    """Seconds of the fastest training step within a fraction of a second, after one to warm up."""
    layout.place(network, device).train()
    pixels = layout.arrange(torch.zeros(shape, device=device))

    def step() -> float:
        start = time.perf_counter()
        with layout.autocast(device):
            output = network(pixels)
        (output[0] if isinstance(output, list | tuple) else output).float().square().mean().backward()
        network.zero_grad(set_to_none=True)
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        return time.perf_counter() - start

    step()
    best, spent, times = math.inf, 0.0, 0
    while spent < _SECONDS or (times < _LEAST_TIMES and spent < 4 * _SECONDS):
        once = step()
        best, spent, times = min(best, once), spent + once, times + 1
    return best
