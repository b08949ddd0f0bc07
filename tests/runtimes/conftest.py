"""Fakes of the libraries of a GPU, for the tests of this room."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def fake_gpu() -> ModuleType:
    """``fake_gpu.py``."""
    spec = importlib.util.spec_from_file_location("fake_gpu", Path(__file__).parent / "fake_gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
