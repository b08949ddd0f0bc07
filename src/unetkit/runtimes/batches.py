"""Batches on their way into an engine: the type it takes, and half as many tiles where memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from unetkit.errors import ResourceError, UsageError

_NO_MEMORY = (
    "allocate memory",
    "failed to allocate",
    "cannot get memory",
    "not enough memory",
    "out of memory",
    "bad allocation",
    "bad_alloc",
)
"""What allocators say in errors of no kind of their own: torch's, onnxruntime's, OpenVINO's, C++'s."""


def no_memory(wrong: BaseException) -> bool:
    """Whether an error says that memory ran out.

    Example:
        >>> no_memory(MemoryError()), no_memory(RuntimeError("std::bad_alloc")), no_memory(RuntimeError("?"))
        (True, True, False)
    """
    text = str(wrong).lower()
    return isinstance(wrong, MemoryError) or any(words in text for words in _NO_MEMORY)


def required(batch: np.ndarray, kind: type[np.generic], *, writeable: bool = False) -> np.ndarray:
    """A batch as an engine takes it: C-contiguous, of its type.

    Args:
        batch: ``(B, C, *S)``.
        kind: ``np.float32`` for normalised pixels, ``np.uint8`` for those of the files.
        writeable: Whether a read-only array has to be copied.

    Raises:
        UsageError: One was given where the other is taken; the answer would be wrong without a sign of it.

    Example:
        >>> required(np.zeros((1, 1, 2)), np.float32).dtype
        dtype('float32')
    """
    if (batch.dtype == np.uint8) != (kind == np.uint8):
        raise UsageError(
            f"this network takes {np.dtype(kind).name} pixels, the plan gives it {batch.dtype.name}",
            cure="set inference.network_input to what the network was exported with, or export it anew",
        )
    return np.require(batch, kind, ["C", "W"] if writeable else ["C"])


class Batches:
    """Asks an engine for batches; when memory does not suffice, for half as many tiles from then on.

    Args:
        where: What runs out, such as ``cpu``.
        caught: The errors that an engine may say it with.
        ran_out: Whether one says it.
        cure: What to do when a single tile does not fit.
        freed: Called after memory ran out, before the next try.

    Attributes:
        notes: What was done differently from what was asked, in the order in which it happened.

    Example:
        >>> def engine(batch):
        ...     if len(batch) > 1:
        ...         raise MemoryError
        ...     return batch
        >>> batches = Batches("cpu")
        >>> batches.run(np.zeros((3, 1, 2)), engine).shape, batches.notes
        ((3, 1, 2), ['cpu ran out of memory: batches of 1 from now on'])
    """

    def __init__(
        self,
        where: str,
        *,
        caught: Sequence[type[BaseException]] = (MemoryError, RuntimeError),
        ran_out: Callable[[BaseException], bool] = no_memory,
        cure: str = "set a smaller inference.tile_size",
        freed: Callable[[], None] = lambda: None,
    ) -> None:
        self._where, self._caught, self._ran_out = where, tuple(caught), ran_out
        self._cure, self._freed = cure, freed
        self._largest: int | None = None
        self.notes: list[str] = []

    def run(self, batch: np.ndarray, forward: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """The engine's answer.

        Args:
            batch: ``(B, C, *S)``.
            forward: Some of it → the answer for them, ``(b, …)``.

        Raises:
            ResourceError: One tile alone does not fit.
        """
        size = min(len(batch), self._largest or len(batch))
        while True:
            step = max(1, size)
            try:
                parts = [forward(batch[first : first + step]) for first in range(0, max(1, len(batch)), step)]
                return parts[0] if len(parts) == 1 else np.concatenate(parts)
            except self._caught as wrong:
                if not self._ran_out(wrong):
                    raise
                if size <= 1:
                    tile = "×".join(map(str, batch.shape[2:]))
                    raise ResourceError(
                        f"one tile of {tile} pixels does not fit into the memory of '{self._where}'",
                        cure=self._cure,
                    ) from None
            # Outside the handler: there, the traceback would keep the failed pass's tensors alive.
            size = self._largest = size // 2
            self._freed()
            self.notes.append(f"{self._where} ran out of memory: batches of {size} from now on")
