"""Runtimes: whatever turns a batch of tiles into logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

RUNTIMES = {"pytorch": "unetkit.runtimes.pytorch:PytorchRuntime"}


class Runtime(Protocol):
    """A row of ``RUNTIMES``."""

    @property
    def notes(self) -> Sequence[str]:
        """What was done differently from what was asked, in the order in which it happened."""
        ...

    def run(self, batch: np.ndarray) -> np.ndarray:
        """``(B, C, *S)`` float32 → logits ``(B, K, *S)`` float32, for any size ``*S``."""
        ...
