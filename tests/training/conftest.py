"""The small training, for every test of this room."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from unetkit.records.run import Run


def _beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"training_{name}", Path(__file__).parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_SMALL = _beside("small_run")
# The first optimiser of a process makes torch import its compiler: seconds, not inside a timed test.
torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=1.0).zero_grad()


@pytest.fixture(scope="session")
def small() -> ModuleType:
    """``small_run.py``."""
    return _SMALL


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """An empty run folder."""
    return Run(tmp_path / "run")
