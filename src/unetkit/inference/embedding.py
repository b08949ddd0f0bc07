"""What a network makes of an image as a whole: its coarsest features, averaged over pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from unetkit.data.cascade import network_input
from unetkit.networks.unet import UNet
from unetkit.records.case import Sample
from unetkit.spatial.slices import Slices


def embed(
    network: UNet, sample: Sample, patch_size: Sequence[int], *, slices: Slices | None = None
) -> np.ndarray:
    """The encoder's coarsest stage on the middle of an image, mean over pixels.

    Args:
        network: In evaluation mode; on any device.
        sample: Pixels ``(C, *S)``, normalised or with the normalisation still to be applied.
        patch_size: Pixels per axis of the middle; the whole axis where it is shorter.
        slices: How a network over the plane sees the volume, of which the slice in the middle is shown.

    Returns:
        ``(D,)`` float32, with ``D`` channels of that stage.

    Example:
        >>> from unetkit.networks.unet import build
        >>> from unetkit.records.case import Grid
        >>> from unetkit.records.plan import EXAMPLE, NetworkPlan
        >>> network = build(NetworkPlan(**EXAMPLE["network"]), rank=2, in_channels=1, classes=2).eval()
        >>> embed(network, Sample("a", np.zeros((1, 50, 40), np.float32), Grid.plain(2)), (32, 32)).shape
        (16,)
    """
    if slices is not None:
        sample = slices.picture(sample, sample.pixels.shape[1 + slices.axis] // 2)
    middle = tuple(
        slice(max(0, (length - size) // 2), max(0, (length - size) // 2) + size)
        for length, size in zip(sample.pixels.shape[1:], patch_size, strict=True)
    )
    previous = 0 if sample.previous is None else network.classes - 1
    patch = network_input(sample, lambda array: array[(slice(None), *middle)], previous)
    with torch.no_grad():
        device = next(network.parameters()).device
        # a copy: of a small image the patch is the mapped file itself, which torch may not write to
        shown = torch.from_numpy(np.array(patch, np.float32))[None].to(device)
        levels = network.levels
        stages = network.encoder(network.input(shown)) if levels is None else levels(shown, network.encoder)
        return stages[-1].flatten(2).mean(dim=2)[0].float().cpu().numpy()
