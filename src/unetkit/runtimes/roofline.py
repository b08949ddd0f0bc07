"""What a device really does at its best: a float32 matrix product, and a copy."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from unetkit.runtimes.cgroups import engine_threads

_EDGE, _COPIED = 2048, 2**28
_EDGE_ACCELERATOR, _COPIED_ACCELERATOR = 8192, 2**30


class Roofline:
    """Two pieces of work that nothing a network does can be faster than, in float32.

    A matrix product reads a number often for every time it is fetched, so that only arithmetic counts; a
    copy computes nothing, so that only memory counts.

    Args:
        device: ``cpu``: numpy and the library of matrix products it was built with, in as many threads as an
            engine gets; anything else: torch, which is then there.
        edge: Rows and columns of the matrices; 0: as fits the device.
        copied: Bytes of the copy; 0: as fits the device, more than its caches hold.

    Reference:
        Williams, Waterman and Patterson, Roofline, https://doi.org/10.1145/1498765.1498785.

    Example:
        >>> small = Roofline(edge=8, copied=64)
        >>> small.multiply()
        >>> small.operations, small.moved_bytes
        (1024, 128)
    """

    def __init__(self, device: str = "cpu", *, edge: int = 0, copied: int = 0) -> None:
        here = device == "cpu"
        edge = edge or (_EDGE if here else _EDGE_ACCELERATOR)
        copied = copied or (_COPIED if here else _COPIED_ACCELERATOR)
        self.device = device
        self.threads = engine_threads() if here else None
        self.operations = 2 * edge**3
        """Floating point operations of ``multiply``."""
        self.moved_bytes = 2 * copied
        """Bytes that ``copy`` reads and writes."""
        make = self._on_processor if here else self._on_accelerator
        self._multiply, self._copy = make(edge, copied // 4)

    def multiply(self) -> None:
        """One product of two matrices."""
        self._multiply()

    def copy(self) -> None:
        """One copy."""
        self._copy()

    def _on_processor(self, edge: int, numbers: int) -> tuple[Callable[[], object], Callable[[], object]]:
        random = np.random.default_rng(0)
        left, right = random.standard_normal((2, edge, edge), dtype=np.float32)
        product = np.ones((edge, edge), np.float32)
        source, target = np.ones((2, numbers), np.float32)  # every page is there before the clock runs
        threads = self.threads or 1
        pool = ThreadPoolExecutor(threads, thread_name_prefix="copy")
        step = math.ceil(numbers / threads)
        parts = [slice(first, first + step) for first in range(0, numbers, step)]

        def copy() -> None:
            for _ in pool.map(lambda part: np.copyto(target[part], source[part]), parts):
                pass

        return partial(np.matmul, left, right, out=product), copy

    def _on_accelerator(self, edge: int, numbers: int) -> tuple[Callable[[], object], Callable[[], object]]:
        import torch

        left, right = torch.randn((2, edge, edge), device=self.device)
        product = torch.empty_like(left)
        source, target = torch.ones((2, numbers), device=self.device)

        def waited(work: Callable[[], object]) -> None:
            work()
            torch.accelerator.synchronize(torch.device(self.device))

        return (
            partial(waited, partial(torch.matmul, left, right, out=product)),
            partial(waited, partial(target.copy_, source)),
        )
