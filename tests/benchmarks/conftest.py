"""Scripts beside the package, imported as they import one another."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """A function that imports a script by its path below ``benchmarks/``."""

    def load(name: str) -> ModuleType:
        path = ROOT / name
        for folder in {ROOT, path.parent}:
            monkeypatch.syspath_prepend(str(folder))
        found = importlib.util.spec_from_file_location(name.replace("/", "_").removesuffix(".py"), path)
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        monkeypatch.setitem(sys.modules, found.name, module)  # dataclasses look their module up
        found.loader.exec_module(module)
        return module

    return load
