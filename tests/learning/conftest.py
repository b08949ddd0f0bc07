"""A past to look back on, and an end to come."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
import torch

from unetkit.data.patches import Batch

torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=1.0).zero_grad()


class OldBatches:
    """Earlier examples, made from the step's number."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def at(self, step: int) -> Batch:
        self.asked.append(step)
        pixels = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(7000 + step)) - 1
        return Batch(pixels, (pixels[:, 0] < -1).long(), None, (f"old-{step}-a", f"old-{step}-b"))


@pytest.fixture
def old_batches() -> OldBatches:
    """A memory."""
    return OldBatches()


@pytest.fixture
def stop_at() -> Callable[[int], Callable[[int], None]]:
    """Asks the training to stop before it makes a step's batch."""
    return lambda last: lambda step: signal.raise_signal(signal.SIGTERM) if step == last else None
