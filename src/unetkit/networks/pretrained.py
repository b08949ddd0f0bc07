"""Start weights: another model's, and a report of what went where."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from unetkit.errors import DataError, UsageError
from unetkit.networks.store import load_model
from unetkit.networks.unet import UNet
from unetkit.records.matched import Matched


def start_from(unet: UNet, path: Path, *, classes: Sequence[str] = ()) -> Matched:
    """Take over every tensor of a model whose name and shape the network has; channels and plan may differ.

    Heads are taken over only where the model has the same classes in the same order.

    Args:
        unet: The network, changed in place.
        path: A model folder.
        classes: The network's classes.

    Raises:
        DataError: It cannot be read, or nothing of it fits; then nothing was changed.
    """
    model, plan = load_model(path)
    given, own = model.state_dict(), unet.state_dict()
    heads = tuple(classes) == plan.data.classes
    matched = [
        name
        for name, tensor in own.items()
        if name in given and given[name].shape == tensor.shape and (heads or not name.startswith("heads."))
    ]
    if not matched:
        raise DataError(
            f"none of these {len(given)} tensors fits the network: this is another architecture",
            cure="plan the network the model has, or name another model",
            where=path,
        )
    with torch.no_grad():
        for name in matched:
            own[name].copy_(given[name])
    return Matched(
        source=str(path),
        matched=tuple(matched),
        left=tuple(name for name in own if name not in matched),
        unmatched=tuple(name for name in given if name not in matched),
    )


def start_from_imagenet(unet: UNet) -> Matched:
    """Give the network's encoder the ImageNet weights it was published with.

    Args:
        unet: The network, changed in place.

    Raises:
        UsageError: Nobody trained this encoder on ImageNet.
    """
    raise UsageError(
        f"ImageNet weights exist for the encoder 'timm', this network's is a {type(unet.encoder).__name__}",
        cure="set training.pretrained to none, or start from a trained model with --init",
    )
