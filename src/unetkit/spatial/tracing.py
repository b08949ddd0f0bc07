"""Who is watching a forward pass: a compiler or an exporter wants other code than a processor does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_PLAIN: ContextVar[bool] = ContextVar("plain", default=False)


@contextmanager
def plainly() -> Iterator[None]:
    """Within, ``traced`` is true: whoever looks at single operations wants the plain ones too.

    Example:
        >>> with plainly():
        ...     traced()
        True
    """
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def traced() -> bool:
    """Whether a compiler or an exporter is watching, who wants plain operations.

    Example:
        >>> traced()
        False
    """
    compiled = torch.compiler.is_compiling() or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
    return compiled or _PLAIN.get()


def exported() -> bool:
    """Whether the network is being written as a graph, which has to hold for images of any size.

    A question about a size, such as whether there is anything to crop, would be answered for good with that
    of the exporter's example; whoever asks one does the general thing here.

    Example:
        >>> exported()
        False
    """
    return torch.compiler.is_exporting()


def beyond(x: Tensor, stride: Sequence[int]) -> list[int]:
    """What ``F.pad`` takes to make every axis a multiple of the stride, at its end; right for any size.

    Args:
        x: ``(B, C, *S)``.
        stride: Pixels per axis.

    Example:
        >>> beyond(torch.zeros(1, 1, 5, 6), (2, 4))
        [0, 2, 0, 1]
    """
    short = [-length % step for length, step in zip(x.shape[2:], stride, strict=True)]
    return [number for missing in reversed(short) for number in (0, missing)]
