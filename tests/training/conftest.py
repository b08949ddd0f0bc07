"""An empty run, for every test of this room."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unetkit.records.run import Run

# The first optimiser of a process makes torch import its compiler: seconds, not inside a timed test.
torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=1.0).zero_grad()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """An empty run folder."""
    return Run(tmp_path / "run")
