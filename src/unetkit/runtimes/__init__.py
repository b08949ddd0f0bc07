"""Runtimes: whatever turns a batch of tiles into logits."""

from __future__ import annotations

from typing import Protocol

import numpy as np

RUNTIMES = {"pytorch": "unetkit.runtimes.pytorch:PytorchRuntime"}


class Runtime(Protocol):
    """A row of ``RUNTIMES``."""

    def run(self, batch: np.ndarray) -> np.ndarray:
        """``(B, C, *S)`` float32 → logits ``(B, K, *S)`` float32, for any size ``*S``."""
        ...
