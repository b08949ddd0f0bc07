"""Maps of uncertainty beside the labels: one file each, in the format and the geometry of the labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unetkit.data.formats import DICOM, format_of, kind_of
from unetkit.data.labels import read_pixels
from unetkit.inference.uncertainty import entropy, mirrored_passes
from unetkit.records.case import Case, Grid
from unetkit.records.prediction import Prediction
from unetkit.workflows.model import Model

UNCERTAINTY, DISAGREEMENT = "uncertainty", "disagreement"
"""Folders, inside the one of the labels."""
LEVELS = 255
"""What 1 becomes: every format keeps bytes, and a picture of them can be looked at."""


def write_uncertainty(
    model: Model, prediction: Prediction, target: Path, *, paths: Sequence[Path], tta: bool
) -> tuple[Path, Path | None]:
    """Write how unsure a prediction is, pixel by pixel, as bytes from 0 to ``LEVELS``.

    Args:
        model: What predicted.
        prediction: Labels and probabilities.
        target: Where the labels are written.
        paths: The image's files.
        tta: Predict every mirror image by itself as well: the entropy is then that of the mean of their
            probabilities, and how far they disagree is a map of its own.

    Returns:
        The map of entropy, and that of disagreement or None. A DICOM segmentation holds classes only: its
        maps are ``.nii.gz`` on the grid of the series, without a word of the patient.
    """
    shares = prediction.probabilities
    assert shares is not None  # the caller asked for them
    apart: np.ndarray | None = None
    axes = model.plan.inference.mirror_axes
    if tta and axes:
        pixels, grid = read_pixels(Case.unlabelled(prediction.id, tuple(paths)), model.plan.data)
        shares, apart = mirrored_passes(
            lambda mirrored: _probabilities(model, mirrored, grid), pixels, prediction.labels, axes
        )
    name = f"{prediction.id}.nii.gz" if kind_of(target) == DICOM else target.name
    first = _write(entropy(shares), target.parent / UNCERTAINTY / name, prediction.grid)
    second = None if apart is None else _write(apart, target.parent / DISAGREEMENT / name, prediction.grid)
    return first, second


def _probabilities(model: Model, pixels: np.ndarray, grid: Grid) -> np.ndarray:
    found = model.predictor.array(pixels, grid, probabilities=True).probabilities
    assert found is not None  # they were asked for
    return found


def _write(share: np.ndarray, path: Path, grid: Grid) -> Path:
    format_of(path).write(path, np.rint(share * LEVELS).astype(np.uint8), grid)
    return path
