"""Which tensor of a file belongs where in a network, and how it is made to fit."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from unetkit.spatial.inflation import inflated_kernel
from unetkit.spatial.layers import Upsampling

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "unet.", "encoder.", "backbone.")
"""What wrappers put before a name: DataParallel, torch.compile, Lightning, smp, and our own."""

COUNTER = "num_batches_tracked"

Fit = tuple[Tensor, bool, bool]
"""A tensor that fits, whether it was folded, whether it was inflated."""


def bare_name(name: str) -> str:
    """A tensor's name without what wrappers put before it.

    Args:
        name: As in a state_dict.

    Example:
        >>> bare_name("module.encoder.model.stages_0.blocks.1.weight")
        'stages.0.blocks.1.weight'
    """
    while prefix := next((prefix for prefix in PREFIXES if name.startswith(prefix)), ""):
        name = name.removeprefix(prefix)
    return re.sub(r"_(\d+)(?=\.)", r".\1", name)


def by_name(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, str]:
    """Pairs of the same name, else of the same bare name.

    Args:
        wanted: The network's names.
        given: The file's.

    Returns:
        The network's name to the file's.
    """
    bare = {bare_name(name): name for name in reversed(list(given))}
    found = {name: name if name in given else bare.get(bare_name(name), "") for name in wanted}
    return {name: origin for name, origin in found.items() if origin}


def by_order(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, str]:
    """Pairs of layers of the same shapes in the same order, as many as can be had.

    A layer's tensors go together. The size of kernels counts along the last two axes alone, and the width of
    the image not at all: ``fitted`` sees to those.

    Args:
        wanted: The network's tensors, in order.
        given: The file's, in order.

    Returns:
        The network's name to the file's.
    """
    mine, theirs = _layers(wanted), _layers(given)
    my_keys = [key for key, _ in mine]
    their_keys = [key for key, _ in theirs]
    # longest[i][j]: how many layers can be paired from mine[i] and theirs[j] on
    longest = [[0] * (len(theirs) + 1) for _ in range(len(mine) + 1)]
    for i in reversed(range(len(mine))):
        for j in reversed(range(len(theirs))):
            same = my_keys[i] == their_keys[j]
            longest[i][j] = longest[i + 1][j + 1] + 1 if same else max(longest[i + 1][j], longest[i][j + 1])
    pairs: dict[str, str] = {}
    i = j = 0
    while i < len(mine) and j < len(theirs):
        if my_keys[i] == their_keys[j]:
            pairs |= dict(zip(mine[i][1], theirs[j][1], strict=True))
            i, j = i + 1, j + 1
        elif longest[i + 1][j] >= longest[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs


def _layers(state: Mapping[str, Tensor]) -> list[tuple[tuple, list[str]]]:
    """The layers in order: what has to agree, and the names of their tensors."""
    members: dict[str, list[str]] = {}
    for name in state:
        if not name.endswith(COUNTER):
            members.setdefault(name.rpartition(".")[0], []).append(name)
    layers, is_first = [], True
    for names in members.values():
        key = []
        for name in sorted(names):
            shape = tuple(state[name].shape)
            is_kernel = len(shape) > 3
            width = () if is_kernel and is_first else shape[1:2]
            is_first = is_first and not is_kernel
            pixels = tuple(length for length in shape[2:][-2:] if length > 1)
            key.append((name.rpartition(".")[2], shape[:1], width, pixels))
        layers.append((tuple(key), sorted(names)))
    return layers


def fitted(
    given: Tensor, wanted: Tensor, *, is_first: bool = False, is_transposed: bool = False
) -> Fit | None:
    """A tensor in the shape of another, None where there is no honest way.

    * Other channels of the image (``is_first``): ``folded``.
    * A further axis: ``inflated_kernel``; likewise a kernel that was flat along it.
    * A matrix and a kernel of one pixel are the same thing.

    Args:
        given: The file's tensor.
        wanted: The network's, for its shape and type.
        is_first: Whether this is the kernel that meets the image.
        is_transposed: Whether it belongs to a transposed convolution.
    """
    if not given.is_floating_point():
        return None
    value, is_folded, is_inflated = given.to(wanted.dtype), False, False
    if (
        min(value.ndim, wanted.ndim) > 1
        and value.numel() == wanted.numel()
        and _squeezed(value) == _squeezed(wanted)
    ):
        value = value.reshape(wanted.shape)
    if is_first and value.ndim > 3 and value.shape[1] != wanted.shape[1]:
        value, is_folded = folded(value, wanted.shape[1]), True
    if value.ndim > 3 and wanted.ndim > 4:
        if value.ndim == 5 and value.shape[2] == 1 != wanted.shape[2]:
            value = value.squeeze(2)
        if value.ndim == 4:
            value, is_inflated = inflated_kernel(value, wanted.shape[2], repeated=is_transposed), True
    return (value, is_folded, is_inflated) if value.shape == wanted.shape else None


def _squeezed(value: Tensor) -> tuple[int, ...]:
    """The shape of a matrix or a kernel without its last axes of length 1."""
    shape = list(value.shape)
    while len(shape) > 2 and shape[-1] == 1:
        shape.pop()
    return tuple(shape)


def folded(kernel: Tensor, channels: int) -> Tensor:
    """The first kernel for an image of other channels, timm's rule.

    One channel: the kernels are added up, so that a grey image gives what its copies in all channels gave.
    More: they are dealt out in turn, scaled so that the sum stays: ``w[i % C] · C / channels``.

    Args:
        kernel: ``(O, C, *K)``.
        channels: Channels of the image.

    Example:
        >>> folded(torch.tensor([[[[1.0]], [[2.0]], [[3.0]]]]), 1).item()
        6.0
    """
    before = kernel.shape[1]
    if channels == 1:
        return kernel.sum(1, keepdim=True)
    return kernel[:, torch.arange(channels) % before] * (before / channels)


def first_kernel(encoder: nn.Module) -> str:
    """Name of the kernel that meets the image: the first of more than a pixel's worth of axes.

    Args:
        encoder: Whose layers are registered in the order in which they are used.
    """
    return next((name for name, value in encoder.named_parameters() if value.ndim > 3), "")


def transposed_kernels(network: nn.Module) -> set[str]:
    """Names of the kernels of transposed convolutions.

    Args:
        network: Any network.
    """
    return {f"{name}.weight" for name, module in network.named_modules() if isinstance(module, Upsampling)}
