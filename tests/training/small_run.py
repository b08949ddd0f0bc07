"""A training small enough to be run hundreds of times: a network of four layers on pictures of 8 × 8."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from unetkit.data.patches import Batch
from unetkit.records.plan import EXAMPLE, ObjectivePlan, Plan, TrainingPlan
from unetkit.records.run import Run
from unetkit.runtimes.devices import Layout
from unetkit.training.loop import Task, fit
from unetkit.training.objective import build_objective


def training_plan(**values: object) -> TrainingPlan:
    """A plan for 12 steps, a resume point every 3, no validation but where asked."""
    defaults = {"steps": 12, "checkpoint_steps": 3, "learning_rate": 0.01, "seed": 3}
    return Plan.model_validate(EXAMPLE).training.model_copy(update={**defaults, **values})


def small_network() -> nn.Module:
    """Convolution, batch norm, dropout, convolution: everything that has a state or rolls dice."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout2d(0.2), nn.Conv2d(6, 2, 1)
    )


class SmallBatches:
    """Batches made from the step's number.

    Args:
        before: Called with the step before each batch is handed out.
        change: Makes another batch of a step's batch.
    """

    def __init__(
        self,
        before: Callable[[int], object] = lambda step: None,
        change: Callable[[int, Tensor], Tensor] = lambda step, pixels: pixels,
    ) -> None:
        self.before = before
        self.change = change
        self.closed = False
        self.handed: list[int] = []

    def stream(self, start: int, stop: int | None) -> Iterator[Batch]:
        step = start
        try:
            while stop is None or step < stop:
                self.before(step)
                generator = torch.Generator().manual_seed(1000 + step)
                pixels = torch.randn(2, 1, 8, 8, generator=generator)
                target = (pixels[:, 0] > 0.3).long()
                self.handed.append(step)
                yield Batch(self.change(step, pixels), target, None, (f"case-{step}-a", f"case-{step}-b"))
                step += 1
        finally:
            self.closed = True


def small_task(training: TrainingPlan | None = None, **parts: object) -> Task:
    """A task out of the parts above."""
    layout = parts.pop("layout", None) or Layout()
    return Task(
        network=parts.pop("network", None) or small_network(),
        objective=parts.pop("objective", None) or build_objective(ObjectivePlan(), layout),
        batches=parts.pop("batches", None) or SmallBatches(),
        training=training or training_plan(),
        layout=layout,
        device=torch.device("cpu"),
        **parts,
    )


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """A copy of everything in the network's state."""
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    """Names whose tensors differ in a single bit."""
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])]


def slow_run(folder: Path, *, steps: int, seconds_per_step: float) -> None:
    """What the kill test runs in a child process: validated, averaged, resumed from wherever it was."""
    torch.set_num_threads(1)
    training = training_plan(steps=steps, checkpoint_steps=2)
    batches = SmallBatches(before=lambda step: time.sleep(seconds_per_step))
    task = small_task(training, batches=batches, validate=lambda network: {"dice": 0.5})
    fit(task, Run(folder), resume=True)
