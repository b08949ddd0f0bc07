"""Weights from a file of whatever origin, as names and tensors; reading one runs nothing."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from unetkit.errors import DataError

NORM_EPS = 1e-5
"""What batch norms of torchvision and timm add to the variance, unless they are copies of TensorFlow's."""

_ANEW = "export the archive anew"
_CURE = "save the network's state_dict alone, best with safetensors.torch.save_file"


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state_dict: safetensors, a torch checkpoint (tensors only), or an 8-bit NumPy archive.

    A checkpoint that holds the weights among other things (``state_dict``, ``model``, an optimiser) is
    searched for the largest group of tensors. In a NumPy archive each layer is ``NAME.weight_int8`` with a
    ``NAME.scale`` per output channel and a ``NAME.bias``, its batch norm folded in: convolutions come back as
    a kernel and a batch norm ``NAME.norm`` that only adds the bias.

    Args:
        path: The file.

    Returns:
        Name to tensor, in the order of the file; safetensors keeps none, there it is by name and number.

    Raises:
        DataError: There is no such file, or it holds more than tensors, none at all, or values that are not
            finite.
    """
    if not path.is_file():
        raise DataError("there is no such file of weights", cure="name a file that exists", where=path)
    if path.suffix == ".safetensors":
        found = _safetensors(path)
    elif path.suffix == ".npz":
        found = _archive(path)
    else:
        found = _largest_group(_checkpoint(path))
    if not found:
        raise DataError("it holds no named tensors", cure=_CURE, where=path)
    for name, tensor in found.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise DataError(
                f"'{name}' holds values that are not finite",
                cure="use a file from a run that went well",
                where=path,
            )
    return found


def _safetensors(path: Path) -> dict[str, Tensor]:
    import safetensors
    import safetensors.torch

    try:
        found = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as wrong:
        raise DataError(f"not a safetensors file ({wrong})", cure=_CURE, where=path) from wrong
    return {name: found[name] for name in sorted(found, key=_natural)}


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts ``layer.2`` before ``layer.10``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _checkpoint(path: Path) -> object:
    """Whatever a torch checkpoint holds, if that is tensors and plain containers; nothing else is made."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a file that is refused anyway
            return torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        AttributeError,
    ) as wrong:
        reason = str(wrong).split("\n")[0]
        raise DataError(
            f"expected a file of tensors alone, from which nothing can run, got something else ({reason})",
            cure=_CURE,
            where=path,
        ) from wrong


def _largest_group(content: object) -> dict[str, Tensor]:
    """The mapping with the most named tensors, here or further in."""
    if not isinstance(content, Mapping):
        return {}
    groups = [_largest_group(inner) for inner in content.values() if isinstance(inner, Mapping)]
    groups.append({str(name): value for name, value in content.items() if isinstance(value, Tensor)})
    return max(groups, key=len)


def _archive(path: Path) -> dict[str, Tensor]:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as wrong:
        raise DataError(f"not a NumPy archive of plain numbers ({wrong})", cure=_CURE, where=path) from wrong
    found: dict[str, Tensor] = {}
    for name, array in arrays.items():
        layer, _, kind = name.rpartition(".")
        if kind == "weight_int8" and f"{layer}.scale" not in arrays:
            raise DataError(f"'{name}' has no '{layer}.scale' beside it", cure=_ANEW, where=path)
        try:
            if kind == "weight_int8":
                scale, bias = arrays[f"{layer}.scale"], arrays.get(f"{layer}.bias")
                found |= _whole_layer(layer, array, scale, bias)
            elif f"{layer}.weight_int8" not in arrays:
                found[name] = torch.from_numpy(array)
        except (TypeError, ValueError, RuntimeError) as wrong:
            raise DataError(f"'{name}' is no layer of numbers ({wrong})", cure=_ANEW, where=path) from wrong
    return found


def _whole_layer(layer: str, weight: object, scale: object, bias: object) -> dict[str, Tensor]:
    """An 8-bit layer in float32; a convolution's bias becomes the batch norm it was folded from."""
    kernel = torch.as_tensor(weight).float()
    kernel = kernel * torch.as_tensor(scale).float().reshape(-1, *[1] * (kernel.ndim - 1))
    found = {f"{layer}.weight": kernel}
    if bias is None:
        return found
    shift = torch.as_tensor(bias).float()
    if kernel.ndim == 2:
        return {**found, f"{layer}.bias": shift}
    ones = torch.ones_like(shift)
    return {
        **found,
        f"{layer}.norm.weight": ones,
        f"{layer}.norm.bias": shift,
        f"{layer}.norm.running_mean": torch.zeros_like(shift),
        f"{layer}.norm.running_var": ones - NORM_EPS,  # so that variance and eps make one
    }
