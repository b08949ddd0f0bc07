"""Who is watching a forward pass: a compiler or an exporter wants other code than a processor does."""

from __future__ import annotations

import torch


def traced() -> bool:
    """Whether a compiler or an exporter is watching, who wants plain operations.

    Example:
        >>> traced()
        False
    """
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]


def exported() -> bool:
    """Whether the network is being written as a graph, which has to hold for images of any size.

    A question about a size, such as whether there is anything to crop, would be answered for good with that
    of the exporter's example; whoever asks one does the general thing here.

    Example:
        >>> exported()
        False
    """
    return torch.compiler.is_exporting()
