"""What goes into a network and what comes out of it, as the plan says; and what is refused therefore."""

from __future__ import annotations

import numpy as np

from unetkit.errors import DataError, UsageError
from unetkit.records.case import Intensity
from unetkit.records.plan import InferencePlan
from unetkit.spatial.intensity import apply_intensity

_WITH_LOGITS = "predict with the model folder it was exported from, or export that without --classes"


def refuse_without_logits(inference: InferencePlan) -> None:
    """Refuse what needs logits where the network answers classes.

    Args:
        inference: What is asked for, and what the network answers.

    Raises:
        UsageError: It is.
    """
    wants = {
        "inference.mode exact": inference.mode == "exact",
        "inference.screen_factor": inference.screen_factor > 0,
        "inference.crf_steps": inference.crf_steps > 0,
    }
    for name, wanted in wants.items():
        if wanted and inference.network_output == "classes":
            raise UsageError(f"{name} needs logits, and this network answers classes", cure=_WITH_LOGITS)


def refuse_probabilities(inference: InferencePlan) -> None:
    """Refuse to give probabilities where there are none.

    Args:
        inference: What the network answers.

    Raises:
        UsageError: It answers classes.
    """
    if inference.network_output == "classes":
        raise UsageError("probabilities need logits, and this network answers classes", cure=_WITH_LOGITS)


def tile_input(pixels: np.ndarray, intensity: tuple[Intensity, ...], inference: InferencePlan) -> np.ndarray:
    """Pixels of a tile as the network takes them.

    Args:
        pixels: ``(C, *P)`` of any number type, not normalised.
        intensity: How they are normalised where the network does not do it itself.
        inference: Says whether it does.

    Returns:
        ``(C, *P)`` float32, or ``pixels`` themselves.

    Raises:
        DataError: They are not of the type that the network takes.

    Example:
        >>> plan = InferencePlan(tile_size=(2, 2), network_input="uint8")
        >>> tile_input(np.array([[7]], np.uint8), (), plan).dtype
        dtype('uint8')
    """
    if inference.network_input == "float32":
        return apply_intensity(pixels, intensity)
    if pixels.dtype != np.uint8:
        raise DataError(
            f"expected pixels of type uint8, which is what this network takes, got {pixels.dtype}",
            cure="predict this image with the model folder it was exported from, or export that without "
            "--uint8",
        )
    return pixels


def votes(ids: np.ndarray, classes: int) -> np.ndarray:
    """Class ids as what can be averaged over tiles and mirrored images: 1 for the class, 0 for the others.

    Args:
        ids: ``(B, *S)``.
        classes: ``K``.

    Returns:
        ``(B, K, *S)`` float32.

    Raises:
        UsageError: They are logits.

    Example:
        >>> votes(np.array([[0, 1]], np.uint8), 2).tolist()
        [[[1.0, 0.0], [0.0, 1.0]]]
    """
    if ids.dtype.kind == "f":
        raise UsageError(
            "expected class ids from the network, got logits",
            cure="set inference.network_output to what the network was exported with",
        )
    return np.stack([ids == index for index in range(classes)], axis=1).astype(np.float32)
