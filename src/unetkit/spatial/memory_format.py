"""In which order a tensor's numbers lie in memory, for any number of axes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unetkit.spatial.tracing import exported


def channels_last(rank: int) -> torch.memory_format:
    """The memory format in which the channels of one pixel lie side by side.

    Args:
        rank: Spatial axes; torch knows the format for 2 and 3, for others the ordinary one is returned.

    Example:
        >>> channels_last(2)
        torch.channels_last
    """
    return {2: torch.channels_last, 3: torch.channels_last_3d}.get(rank, torch.contiguous_format)


def arranged(tensor: Tensor, name: str) -> Tensor:
    """The tensor in a memory format; the same object when it already lies so.

    Args:
        tensor: ``(B, C, *S)``.
        name: ``contiguous`` or ``channels_last``.

    Example:
        >>> arranged(torch.zeros(1, 2, 3, 4), "channels_last").stride()
        (24, 1, 8, 2)
    """
    wanted = channels_last(tensor.dim() - 2) if name == "channels_last" else torch.contiguous_format
    return tensor.contiguous(memory_format=wanted)


def arrange_weights(network: nn.Module, name: str) -> None:
    """Bring every convolution weight of a network into a memory format, in place.

    Only the strides change, never a value; ``nn.Module.to`` would need to be told the rank. A kernel for one
    channel reads the same both ways, and its strides say all the same which way is meant.

    Args:
        network: Any module.
        name: ``contiguous`` or ``channels_last``.
    """
    for weight in network.parameters():
        if weight.dim() in (4, 5):
            wanted = channels_last(weight.dim() - 2) if name == "channels_last" else torch.contiguous_format
            weight.data = weight.data.to(memory_format=wanted)


def meant_format(weight: Tensor) -> torch.memory_format:
    """The memory format that ``arrange_weights`` gave a kernel, also where it reads the same both ways.

    Args:
        weight: ``(K, C, *kernel)`` of more than one tap.

    Example:
        >>> layer = nn.Conv2d(1, 4, 3)
        >>> arrange_weights(layer, "channels_last")
        >>> meant_format(layer.weight)
        torch.channels_last
    """
    return channels_last(weight.dim() - 2) if weight.stride(1) == 1 else torch.contiguous_format


def memory_format(x: Tensor) -> torch.memory_format:
    """The memory format of ``x``; contiguous where both readings hold or neither does.

    Args:
        x: ``(B, C, *S)``.

    Example:
        >>> memory_format(torch.zeros(2, 3, 4, 4))
        torch.contiguous_format
    """
    if exported():
        return torch.contiguous_format
    wanted = channels_last(x.ndim - 2)
    is_last = not x.is_contiguous() and x.is_contiguous(memory_format=wanted)
    return wanted if is_last else torch.contiguous_format
